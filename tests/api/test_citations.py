"""What the model cites becomes a link and an annotation, the same however the text arrives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.citations import CitationText, CitedFile, UrlCitation, cited, file_citations

PAGES = {
    0: ("https://a.example/one", "One"),
    6: ("https://b.example/x_(y)?q=1", "Two"),
}


def sources(cursor: int, line: int) -> tuple[str, str] | None:
    return (f"https://hits.example/{line}", "Hit") if cursor == 9 else PAGES.get(cursor)


def check(text: str) -> tuple[str, list[str]]:
    result = cited(text, sources)
    parts = []
    for note in result.annotations:
        parts.append(result.text[note.start_index : note.end_index])
        assert parts[-1].startswith("([")
        assert parts[-1].endswith("))")
    return result.text, parts


def test_a_citation_becomes_a_link_with_an_annotation_over_it():
    result = cited("Cats purr【0†L9-L11】.", sources)
    assert result.text == "Cats purr ([a.example](https://a.example/one))."
    (note,) = result.annotations
    assert (note.start_index, note.end_index) == (10, 46)
    assert (note.url, note.title) == ("https://a.example/one", "One")


@pytest.mark.parametrize(
    "mark",
    ["【0†L9】", "【0†L9-L11】", "【0†L9-11】", "【 0 †L9】", "【0†source】", "【0†t†a.example】"],
)
def test_citations_are_read_as_the_model_writes_them(mark):
    assert check(f"x{mark}")[0] == "x ([a.example](https://a.example/one))"


def test_offsets_count_characters_and_brackets_in_urls_are_escaped():
    text, parts = check("🐈 日本【6†L1】 and 【0†L2】(【0†L3】)")
    assert parts[0] == "([b.example](https://b.example/x_%28y%29?q=1))"
    assert text == (
        "🐈 日本 ([b.example](https://b.example/x_%28y%29?q=1)) and "
        "([a.example](https://a.example/one))(([a.example](https://a.example/one)))"
    )
    assert len(parts) == 3


def test_the_line_says_which_hit_is_meant():
    assert check("x【9†L14】")[0] == "x ([hits.example](https://hits.example/14))"


def test_one_source_cited_twice_in_a_row_is_linked_once():
    text, parts = check("x【0†L1】【0†L5】 y【0†L1】【6†L1】")
    assert text.count("a.example/one") == 2
    assert len(parts) == 3


@pytest.mark.parametrize(
    "text",
    [
        "【5†L1】",
        "【】",
        "【0】",
        "【0†L1",
        "【†L1】",
        "【a†L1】",
        "【0†" + "x" * 90 + "】",
        "【0†a\nb】",
        "】",
        "【【",
    ],
)
def test_what_cites_nothing_stays_as_it_is(text):
    assert check(f"x {text} y") == (f"x {text} y", [])
    assert check(text) == (text, [])


def test_text_without_brackets_is_never_held_back():
    reader = CitationText(sources)
    assert reader.feed("plain").text == "plain"
    assert reader.feed(" more【0†L").text == " more"
    assert reader.feed("1】x").text == " ([a.example](https://a.example/one))x"
    assert reader.feed("【0").text == ""
    assert reader.end().text == "【0"


PIECES = st.lists(st.sampled_from([*"【】†069- \nx", "L3", "【0†L1】", "【6†", "【7†L2】"])).map(
    "".join
)


@given(PIECES, st.data())
def test_splits_change_nothing(text, data):
    whole = cited(text, sources)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    reader = CitationText(sources)
    made = ""
    notes: list[UrlCitation] = []
    for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
        step = reader.feed(text[start:stop])
        made += step.text
        notes += step.annotations
        assert len(reader._held) < 200
        for note in notes:
            assert note.end_index <= len(made)
    last = reader.end()
    assert made + last.text == whole.text
    assert (*notes, *last.annotations) == whole.annotations


def test_a_long_text_of_brackets_is_linear_work():
    text = "【0†" * 50_000
    assert cited(text, sources).text == text


def test_a_link_inside_json_leaves_it_json():
    text = '{"a": "x【0†L1】"}'
    made = cited(text, lambda cursor, line: ('https://a.example/"\\', "t")).text
    assert json.loads(made) == {"a": "x ([a.example](https://a.example/%22%5C))"}


PLOT = CitedFile("cntr_1", "cfile_1", "out/plot.png")


def test_a_file_is_cited_over_its_path():
    text = "See ![it](sandbox:/mnt/data/out/plot.png) here."
    (note,) = file_citations(text, [PLOT])
    assert text[note.start_index : note.end_index] == "sandbox:/mnt/data/out/plot.png"
    assert (note.filename, note.file_id, note.container_id) == ("plot.png", "cfile_1", "cntr_1")
    text = "It is /mnt/data/out/plot.png now."
    (note,) = file_citations(text, [PLOT])
    assert text[note.start_index : note.end_index] == "/mnt/data/out/plot.png"


def test_a_file_that_is_not_named_is_cited_behind_the_text_and_the_newest_of_a_name_counts():
    newer = CitedFile("cntr_1", "cfile_2", "out/plot.png")
    (note,) = file_citations("Done.", [PLOT, newer])
    assert (note.start_index, note.end_index, note.file_id) == (5, 5, "cfile_2")
