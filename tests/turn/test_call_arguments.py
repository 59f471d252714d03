"""A call's arguments as a stream: the pieces are always the final arguments."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codec.arguments import ArgumentsKind, parse_arguments
from antiphon.turn.arguments import ArgumentStream
from antiphon.turn.custom_input import InputStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
BROKEN = [
    '{"a": 1}]',
    '{"a": "say "hi" now", "b": 2}',
    '{"a": "one", two", "b": 1}',
    '{"a": "x", b: 1}',
    "{'a': 'b'}",
    '{"a": 01}',
    '{"a": tru}',
    '{"a": [1, 2,]}',
    '{"a": "line\nbreak"}',
    '{"a": "\\x"}',
    '[{"a": 1}, {"b": 2}]',
    '```json\n{"a": 1}\n```',
    "ls -la",
    "",
    "null",
    '"{\\"a\\": 1}"',
    '{"a": {"b": "c"',
    '{"a" 1}',
    "{" * 300,
    '{"a": ' + "1" * 500 + "}",
    '{"a": "\\ud83d\\ude00", "b": "\\ud83d"}',
    '{"a": 1} {"b": 2}',
    '{"a": ["he said "no", "then" left"]}',
]
TEXTS = OBJECTS.map(lambda value: json.dumps(value, indent=1)) | st.sampled_from(BROKEN)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(places) if a < b]


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20), st.booleans())
@settings(deadline=None, max_examples=200)
def test_the_pieces_are_the_final_arguments(text: str, cuts: list[int], cut: bool) -> None:
    stream = ArgumentStream()
    sent = "".join([stream.feed(piece) for piece in pieces(text, cuts)])
    rest, arguments = stream.finish(cut=cut)
    assert sent + rest == arguments.json
    one = ArgumentStream()
    sent = "".join([one.feed(char) for char in text])
    last, same = one.finish(cut=cut)
    assert (sent + last, same) == (arguments.json, arguments)
    if arguments.kind is not ArgumentsKind.RAW:
        assert json.loads(arguments.json) == arguments.value
    if arguments.kind is ArgumentsKind.VALID:
        assert arguments.json == text


@pytest.mark.parametrize("text", BROKEN)
def test_what_can_be_mended_is_mended_though_it_streams(text: str) -> None:
    stream = ArgumentStream()
    sent = "".join([stream.feed(char) for char in text])
    rest, arguments = stream.finish(cut=False)
    mended = parse_arguments(text)
    if text != '{"a": "one", two", "b": 1}':
        assert arguments.kind is mended.kind
        assert arguments.value == mended.value
    assert sent + rest == arguments.json


def test_values_flow_and_closing_quotes_wait() -> None:
    stream = ArgumentStream()
    sent = [stream.feed(piece) for piece in ('{"ci', 'ty": "Os', "lo", '", "n', '": 1', "2}")]
    assert sent == ["", '{"city": "Os', "lo", "", '", "n":', ""]
    assert stream.finish(cut=False)[0] == " 12}"


def test_arguments_cut_off_are_delivered_as_they_are() -> None:
    stream = ArgumentStream()
    assert stream.feed('{"a": "Os') == '{"a": "Os'
    rest, arguments = stream.finish(cut=True)
    assert (rest, arguments.kind, arguments.value) == ("", ArgumentsKind.RAW, None)
    assert arguments.truncated


def test_long_strings_stream_in_one_pass() -> None:
    stream = ArgumentStream()
    stream.feed('{"a": "')
    assert all(stream.feed("x" * 10) == "x" * 10 for _ in range(10_000))


@given(st.text(max_size=30), st.lists(st.integers(0, 60), max_size=12), st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_wrapped_input_arrives_as_its_text(text: str, cuts: list[int], ascii_only: bool) -> None:
    body = json.dumps({"input": text}, ensure_ascii=ascii_only)
    stream = InputStream()
    sent = "".join([stream.feed(piece) for piece in pieces(body, cuts)])
    rest, mended = stream.finish(cut=False)
    assert (sent + rest, mended) == (text, False)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("*** Begin Patch\n+a", "*** Begin Patch\n+a"),
        ('{"input": "a "quoted" word"}', 'a "quoted" word'),
        ('{"input": "line\nbreak"}', "line\nbreak"),
        ('{"other": 1}', '{"other": 1}'),
        ('{"input": 5}', '{"input": 5}'),
        ('  {"input":"x"}]', "x"),
        ('{"input": "\\ud83d"}', "\ufffd"),
        ('{"input": "C:\\dir"}', None),
        ("", ""),
    ],
)
def test_an_input_that_is_not_well_wrapped(body: str, text: str | None) -> None:
    results = set()
    for size in (1, 3, 100):
        stream = InputStream()
        chunks = [body[i : i + size] for i in range(0, len(body), size)]
        sent = "".join([stream.feed(chunk) for chunk in chunks])
        rest, _ = stream.finish(cut=False)
        results.add(sent + rest)
    assert len(results) == 1
    if text is not None:
        assert results == {text}


def test_an_input_streams() -> None:
    stream = InputStream()
    assert [stream.feed(piece) for piece in ('{"input": "a', "\\", "n", 'b"', "}")] == [
        "a",
        "",
        "\n",
        "b",
        "",
    ]
    assert stream.finish(cut=False) == ("", False)
