from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.cli.counting import TextEncoder, encode_marked
from antiphon.vocab.control import CONTROL_IDS
from antiphon.vocab.tokenizer import default_tokenizer


def test_the_table_shows_each_token_and_the_totals(antiphon):
    result = antiphon("tokens", "Hello, w\u00f6rld")
    rows = result.out.splitlines()
    assert rows[0].split() == ["13225", '"Hello"']
    assert rows[-1] == "5 tokens, 13 bytes"
    assert result.code == 0


def test_a_token_that_is_not_whole_characters_is_shown_as_bytes(antiphon):
    out = antiphon("tokens", "\U0001f469\u200d\U0001f680").out
    assert r'b"\x' in out


def test_control_characters_are_shown_as_escapes(antiphon):
    out = antiphon("tokens", "\x1b[31mred\n").out
    assert "\x1b" not in out
    assert r"\x1b" in out


def test_count_prints_only_the_number(antiphon):
    assert antiphon("tokens", "--count", "Hello, world").out == "3\n"
    assert json.loads(antiphon("tokens", "--count", "--json", "Hello, world").out) == {"count": 3}


def test_json_holds_every_token_as_text_or_bytes(antiphon):
    text = "h\u00e9llo \U0001f469\u200d\U0001f680"
    result = json.loads(antiphon("tokens", "--json", text).out)
    rows = result["tokens"]
    assert [row["id"] for row in rows] == default_tokenizer().encode(text)
    assert result["count"] == len(rows)
    whole = b"".join(
        row["text"].encode() if "text" in row else bytes.fromhex(row["bytes"]) for row in rows
    )
    assert whole.decode() == text


def test_control_tokens_are_ordinary_text_unless_marked_is_asked_for(antiphon):
    text = "<|start|>user<|message|>hi<|end|>"
    assert antiphon("tokens", "--count", "--input", "marked", text).out == "5\n"
    assert int(antiphon("tokens", "--count", text).out) > 5


def test_every_control_token_is_one_token_in_marked_text():
    assert list(encode_marked("".join(CONTROL_IDS))) == list(CONTROL_IDS.values())


def test_ids_are_shown_as_what_they_are(antiphon):
    out = antiphon("tokens", "--input", "ids", "[200006, 1428, 200008]").out
    assert [row.split()[1] for row in out.splitlines()[:3]] == [
        "<|start|>",
        '"user"',
        "<|message|>",
    ]


def test_standard_input_is_read_for_a_dash(antiphon):
    assert antiphon("tokens", "--count", "-", stdin="Hello, world").out == "3\n"


WORDS = st.sampled_from(
    ["foo", "Bar", "9", "12345", " ", "  ", "\n", "\r\n", "\t", "/", ".", "\u3002", "'s", "'",
     "\u4e2d", "\u00a0", "\u0301", "\u2028", "<|end|>", "--", "{", "\U0001f600", "a" * 40, " " * 40]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(WORDS, max_size=60), st.integers(1, 9), st.integers(1, 40))
def test_encoding_in_chunks_gives_the_ids_of_the_whole(words, step, batch):
    text = "".join(words)
    encoder = TextEncoder(batch=batch)
    ids = [t for i in range(0, len(text), step) for t in encoder.feed(text[i : i + step])]
    ids += encoder.finish()
    assert ids == default_tokenizer().encode(text)


@pytest.mark.parametrize("text", ["a" * 70_000, "word " * 20_000, "\n" * 50_000, "\u4e2d" * 30_000])
def test_long_texts_are_encoded_as_a_whole_however_they_arrive(text):
    encoder = TextEncoder()
    ids = [t for i in range(0, len(text), 4096) for t in encoder.feed(text[i : i + 4096])]
    assert ids + encoder.finish() == default_tokenizer().encode(text)
