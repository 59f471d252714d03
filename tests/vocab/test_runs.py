"""Cutting runs: the tokens of the uncut text, in every surrounding that could change a piece."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable

import pytest

from antiphon.vocab.runs import _BLANK, _CASELESS, _SYMBOL, encode_cut
from antiphon.vocab.splintr import SplintrTokenizer

SAFE_RUN = 4096

BEFORE = [
    "", "a", "A", "aB", "é", "ǅ", "ʰ", "漢", "漢A", "٣", "1", "12", "'", "x'", "x'l", "漢'", "!",
    "¡", "!!", "!/", "!\n", "!\n/", "!\n//", "/\n/", "a\n", "\n", "\r\n", " ", "a ", "\t",
    "\n ", " \n", "!\n ", "́", "á", "!́", "!!́", " ́", "😀", "\u200d", "\u001f", "\u0085",
    "\u2028",
]  # fmt: skip
AFTER = [
    "", "a", "aB", "A", "Ab", "AB!", "é", "É", "ǅ", "ʰ", "ʰA", "漢", "漢A", "漢Ab", "1", "٣",
    "'s x", "'LL", "'ſ", "'", "! ", "!a", "/", "//!", "/\n!", "/a", "\n", "\n/", "\n\n ", " ",
    " a", " !", "  a", " \n", " \n\n!", "\t\n", "\t \n a", "́", "́a", "́!", "́A", "\u200d",
    "😀a", "\u001f", "\u0085\n", "\u2028a",
]  # fmt: skip


def pick(characters: str, count: int) -> str:
    return "".join(random.Random(characters).choices(characters, k=count))


LENGTH = 2 * SAFE_RUN + 500
RUNS = {
    "a": "a" * LENGTH,
    "small letters": pick("abcdefghijklmnopqrstuvwxyz", LENGTH),
    "lls": pick("lvrestdm", LENGTH),
    "capitals": pick("ABCDEFGHIJKLMNOPQRSTUVWXYZ", LENGTH),
    "S": "S" * LENGTH,
    "Chinese": "今天天气很好我们去公园" * (LENGTH // 11),
    "kana and Hangul": pick("あいうえおアイウエオ가나다라마", LENGTH),
    "accents": pick("\u0300\u0301\u0302", LENGTH),
    "equals signs": "=" * LENGTH,
    "slashes": "/" * LENGTH,
    "punctuation": pick("!@#$%^&*()-=[]{};:,.<>?", LENGTH),
    "punctuation and slashes": pick("//!", LENGTH),
    "apostrophes": "'" * LENGTH,
    "emoji": pick("😀😁😂🚀🎉", LENGTH),
    "symbols of all widths": pick("!…😀\0", LENGTH),
    "spaces": " " * LENGTH,
    "blanks": pick(" \t\xa0\u3000\u2028", LENGTH),
    "line breaks": "\n" * LENGTH,
    "CR and LF": pick("\r\n", LENGTH),
}


@pytest.fixture(scope="module")
def encode() -> Callable[[str], list[int]]:
    return SplintrTokenizer()._tokenizer.encode_ordinary


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_a_cut_run_has_the_tokens_of_the_uncut_one_wherever_it_stands(encode, kind) -> None:
    run = RUNS[kind]
    different = [
        (before, after)
        for i, before in enumerate(BEFORE)
        for j, after in enumerate(AFTER)
        if (i + j) % 3 == 0 or not (before and after)
        if encode_cut(encode, before + run + after, SAFE_RUN) != encode(before + run + after)
    ]
    assert different == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_every_surrounding_of_a_cut_run_keeps_its_tokens(encode, kind) -> None:
    texts = [before + RUNS[kind] + after for before in BEFORE for after in AFTER]
    assert [t for t in texts if encode_cut(encode, t, SAFE_RUN) != encode(t)] == []


class Recorder:
    """An encoder that remembers what it was given."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self.given: list[str] = []

    def __call__(self, text: str) -> list[int]:
        self.given.append(text)
        return self._encode(text)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("Hello, world ", " and so on. " * 500)])
def test_the_library_is_never_given_more_than_the_safe_run(encode, kind, before, after) -> None:
    recorder = Recorder(encode)
    text = before + RUNS[kind] * 3 + after
    assert encode_cut(recorder, text, SAFE_RUN) == encode(text)
    longest = max(len(given.removeprefix(before).removesuffix(after)) for given in recorder.given)
    assert longest <= SAFE_RUN
    assert sum(map(len, recorder.given)) < 1.5 * len(text)


def test_runs_of_several_kinds_are_cut_in_one_text(encode) -> None:
    recorder = Recorder(encode)
    text = " and ".join(run + run for run in RUNS.values())
    assert encode_cut(recorder, text, SAFE_RUN) == encode(text)
    assert max(map(len, recorder.given)) <= 2 * SAFE_RUN
    assert sum(map(len, recorder.given)) < 1.5 * len(text)


def test_a_run_at_the_limit_is_given_whole(encode) -> None:
    for length in (SAFE_RUN - 1, SAFE_RUN, SAFE_RUN + 1, SAFE_RUN + 2, 2 * SAFE_RUN):
        recorder = Recorder(encode)
        assert encode_cut(recorder, "z" * length, SAFE_RUN) == encode("z" * length)
        assert (len(recorder.given) == 1) == (length <= SAFE_RUN)


def test_an_encoder_that_never_agrees_is_not_asked_again_and_again() -> None:
    given: list[int] = []

    def disagree(text: str) -> list[int]:
        given.append(len(text))
        return [64 + len(given) % 2] * len(text)

    text = ("a" * 10 * SAFE_RUN + " ") * 10
    assert len(encode_cut(disagree, text, SAFE_RUN)) == len(text)
    assert sum(given) < 3 * len(text)


def test_the_classes_hold_only_what_their_names_say() -> None:
    for kind, allowed in (
        (_CASELESS, {"Lo"}),
        (_SYMBOL, {"Cc", "Co", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So"}),
        (_BLANK, {"Cc", "Zl", "Zp", "Zs"}),
    ):
        characters = members(kind)
        assert {unicodedata.category(c) for c in characters} <= allowed
    assert {unicodedata.category(c) for c in members("\u0300-\u036f")} == {"Mn"}
    spaces = {chr(c) for c in range(0x110000) if chr(c).isspace()}
    assert members(_BLANK) == spaces - set("\r\n\x1c\x1d\x1e\x1f")
    assert not members(_SYMBOL) & members(_BLANK + "\r\n")


def members(characters: str) -> set[str]:
    pattern = re.compile(f"[{characters}]")
    return {chr(c) for c in range(0x110000) if pattern.match(chr(c))}
