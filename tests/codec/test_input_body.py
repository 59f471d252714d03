"""Custom tools' grammars as GBNF: the JSON around an input, and the input inside its string."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codec.gbnf_recogniser import Gbnf

from antiphon.codec.grammar import REQUIRED, InputBody, gbnf, plan
from antiphon.codec.grammar.input_body import expressible
from antiphon.model.tools import Tool

PATCHES = (Path(__file__).parents[1] / "golden/grammar/apply_patch.lark").read_text()
PATCH = """\
*** Begin Patch
*** Add File: a<b>.txt
+"Roses" \\ <|end|>
+größer 🌹\ttab
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
-    print("Hi")
+
*** End of File
*** Delete File: old.txt
*** End Patch
"""
TOOL = Tool("t", "", {"type": "object", "properties": {"input": {"type": "string"}}})
HEADER = (200005, *"commentary to=functions.t", 200008)


def compiled(syntax: str, definition: str) -> Gbnf:
    body = InputBody(syntax, definition)  # type: ignore[arg-type]
    assert expressible(body, "gbnf"), definition
    what = plan([TOOL], REQUIRED, analysis=False, parallel=False, inputs={"functions.t": body})
    return Gbnf(gbnf(what).text)


def takes(grammar: Gbnf, text: str, *, ascii_only: bool = False) -> bool:
    """Whether the model may write the text, in one of JSON's usual spellings."""
    written = json.dumps({"input": text}, ensure_ascii=ascii_only).replace("<", "\\u003c")
    count, complete = grammar.accepted([*HEADER, *written])
    return complete and count == len(HEADER) + len(written)


REGEXES = [
    r"[a-c]+",
    r"(a|b,)*c",
    r"^a.c$",
    r"[^\nab]*",
    r'"[^"]*"',
    r"\\|<|\|",
    r"a{2,3}b?",
    r"[<|]+",
    r"(ab?c|\n)+",
    r"[^<]+|<",
]


@pytest.mark.parametrize("pattern", REGEXES)
@given(text=st.text('abc,.\n"\\<|é🌹\t\x01', max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_regular_expression_takes_exactly_what_it_matches(pattern: str, text: str) -> None:
    grammar = compiled("regex", pattern)
    assert takes(grammar, text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", REGEXES)
def test_the_expression_that_is_tested_takes_something(pattern: str) -> None:
    grammar = compiled("regex", pattern)
    examples = ["a", "c", "axc", "xyz", '"é"', "|", "aab", "<<|", "ac\nabc", "<", ""]
    found = [text for text in examples if re.fullmatch(pattern, text)]
    assert found
    assert all(takes(grammar, text) for text in found)


def test_a_text_never_holds_a_raw_control_token() -> None:
    grammar = compiled("regex", r".*")
    raw = '{"input": "a<|end|>"}'
    assert grammar.accepted([*HEADER, *raw])[0] < len(HEADER) + len(raw)
    assert takes(grammar, "a<|end|>")


def test_codex_patches_can_be_written() -> None:
    grammar = compiled("lark", PATCHES)
    for ascii_only in (False, True):
        assert takes(grammar, PATCH, ascii_only=ascii_only)
    assert takes(grammar, PATCH.rstrip("\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        PATCH + "x",
        PATCH.replace("+größer", "größer"),
        PATCH.replace("*** Begin Patch", "*** Begin"),
        PATCH.replace("*** Add File: a<b>.txt\n", ""),
        PATCH.replace("*** End Patch\n", ""),
    ],
)
def test_what_is_no_codex_patch_cannot_be_written(text: str) -> None:
    assert not takes(compiled("lark", PATCHES), text)


SUMS = r"""
// Sums, right recursive as llama.cpp wants it.
start: sum
?sum: product ("+" sum)?
    | "-" product -> negative
!product: atom [("*" | "/") product]
atom: NUMBER | "(" sum ")"  # in any depth
NUMBER: DIGIT{1,4} ("." DIGIT+)?
%import common.DIGIT
%import common.WS_INLINE -> BLANK
%ignore BLANK
"""


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("1+2*3", True),
        (" ( 1 + 22.5 ) * 3 ", True),
        ("-1", True),
        ("((((1))))", True),
        ("12345", False),
        ("1 2", False),
        ("1 . 5", False),
        ("1+", False),
        ("(1", False),
        ("", False),
    ],
)
def test_rules_terminals_and_what_is_ignored_are_told_apart(text: str, fits: bool) -> None:
    assert takes(compiled("lark", SUMS), text) == fits


@pytest.mark.parametrize(
    "definition",
    [
        'start: start "a" | "a"',  # left recursion
        'start: a\na: b? a "x" | "y"\nb: "z"',
        'start: a "x"\na: b\nb: a | "y"',
        'start: ("a"?)*',  # repetitions of what may be empty
        'start: a+\na: "b"*',
        "start: /a*/+",
        'start: "a"i',
        "start: /a/i",
        'start: "a".."z"',
        'start: x{"a"}\nx{y}: y',
        'start: "a" & "b"',
        'start: ~"a"',
        'start[max_tokens=3]: "a"',
        "start: <[65]>",
        "start: <|channel|>",
        'start: %json {"type": "object"}',
        "start: @other",
        'begin: "a"',
        "start: nowhere",
        'start: "a"\nstart: "b"',
        "%import python.NAME\nstart: NAME",
        'start: A\nA: b\nb: "x"',  # a terminal made of a rule
        "start: /(?=a)b/",
        'start: "a"{1,100000}',
        "start: " + "(" * 100 + '"a"' + ")" * 100,
        'start: "' + "a" * 20_000 + '"',
        "start: (",
        "start: )",
        "start: ->",
        "",
    ],
)
def test_what_would_mean_something_else_to_llama_cpp_is_left_to_the_check(definition: str) -> None:
    assert not expressible(InputBody("lark", definition), "gbnf")


@given(st.text('stArx:\n|()[]*+?{}1,"/\\%.->~& ', max_size=40))
@settings(max_examples=150, deadline=None)
def test_no_definition_is_an_error(text: str) -> None:
    for definition in (text, f"start: {text}"):
        syntax: Literal["lark", "regex"]
        for syntax in ("lark", "regex"):
            for kind in ("gbnf", "structural_tag"):
                expressible(InputBody(syntax, definition), kind)
