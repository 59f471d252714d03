"""A custom tool's call: the JSON object ``{"input": "…"}`` whose text matches a client's grammar.

A regular expression is enforced where it can be written faithfully; what is not enforced is noted,
and the text is checked when it is there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from antiphon.codec.grammar.gbnf_lark import lark_text
from antiphon.codec.grammar.gbnf_pattern import input_text, literal_text
from antiphon.codec.grammar.gbnf_text import Rules
from antiphon.codec.grammar.limits import MAX_PATTERN_CHARS, Budget
from antiphon.codec.grammar.notes import Notes
from antiphon.codec.grammar.plan import InputBody

__all__ = ["expressible", "input_rule", "input_schema"]

_FREE: Final = "the input's grammar is not enforced"
_OPENING: Final = r'"{" ws "\"input\"" ws ":" ws'
_PLAIN: Final = re.compile(
    r"(?:[A-Za-z0-9 _:;,=@#%!'~()|*+?{}/-]"
    r"|\[(?:[A-Z]-[A-Z]|[a-z]-[a-z]|[0-9]-[0-9]|[A-Za-z0-9_ .,:])++\]"
    r"|\\[d.+*?()\[\]{}|/-])*+"
)
"""Patterns of characters that stand in a JSON string as they are, which all engines read alike."""


@lru_cache(maxsize=256)
def expressible(body: InputBody, kind: str | None) -> bool:
    """Whether more than the JSON around the text can be written for engines of this kind."""
    if kind == "gbnf":
        rules, notes = Rules(), Notes()
        input_rule(body, "", rules, Budget(), notes)
        return not any(note.detail == _FREE for note in notes.done())
    return kind == "structural_tag" and _simple(body) is not None


def input_rule(body: InputBody, where: str, rules: Rules, budget: Budget, notes: Notes) -> str:
    """The GBNF expression of the whole object."""
    text = None
    if body.syntax == "lark":
        text = _lark(body.definition, rules, budget)
        if text is not None:
            notes.add(where, body.syntax, "what the lexer would prefer is not enforced")
    elif found := input_text(body.definition, rules, budget):
        text = found.text
    if text is None:
        notes.add(where, body.syntax, _FREE)
        return rules.add(rf'{_OPENING} string ws "}}"')
    return rules.add(rf'{_OPENING} "\"" {text} "\"" ws "}}"')


def _lark(definition: str, rules: Rules, budget: Budget) -> str | None:
    def atom(content: str, is_literal: bool) -> tuple[str, bool] | None:
        if is_literal:
            return (literal_text(content), False) if content else None
        found = input_text(content, rules, budget)
        return found and (found.text, found.nullable)

    return lark_text(definition, rules, budget, atom)


def input_schema(body: InputBody, where: str, notes: Notes) -> dict[str, Any]:
    """The object's JSON Schema, for engines that compile schemas themselves."""
    text = {"type": "string"}
    pattern = _simple(body)
    if pattern is not None:
        text["pattern"] = pattern
    # Engines differ in what they make of a pattern: the text is checked before it is shown.
    notes.add(where, body.syntax, "the input's grammar is left to the engine, if to anyone")
    return {
        "type": "object",
        "properties": {"input": text},
        "required": ["input"],
        "additionalProperties": False,
    }


def _simple(body: InputBody) -> str | None:
    """The anchored pattern of a regular expression that every engine reads alike, else None."""
    if body.syntax != "regex" or len(body.definition) > MAX_PATTERN_CHARS:
        return None
    inner = body.definition.removeprefix("^")
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner = inner[:-1]
    if not _PLAIN.fullmatch(inner):
        return None
    return f"^({inner})$" if "|" in inner else f"^{inner}$"
