"""Clients' grammars: which are refused, what matches them, and that none of them does any harm."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("llguidance")

from antiphon.api.turn import InputGrammar
from antiphon.errors import SchemaError
from antiphon.turn.grammar_check import MAX_DEFINITION_BYTES, GrammarChecker

# The patch format that Codex CLI's freeform tool asks for. Codex itself sends its grammar in
# tests/e2e/clients.
APPLY_PATCH = (Path(__file__).parents[1] / "golden/grammar/apply_patch.lark").read_text()
PATCH = """\
*** Begin Patch
*** Add File: poem.txt
+Roses are red,
+größer als „du“ 🌹
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
-    print("Hi")
+    print("Hello, world!")
@@
-x
*** End of File
*** Delete File: old.txt
*** End Patch
"""
PLACE = (
    "line 3, character 1: 'Roses are red,\\n+größer als „du' does not fit, '+' must follow there"
)


@pytest.fixture(scope="module")
def checker() -> Iterator[GrammarChecker]:
    made = GrammarChecker()
    yield made
    made.close()


def lark(definition: str) -> InputGrammar:
    return InputGrammar("lark", definition)


def regex(definition: str) -> InputGrammar:
    return InputGrammar("regex", definition)


def refusal(checker: GrammarChecker, grammar: InputGrammar) -> str | None:
    try:
        asyncio.run(checker.check(grammar))
    except SchemaError as error:
        return str(error)
    return None


def misfit(checker: GrammarChecker, grammar: InputGrammar, text: str) -> str | None:
    return asyncio.run(checker.misfit(grammar, text))


def test_codex_patches_match_codex_grammar(checker: GrammarChecker) -> None:
    grammar = lark(APPLY_PATCH)
    assert refusal(checker, grammar) is None
    assert misfit(checker, grammar, PATCH) is None
    assert misfit(checker, grammar, PATCH.rstrip("\n")) is None
    long = "*** Begin Patch\n*** Add File: x\n" + "+line of text\n" * 20_000 + "*** End Patch"
    assert misfit(checker, grammar, long) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it ends too early, '*** Begin Patch\\n*** ' must follow there"),
        (
            PATCH.replace("+Roses", "Roses"),
            PLACE,
        ),
        (PATCH + "!", "line 15, character 1: '!' does not fit"),
        ("*** Begin Patch\n", "it ends too early, '*** ' must follow there"),
    ],
)
def test_what_does_not_match_is_told_by_its_place(
    checker: GrammarChecker, text: str, why: str
) -> None:
    assert misfit(checker, lark(APPLY_PATCH), text) == why


@pytest.mark.parametrize(
    ("definition", "fits", "fails"),
    [
        (r"[a-z]+@[a-z]+\.(com|org)", ["me@here.org"], ["me@here.net", "", " me@here.org"]),
        (r"^\d{4}-\d{2}$", ["2026-11"], ["2026-1", "2026-11\n", "x2026-11"]),
        (r"(?i)select .*", ["SELECT 1", "select *"], ["insert", "select\n1"]),
        (r"a|bc", ["a", "bc"], ["ac", "abc"]),
        (r"[^\n]*", ["", "é🌹\r"], ["\n"]),
    ],
)
def test_a_regular_expression_is_matched_by_the_whole_input(
    checker: GrammarChecker, definition: str, fits: list[str], fails: list[str]
) -> None:
    assert [misfit(checker, regex(definition), text) for text in fits] == [None] * len(fits)
    assert None not in [misfit(checker, regex(definition), text) for text in fails]


def test_a_recursive_lark_grammar_with_ignored_blanks_is_matched(checker: GrammarChecker) -> None:
    grammar = lark(
        'start: e\ne: e "+" t | t\nt: t "*" f | f\nf: "(" e ")" | NUMBER\n'
        "NUMBER: /[0-9]+/\n%ignore / +/"
    )
    assert misfit(checker, grammar, "(1 + 23)*4") is None
    assert misfit(checker, grammar, "((((((((7))))))))") is None
    assert "does not fit" in (misfit(checker, grammar, "1 + * 2") or "")
    assert "too early" in (misfit(checker, grammar, "(1 + 2") or "")


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (regex("[a-z"), "unclosed character class"),
        (regex(r"(?=a)b"), "look"),
        (lark("start: foo"), 'unknown name: "foo"'),
        (lark('start: "a'), "lexer error"),
        (lark('begin: "a"'), "start"),
        (lark('%import foo.BAR\nstart: "a"'), "foo.BAR"),
        (lark("start: <|channel|>"), "unknown special token"),
        (lark("start: <[200006]>"), "too large"),
        (lark("start: @elsewhere"), "elsewhere"),
        (regex("(" * 5000 + "a" + ")" * 5000), "nest"),
        (lark("start: " + "(" * 5000 + '"a"' + ")" * 5000), "deeply nested"),
        (regex("a" * (MAX_DEFINITION_BYTES + 1)), "the limit is"),
        (
            lark(
                "start: R0\n"
                + "".join([f"R{i}: R{i + 1} R{i + 1}\n" for i in range(40)])
                + 'R40: "a"'
            ),
            "too big",
        ),
    ],
)
def test_a_grammar_that_cannot_be_used_is_refused_in_the_parsers_words(
    checker: GrammarChecker, grammar: InputGrammar, words: str
) -> None:
    assert words in (refusal(checker, grammar) or "")


HOSTILE = [
    (regex("(a+)+b"), "a" * 100_000 + "!"),
    (regex("(a|b)*a(a|b){20}"), "ab" * 20_000),
    (regex("(.*a){30}"), "ab" * 5_000),
    (regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}"), "a" * 300),
    (regex(r"(\w{1,1000}){1,100}"), "é" * 3_000),
    (regex("(a?){5000}a{5000}"), "a" * 5_000),
    (lark('start: start start | "a"'), "a" * 3_000),
    (lark('start: start "a" | "a"'), "a" * 3_000),
    (lark("start: start"), "a"),
    (lark('start: x{1,1000}\nx: y{1,1000}\ny: "a"{1,1000}'), "a" * 3_000),
    (lark("start: A\nA: B & C\nB: /(.*a.{20}.*)/\nC: ~(/(.*c.{20}.*)/)"), "abc" * 1_000),
    (lark("start: (" + "|".join([f'"{i}"' for i in range(8_000)]) + ")+"), "123" * 500),
]


@pytest.mark.parametrize(("grammar", "text"), HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_a_hostile_grammar_neither_holds_up_the_loop_nor_harms_the_next(
    grammar: InputGrammar, text: str
) -> None:
    """Whatever becomes of it: an answer comes, others run meanwhile, and the checker lives on."""
    checker = GrammarChecker(compile_seconds=1.0, check_seconds=1.0)

    async def hostile() -> int:
        await checker.check(regex("warm"))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.005)
                turns += 1

        counting = asyncio.create_task(count())
        began = time.monotonic()
        try:
            await checker.check(grammar)
            await checker.misfit(grammar, text)
        except SchemaError:
            pass
        await asyncio.sleep(0.02)
        counting.cancel()
        spent = time.monotonic() - began
        assert await checker.misfit(regex("[a-z]+"), "fine") is None
        # Were the loop held up, it would have turned next to never in that time.
        assert turns >= spent / 0.005 / 20
        return turns

    try:
        assert asyncio.run(hostile()) > 0
    finally:
        checker.close()


def test_a_checker_that_was_closed_starts_again() -> None:
    checker = GrammarChecker()
    for _ in range(2):
        assert misfit(checker, regex("a+"), "aa") is None
        checker.close()


def test_text_that_is_no_unicode_is_checked_all_the_same(checker: GrammarChecker) -> None:
    text = json.loads('"\\ud800"')
    assert misfit(checker, regex("."), text) is None
    assert misfit(checker, regex("[a-z]"), text) is not None
