"""Strings that a schema accepts: by format, by pattern, by length."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["make_string", "string_fits"]

MAX_STRING: Final = 10_000
"""Longest string that is made, whatever ``minLength`` asks for."""

_MAX_PATTERN: Final = 1_000
_MAX_REPEATS: Final = 200
_FORMATS: Final = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P1D",
    "email": "ada@example.com",
    "idn-email": "ada@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "iri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/example",
    "uri-template": "/example/{id}",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "json-pointer": "/example",
    "regex": "^a+$",
}
_FORMAT_SHAPES: Final = {
    "date": r"\d{4}-\d\d-\d\d",
    "date-time": r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    "time": r"\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    "email": r"[^@\s]+@[^@\s]+\.\w+",
    "uri": r"[a-z][a-z0-9+.-]*:\S+",
    "ipv4": r"\d{1,3}(\.\d{1,3}){3}",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}


def string_fits(text: str, schema: dict[str, Any]) -> bool:
    """Whether a string meets the schema's length, pattern and format, as far as they are known."""
    fewest, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(fewest, int) and len(text) < fewest:
        return False
    if isinstance(most, int) and len(text) > most:
        return False
    shape = schema.get("format")
    if isinstance(shape, str) and shape in _FORMATS:
        expected = _FORMAT_SHAPES.get(shape)
        if expected is None or re.fullmatch(expected, text) is None:
            return text == _FORMATS[shape]
    return _matches(schema.get("pattern"), text)


def make_string(schema: dict[str, Any], wanted: str, number: int) -> str:
    """A string for the schema; ``wanted`` if it fits. ``number`` > 0 makes another one of it."""
    if number:
        wanted = f"{wanted} {number + 1}"
    if string_fits(wanted, schema):
        return wanted
    shape, pattern = schema.get("format"), schema.get("pattern")
    if isinstance(pattern, str):
        text = _from_pattern(pattern, number)
        if text is not None and string_fits(text, schema):
            return text
        text = _from_pattern(pattern, number, longer=schema.get("minLength"))
        if text is not None and _matches(pattern, text):
            return text
    if isinstance(shape, str) and shape in _FORMATS:
        return _FORMATS[shape]
    fewest, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(fewest, int) and len(wanted) < fewest:
        filler = (wanted or "x") + " "
        wanted = (filler * (min(fewest, MAX_STRING) // len(filler) + 1))[: min(fewest, MAX_STRING)]
        wanted = wanted[:-1] + "x"
    if isinstance(most, int):
        wanted = wanted[: max(0, most)]
    return wanted


def _matches(pattern: object, text: str) -> bool:
    if not isinstance(pattern, str):
        return True
    if len(pattern) > _MAX_PATTERN or len(text) > _MAX_PATTERN:
        return False
    try:
        return re.search(pattern, text) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _from_pattern(pattern: str, number: int, *, longer: object = None) -> str | None:
    """The shortest text of a simple pattern, or one of at least ``longer`` characters."""
    if len(pattern) > _MAX_PATTERN:
        return None
    repeats = 0
    while True:
        try:
            text = _Pattern(pattern, repeats, number).alternatives(0)
        except _UnsupportedError:
            return None
        if not isinstance(longer, int) or len(text) >= longer or repeats > _MAX_REPEATS:
            return text
        repeats += max(1, min(longer - len(text), _MAX_REPEATS))


class _UnsupportedError(Exception):
    """Look-around, a back reference, or a mistake."""


class _Pattern:
    """Writes a text that a regular expression matches, taking the first way everywhere."""

    def __init__(self, pattern: str, repeats: int, number: int) -> None:
        self._pattern = pattern
        self._at = 0
        self._repeats = repeats
        self._number = number

    def _next(self) -> str:
        if self._at >= len(self._pattern):
            raise _UnsupportedError
        self._at += 1
        return self._pattern[self._at - 1]

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def alternatives(self, depth: int) -> str:
        if depth > 30:
            raise _UnsupportedError
        first = self._sequence(depth)
        while self._peek() == "|":
            self._at += 1
            self._sequence(depth)
        return first

    def _sequence(self, depth: int) -> str:
        out: list[str] = []
        while (char := self._peek()) and char not in "|)":
            if char in "^$":
                self._at += 1
                continue
            out.append(self._quantified(self._atom(depth)))
        return "".join(out)

    def _atom(self, depth: int) -> str:
        char = self._next()
        if char == "(":
            if self._peek() == "?":
                self._at += 1
                if self._next() != ":":
                    raise _UnsupportedError
            text = self.alternatives(depth + 1)
            if self._next() != ")":
                raise _UnsupportedError
            return text
        if char == "[":
            return self._from_class()
        if char == "\\":
            return self._escape()
        if char in "*+?{":
            raise _UnsupportedError
        return "a" if char == "." else char

    def _escape(self) -> str:
        char = self._next()
        if char in "dws":
            return {"d": str((self._number + 1) % 10), "w": "a", "s": " "}[char]
        if char in "tnrfv":
            return {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}[char]
        if char == "b":
            return ""
        if char.isalnum():
            raise _UnsupportedError
        return char

    def _from_class(self) -> str:
        negated = self._peek() == "^"
        start = self._at - 1
        if negated:
            self._at += 1
        members: list[str] = []
        while (char := self._next()) != "]" or not members:
            member = self._escape() if char == "\\" else char
            members.append(member)
        text = self._pattern[start : self._at]
        plain = [m for m in members if m.isalnum()] or members
        for char in ["aA0 -_x", "".join(plain)][0 if negated else 1]:
            if _matches(f"^{text}$", char):
                return char
        raise _UnsupportedError

    def _quantified(self, atom: str) -> str:
        char = self._peek()
        fewest, most = 1, 1
        if char and char in "*+?":
            self._at += 1
            fewest, most = {"*": (0, _MAX_REPEATS), "+": (1, _MAX_REPEATS), "?": (0, 1)}[char]
        elif char == "{":
            found = re.compile(r"\{(\d+)(,?)(\d*)\}").match(self._pattern, self._at)
            if found is None:
                raise _UnsupportedError
            self._at = found.end()
            fewest = int(found.group(1))
            most = int(found.group(3)) if found.group(3) else fewest
            if found.group(2) and not found.group(3):
                most = fewest + _MAX_REPEATS
        else:
            return atom
        if self._peek() == "?":  # lazy
            self._at += 1
        times = min(most, fewest + self._repeats)
        if times * len(atom) > MAX_STRING:
            raise _UnsupportedError
        return atom * times
