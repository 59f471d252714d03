"""GBNF building blocks: rules, literals, character classes, and text that spells no control token.

llama.cpp lets a control token stand for its own text, so a grammar that accepts ``<|end|>`` as text
accepts the token 200007 there. All control-token names are ``<|`` and a lower-case letter, so text
and JSON strings here exclude just that; a JSON string can still say it as ``\\u003c|``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from antiphon.codec.grammar.limits import (
    MAX_EXPONENT_DIGITS,
    MAX_FRACTION_DIGITS,
    MAX_GRAMMAR_CHARS,
    MAX_INTEGER_DIGITS,
    MAX_RULES,
    MAX_WHITESPACE,
)
from antiphon.errors import SchemaError

__all__ = ["SHARED", "Rules", "choice", "json_literal", "literal", "sized_chars", "spells_control"]

_SPELLS: Final = re.compile(r"<\|[a-z]")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL: Final = re.compile(r'["\\\x00-\x1f\x7f-\x9f]')

SHARED: Final = {
    "text": '( [^<] text | "<" text-less )?',
    "text-less": '( [^<|] text | "<" text-less | "|" text-bar )?',
    "text-bar": '( [^<a-z] text | "<" text-less )?',
    "ws": rf'" "? | "\r"? "\n" [ \t]{{0,{MAX_WHITESPACE}}}',
    "hex": "[0-9a-fA-F]",
    "escape": r'"\\" ( ["\\/bfnrt] | "u" hex hex hex hex )',
    "plain": r'[^"\\<\x00-\x1F] | escape',
    "not-bar": r'[^"\\<|\x00-\x1F] | escape',
    "not-name": r'[^"\\<a-z\x00-\x1F] | escape',
    "string": r'"\"" chars "\""',
    "chars": '( plain chars | "<" chars-less )?',
    "chars-less": '( not-bar chars | "<" chars-less | "|" chars-bar )?',
    "chars-bar": '( not-name chars | "<" chars-less )?',
    "integer": rf'"-"? ( "0" | [1-9] [0-9]{{0,{MAX_INTEGER_DIGITS - 1}}} )',
    "number": (
        rf'integer ( "." [0-9]{{1,{MAX_FRACTION_DIGITS}}} )?'
        rf" ( [eE] [-+]? [0-9]{{1,{MAX_EXPONENT_DIGITS}}} )?"
    ),
    "value": 'object | array | string | number | "true" | "false" | "null"',
    "object": r'"{" ws ( member ( ws "," ws member )* ws )? "}"',
    "member": r'string ws ":" ws value',
    "array": r'"[" ws ( value ( ws "," ws value )* ws )? "]"',
}
"""Rules that any grammar may use; only those that are used are written."""

_NAME: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|!?<\[\d+\]>|([a-z][a-z0-9-]*)')


class Rules:
    """The rules of one grammar, each body once. Raises SchemaError when they grow too many."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._chars = 0

    def add(self, body: str) -> str:
        """The name of a rule with this body."""
        if body in self._names:
            return self._names[body]
        name = self.reserve()
        self.define(name, body)
        self._names[body] = name
        return name

    def reserve(self) -> str:
        """A name for a rule that is defined later."""
        name = f"r{len(self._bodies)}"
        self._bodies[name] = ""
        if len(self._bodies) > MAX_RULES:
            raise SchemaError(f"the grammar has more than {MAX_RULES} rules")
        return name

    def define(self, name: str, body: str) -> None:
        self._bodies[name] = body
        self._chars += len(body)
        if self._chars > MAX_GRAMMAR_CHARS:
            raise SchemaError(f"the grammar is longer than {MAX_GRAMMAR_CHARS} characters")

    def text(self, root: str) -> str:
        """The whole grammar, ``root`` first, then the rules it uses."""
        bodies = {**self._bodies, **SHARED}
        used: set[str] = set()
        pending = [root]
        while pending:
            for found in _NAME.finditer(pending.pop()):
                name = found[1]
                if name and name not in used:
                    used.add(name)
                    pending.append(bodies[name])
        lines = [f"{name} ::= {body}" for name, body in bodies.items() if name in used]
        return "\n".join([f"root ::= {root}", *lines]) + "\n"


def sized_chars(low: int, high: int | None, rules: Rules) -> str:
    """The inside of a JSON string of ``low`` to ``high`` characters, an escape counting as one.

    Three rules for each number of characters that may follow: in the midst of text, behind ``<``
    and behind ``<|``. Counted from the end, so that strings of all lengths share them.
    """
    states = ("", "", "") if high is not None else ("chars", "chars-less", "chars-bar")
    for there in range((low if high is None else high) - 1, -1, -1):
        midst, less, bar = states
        may_end = "?" if there >= low else ""
        states = (
            rules.add(f'( plain {midst} | "<" {less} ){may_end}'),
            rules.add(f'( not-bar {midst} | "<" {less} | "|" {bar} ){may_end}'),
            rules.add(f'( not-name {midst} | "<" {less} ){may_end}'),
        )
    return states[0]


def choice(options: Iterable[str]) -> str:
    """One of these expressions, in parentheses if there are several."""
    several = list(dict.fromkeys(options))
    return several[0] if len(several) == 1 else f"( {' | '.join(several)} )"


def literal(text: str) -> str:
    """A GBNF string literal."""
    return f'"{_SPECIAL.sub(_escaped, text)}"'


def json_literal(json_text: str) -> str:
    """The literal of JSON text, with ``<`` escaped where it would spell a control token."""
    if spells_control(json_text):
        json_text = json_text.replace("<|", "\\u003c|")
    return literal(json_text)


def spells_control(text: str) -> bool:
    """Whether the text can be read as a control token by llama.cpp."""
    return _SPELLS.search(text) is not None


def _escaped(found: re.Match[str]) -> str:
    char = found.group()
    return _ESCAPES.get(char) or f"\\x{ord(char):02X}"
