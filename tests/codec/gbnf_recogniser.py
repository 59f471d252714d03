"""A recogniser for GBNF with token literals, as llama.cpp reads it: a set of stacks, item by item.

An item of input is one character, or a control token as its id. As in llama.cpp, a control token
may also be taken as the characters of its name, which is what a sound grammar must rule out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from antiphon.vocab.control import control_name

__all__ = ["Gbnf"]

_TOKEN = re.compile(
    r"""\s+|(?P<name>[a-zA-Z0-9-]+)|(?P<is>::=)|(?P<string>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<token><\[\d+\]>)|(?P<class>\[(?:[^\]\\]|\\.)*\])|(?P<mark>[()|*+?]|\{\d+(?:,\d*)?\})"""
)
_CHAR = re.compile(r"\\x(..)|\\u(....)|\\U(........)|\\(.)|(.)", re.DOTALL)


class Chars(NamedTuple):
    """One character of (or not of) these ranges."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def takes(self, item: str) -> bool:
        return any(low <= item <= high for low, high in self.ranges) is not self.negated


Symbol = str | int | Chars
"""A rule's name, a token id, or a character class."""


class Gbnf:
    """One grammar. ``accepted(items)`` says how many items fit, and whether they are complete."""

    def __init__(self, text: str) -> None:
        self.rules: dict[str, list[tuple[Symbol, ...]]] = {}
        for line in text.splitlines():
            self._tokens = [
                (kind, found[kind]) for found in self._scan(line) if (kind := found.lastgroup)
            ]
            (_, name), (_, _is), *self._tokens = self._tokens
            self.rules[name] = self._alternatives()
            assert not self._tokens, line
        used = {
            s for rule in self.rules.values() for alt in rule for s in alt if isinstance(s, str)
        }
        assert used | {"root"} == set(self.rules), used ^ set(self.rules)

    @staticmethod
    def _scan(line: str) -> Iterable[re.Match[str]]:
        at = 0
        while at < len(line):
            found = _TOKEN.match(line, at)
            assert found, line[at:]
            yield found
            at = found.end()

    def _new(self, alternatives: list[tuple[Symbol, ...]]) -> str:
        name = f"%{len(self.rules)}"
        self.rules[name] = alternatives
        return name

    def _alternatives(self) -> list[tuple[Symbol, ...]]:
        out = [self._sequence()]
        while self._tokens and self._tokens[0][1] == "|":
            self._tokens.pop(0)
            out.append(self._sequence())
        return out

    def _sequence(self) -> tuple[Symbol, ...]:
        out: list[Symbol] = []
        while self._tokens and self._tokens[0] not in (("mark", "|"), ("mark", ")")):
            kind, text = self._tokens.pop(0)
            atom: list[Symbol]
            if kind == "name":
                atom = [text]
            elif kind == "token":
                atom = [int(text[2:-2])]
            elif kind == "class":
                atom = [_class(text[1:-1])]
            elif kind == "string":
                atom = [Chars(((char, char),), negated=False) for char in _chars(text[1:-1])]
            else:
                assert text == "(", text
                atom = [self._new(self._alternatives())]
                assert self._tokens.pop(0)[1] == ")"
            out += self._repeated(atom)
        return tuple(out)

    def _repeated(self, atom: list[Symbol]) -> list[Symbol]:
        """As llama.cpp unrolls it: the least number, then optional ones nested in each other."""
        if not self._tokens or self._tokens[0][1][0] not in "*+?{":
            return atom
        mark = self._tokens.pop(0)[1]
        low, high = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}.get(mark) or self._bounds(mark)
        assert low <= 2000
        assert high <= 2000
        one = self._new([tuple(atom)])
        if high < 0:
            more = f"%{len(self.rules)}"
            self.rules[more] = [(one, more), ()]
            return [*[one] * low, more]
        tail: list[Symbol] = []
        for _ in range(high - low):
            tail = [self._new([(one, *tail), ()])]
        return [*[one] * low, *tail]

    @staticmethod
    def _bounds(mark: str) -> tuple[int, int]:
        low, comma, high = mark[1:-1].partition(",")
        return int(low), int(high) if high else (-1 if comma else int(low))

    def accepted(self, items: Iterable[str | int]) -> tuple[int, bool]:
        """How many items fit, and whether the grammar may end there."""
        stacks = self._expand(("root", None))
        for count, item in enumerate(items):
            after = frozenset().union(*[self._step(stack, item) for stack in stacks])
            if isinstance(item, int):
                spelled = stacks
                for char in control_name(item):
                    spelled = frozenset().union(*[self._step(stack, char) for stack in spelled])
                after |= spelled
            if not after:
                return count, False
            stacks = after
            assert len(stacks) < 1000, "too many readings at once"
        return count + 1 if items else 0, None in stacks

    def takes(self, text: str) -> bool:
        """Whether the whole text fits and is complete."""
        count, complete = self.accepted(text)
        return complete and count == len(text)

    def _step(self, stack, item: str | int):
        if stack is None:
            return frozenset()
        symbol, rest = stack
        if isinstance(symbol, int):
            fits = symbol == item
        else:
            fits = isinstance(item, str) and symbol.takes(item)
        return self._expand(rest) if fits else frozenset()

    @cache  # noqa: B019
    def _expand(self, stack):
        """The stacks whose top is a terminal."""
        out = set()
        pending = [stack]
        seen = set()
        while pending:
            top = pending.pop()
            if top in seen:
                continue
            seen.add(top)
            if top is None or not isinstance(top[0], str):
                out.add(top)
                continue
            name, rest = top
            for alternative in self.rules[name]:
                new = rest
                for symbol in reversed(alternative):
                    new = (symbol, new)
                pending.append(new)
            assert len(seen) < 20_000, "left recursion"
        return frozenset(out)


def _chars(text: str) -> list[str]:
    out = []
    for byte, short, long, escaped, plain in _CHAR.findall(text):
        if code := byte or short or long:
            out.append(chr(int(code, 16)))
        elif escaped:
            assert escaped in '"\\[]nrt', escaped
            out.append({"n": "\n", "r": "\r", "t": "\t"}.get(escaped, escaped))
        else:
            out.append(plain)
    return out


def _class(text: str) -> Chars:
    negated = text.startswith("^")
    raw = text[negated:]
    parts: list[tuple[str, bool]] = [
        (char, found.group() == "-")
        for found in _CHAR.finditer(raw)
        for char in _chars(found.group())
    ]
    ranges: list[tuple[str, str]] = []
    i = 0
    while i < len(parts):
        if i + 2 < len(parts) and parts[i + 1] == ("-", True):
            ranges.append((parts[i][0], parts[i + 2][0]))
            i += 3
        else:
            ranges.append((parts[i][0], parts[i][0]))
            i += 1
    return Chars(tuple(ranges), negated)
