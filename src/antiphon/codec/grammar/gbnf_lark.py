r"""A client's Lark grammar as GBNF: the inside of a JSON string whose text the grammar matches.

What llguidance's lexer would prefer is not told apart, so more is accepted, never less. Only what
Lark and llguidance mean alike is translated: rules, terminals, strings, simple regular expressions,
groups, repetitions, ``%ignore`` and common terminals. Anything else gives None, as does what
llama.cpp cannot run: left recursion, and repetitions of what may be empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from antiphon.codec.grammar.gbnf_members import times
from antiphon.codec.grammar.gbnf_text import Rules, choice
from antiphon.codec.grammar.limits import Budget

__all__ = ["MAX_LARK_CHARS", "MAX_LARK_RULES", "lark_text"]

MAX_LARK_CHARS: Final = 10_000
"""Longest definition that is translated."""
MAX_LARK_RULES: Final = 200
"""Most rules and terminals."""

_MAX_NESTING: Final = 20
_TOKEN: Final = re.compile(
    r"[ \t\r]+|(?://|\#)[^\n]*+|(?P<end>\n)"
    r'|(?P<string>"(?:[^"\\\n]|\\[^\n])*+")(?!i)'
    r"|(?P<regex>/(?!/)(?:[^/\\\n]|\\[^\n])++/)(?![imslux])"
    r"|(?P<name>[!?]?_?[A-Za-z][A-Za-z0-9_]*+)|(?P<word>%[a-z]++|->|\.\.)"
    r"|(?P<bounds>\{[ ]*+[0-9]{1,6}(?:[ ]*+,[ ]*+(?:[0-9]{1,6})?)?[ ]*+\})"
    r"|(?P<sign>[:|()\[\]*+?.])"
)
_COMMON: Final = {
    "LF": r"\n",
    "CR": r"\r",
    "NEWLINE": r"(\r?\n)+",
    "WS": r"[ \t\f\r\n]+",
    "WS_INLINE": r"[ \t]+",
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[_A-Za-z][_A-Za-z0-9]*",
}
"""Terminals of ``common``, as regular expressions."""


class _UnsupportedError(Exception):
    """The grammar goes beyond what is translated."""


class _Token(NamedTuple):
    kind: str
    text: str


class _Lexeme(NamedTuple):
    """Text of the input: a GBNF expression."""

    text: str
    nullable: bool


class _Ref(NamedTuple):
    """Another rule, by its GBNF name."""

    rule: str


class _All(NamedTuple):
    items: list[_Node]


class _Any(NamedTuple):
    items: list[_Node]


class _Repeat(NamedTuple):
    item: _Node
    low: int
    high: int | None


_Node = _Lexeme | _Ref | _All | _Any | _Repeat

Atom = Callable[[str, bool], tuple[str, bool] | None]
"""Translates a regular expression (True: a literal) → expression, whether it may be empty."""


def lark_text(definition: str, rules: Rules, budget: Budget, atom: Atom) -> str | None:
    """The GBNF expression between the quotes, or None if the grammar cannot be translated."""
    if len(definition) > MAX_LARK_CHARS:
        return None
    try:
        return _Reader(definition, rules, budget, atom).whole()
    except _UnsupportedError:
        return None


class _Reader:
    """Reads the statements, then the right sides of those that ``start`` needs."""

    def __init__(self, definition: str, rules: Rules, budget: Budget, atom: Atom) -> None:
        self._rules = rules
        self._budget = budget
        self._atom = atom
        self._bodies: dict[str, list[_Token]] = {}
        self._common: dict[str, str] = {}
        self._ignored: list[list[_Token]] = []
        self._names: dict[str, str] = {}
        self._waiting: list[str] = []
        self._tokens: list[_Token] = []
        self._at = 0
        self._inside = False
        """Whether a terminal is being read: nothing is ignored within one."""
        self._skip: _Node | None = None
        self._statements(_tokens(definition))

    def whole(self) -> str:
        if self._ignored:
            self._inside = True
            skipped = _Any([self._right_side(tokens) for tokens in self._ignored])
            self._skip = _Repeat(skipped, 0, None)
        start = self._ref("start")
        nodes: dict[str, _Node] = {}
        while self._waiting:
            name = self._waiting.pop()
            self._inside = _is_terminal(name)
            nodes[self._names[name]] = self._right_side(self._bodies[name])
        whole: _Node = start if self._skip is None else _All([self._skip, start])
        _check({**nodes, "": whole})
        for rule, node in nodes.items():
            self._rules.define(rule, self._written(node))
        return self._written(whole)

    # Statements.

    def _statements(self, tokens: list[_Token]) -> None:
        lines: list[list[_Token]] = [[]]
        for token in tokens:
            if token.kind == "end":
                lines.append([])
            else:
                lines[-1].append(token)
        statements: list[list[_Token]] = []
        opened = 0
        for line in filter(None, lines):
            goes_on = opened > 0 or line[0].text == "|"
            if statements and (goes_on or statements[-1][-1].text in (":", "|")):
                statements[-1] += line
            else:
                statements.append(line)
                opened = 0
            signs = [token.text for token in line if token.kind == "sign"]
            opened += sum((sign in "([") - (sign in ")]") for sign in signs)
        for statement in statements:
            self._statement(statement)
        if len(self._bodies) + len(self._common) > MAX_LARK_RULES:
            raise _UnsupportedError

    def _statement(self, line: list[_Token]) -> None:
        texts = [token.text for token in line]
        if texts[0] == "%ignore" and len(line) > 1:
            self._ignored.append(line[1:])
        elif texts[0] == "%import":
            self._import(texts[1:])
        elif len(line) > 2 and line[0].kind == "name" and texts[1] == ":":
            name = texts[0].lstrip("!?")
            if name in self._bodies:
                raise _UnsupportedError
            self._bodies[name] = line[2:]
        else:
            raise _UnsupportedError

    def _import(self, texts: list[str]) -> None:
        if texts[:2] != ["common", "."] or len(texts) not in (3, 5) or texts[2] not in _COMMON:
            raise _UnsupportedError
        if len(texts) == 5 and texts[3] != "->":
            raise _UnsupportedError
        self._common[texts[-1]] = _COMMON[texts[2]]

    # Right sides.

    def _right_side(self, tokens: list[_Token]) -> _Node:
        self._tokens, self._at = tokens, 0
        node = self._alternatives(0)
        if self._at < len(tokens):
            raise _UnsupportedError
        return node

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _alternatives(self, depth: int) -> _Node:
        if depth > _MAX_NESTING:
            raise _UnsupportedError
        options = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            options.append(self._sequence(depth))
        return options[0] if len(options) == 1 else _Any(options)

    def _sequence(self, depth: int) -> _Node:
        items: list[_Node] = []
        while self._peek() not in ("", "|", ")", "]"):
            if self._peek() == "->":
                self._alias()
                break
            items.append(self._repeated(self._item(depth)))
        return items[0] if len(items) == 1 else _All(items)

    def _alias(self) -> None:
        """What the tree calls this alternative: nothing to us."""
        names = self._tokens[self._at + 1 : self._at + 2]
        if not names or names[0].kind != "name":
            raise _UnsupportedError
        self._at += 2

    def _item(self, depth: int) -> _Node:
        token = self._tokens[self._at]
        self._at += 1
        if token.text in ("(", "["):
            node = self._alternatives(depth + 1)
            if self._peek() != (")" if token.text == "(" else "]"):
                raise _UnsupportedError
            self._at += 1
            return node if token.text == "(" else _Repeat(node, 0, 1)
        if token.kind == "string":
            try:
                return self._lexeme(msgspec.json.decode(token.text, type=str), literal=True)
            except msgspec.DecodeError as error:
                raise _UnsupportedError from error
        if token.kind == "regex":
            return self._lexeme(token.text[1:-1].replace("\\/", "/"), literal=False)
        if token.kind == "name" and token.text in self._common:
            return self._lexeme(self._common[token.text], literal=False)
        if token.kind == "name" and (_is_terminal(token.text) or not self._inside):
            found = self._ref(token.text)
            return self._skipping(found) if _is_terminal(token.text) else found
        raise _UnsupportedError

    def _lexeme(self, content: str, *, literal: bool) -> _Node:
        found = self._atom(content, literal)
        if found is None:
            raise _UnsupportedError
        return self._skipping(_Lexeme(self._rules.add(found[0]), found[1]))

    def _skipping(self, node: _Node) -> _Node:
        """With what is ignored behind it."""
        return node if self._inside or self._skip is None else _All([node, self._skip])

    def _ref(self, name: str) -> _Node:
        if name not in self._bodies:
            raise _UnsupportedError
        if name not in self._names:
            self._names[name] = self._rules.reserve()
            self._waiting.append(name)
        return _Ref(self._names[name])

    def _repeated(self, node: _Node) -> _Node:
        token = self._tokens[self._at] if self._at < len(self._tokens) else _Token("", "")
        low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(token.text, (-1, None))
        if token.kind == "bounds":
            first, comma, last = token.text[1:-1].replace(" ", "").partition(",")
            low, high = int(first), int(last) if last else None if comma else int(first)
            most = low if high is None else high
            if most < low or not self._budget.repeat(most):
                raise _UnsupportedError
        if low < 0:
            return node
        self._at += 1
        return _Repeat(node, low, high)

    # GBNF.

    def _written(self, node: _Node) -> str:
        self._budget.spend()
        match node:
            case _Lexeme(text, _):
                return text
            case _Ref(rule):
                return rule
            case _All(items):
                return " ".join([self._written(item) for item in items]) or '""'
            case _Any(items):
                return choice([self._written(item) for item in items])
            case _Repeat(item, low, high):
                # A rule of its own: llama.cpp multiplies repetitions nested within one rule.
                return f"{self._rules.add(self._written(item))}{times(low, high)}"


def _is_terminal(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def _tokens(definition: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(definition):
        match = _TOKEN.match(definition, at)
        if match is None:
            raise _UnsupportedError
        if match.lastgroup is not None:
            found.append(_Token(match.lastgroup, match.group().strip()))
        at = match.end()
    return found


def _check(nodes: dict[str, _Node]) -> None:
    """Refuse what llama.cpp calls left recursion: a rule that may begin with itself, and a
    repetition of what may be empty.
    """
    empty: set[str] = set()
    while more := {
        rule for rule, node in nodes.items() if rule not in empty and _nullable(node, empty)
    }:
        empty |= more
    begins: dict[str, set[str]] = {}
    for rule, node in nodes.items():
        begins[rule] = set()
        _begin(node, empty, begins[rule])
    done: set[str] = set()
    while len(done) < len(begins):
        ready = {rule for rule, first in begins.items() if rule not in done and first <= done}
        if not ready:
            raise _UnsupportedError
        done |= ready


def _nullable(node: _Node, empty: set[str]) -> bool:
    match node:
        case _Lexeme(_, nullable):
            return nullable
        case _Ref(rule):
            return rule in empty
        case _All(items):
            return all(_nullable(item, empty) for item in items)
        case _Any(items):
            return any(_nullable(item, empty) for item in items)
        case _Repeat(item, low, _):
            return low == 0 or _nullable(item, empty)


def _begin(node: _Node, empty: set[str], first: set[str]) -> None:
    """Add the rules that a piece may begin with; look at all of its repetitions."""
    match node:
        case _Ref(rule):
            first.add(rule)
        case _All(items):
            begun = False
            for item in items:
                _begin(item, empty, set() if begun else first)
                begun = begun or not _nullable(item, empty)
        case _Any(items):
            for item in items:
                _begin(item, empty, first)
        case _Repeat(item, _, high):
            if high != 1 and _nullable(item, empty):
                raise _UnsupportedError
            _begin(item, empty, first)
        case _Lexeme():
            pass
