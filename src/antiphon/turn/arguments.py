"""A call's arguments as a stream: what is certain is passed on, what may need mending waits.

The text so far is read as a JSON object. What stands before the last point that a repair could
still reach is released: the inside of a value's string at once, a key once its colon is there, and
a closing quote only with what follows, because models forget to escape quotes. The pieces together
are always the final arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.codec.arguments import MAX_DEPTH, Arguments, ArgumentsKind, parse_arguments

__all__ = ["ArgumentStream"]

_MAX_TOKEN_CHARS: Final = 400
"""A number or literal longer than this is left to the repair."""

_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TOKEN: Final = re.compile(r"[-+.0-9A-Za-z]*")
_VALID_TOKEN: Final = re.compile(
    r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)\Z"
)
_STRING_OR_SPACE: Final = re.compile(r'("(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z))|[ \t\r\n]+', re.DOTALL)

_START, _FIRST_KEY, _KEY, _COLON, _VALUE, _FIRST_ITEM, _AFTER = range(7)
_STRING, _ESCAPE, _HEX, _LITERAL, _DONE, _UNCERTAIN = range(7, 13)


class ArgumentStream:
    """Feed it the body of a call; it gives what will stand in the final arguments.

    ``schema`` is the tool's, as `parse_arguments` wants it.
    """

    __slots__ = (
        "_digits",
        "_held",
        "_in_key",
        "_open",
        "_released",
        "_schema",
        "_state",
        "_text",
        "_token",
    )

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self._schema = schema
        self._text: list[str] = []
        self._released: list[str] = []
        self._held: list[str] = []
        self._state = _START
        self._open: list[str] = []
        self._in_key = False
        self._digits = 0
        self._token = ""

    def feed(self, text: str) -> str:
        """The next piece of the final arguments, perhaps empty."""
        self._text.append(text)
        safe = self._scan(text) if self._state != _UNCERTAIN else 0
        if not safe:
            self._held.append(text)
            return ""
        ready = "".join([*self._held, text[:safe]])
        self._held = [text[safe:]] if safe < len(text) else []
        self._released.append(ready)
        return ready

    def finish(self, *, cut: bool) -> tuple[str, Arguments]:
        """The last piece, and the arguments. ``cut``: the turn ended inside the call.

        ``Arguments.json`` is all the pieces together.
        """
        text, released = "".join(self._text), "".join(self._released)
        found = parse_arguments(text, schema=self._schema)
        if cut and found.kind is not ArgumentsKind.VALID:
            return "".join(self._held), _as_written(found)
        if found.json.startswith(released):
            return found.json[len(released) :], found
        compact = _STRING_OR_SPACE.sub(r"\1", released)
        if found.json.startswith(compact):
            rest = found.json[len(compact) :]
            return rest, msgspec.structs.replace(found, json=released + rest)
        return "".join(self._held), _as_written(found)

    def _scan(self, text: str) -> int:
        """Take a piece of text; how much of it is certain, with all before it."""
        safe = at = 0
        end = len(text)
        while at < end:
            state = self._state
            if state == _STRING:
                stop = _end(_PLAIN, text, at)
                if stop > at:
                    at = stop
                    if not self._in_key:
                        safe = at
                    continue
                self._state = self._in_string(text[at])
                at += 1
            elif state in (_ESCAPE, _HEX):
                self._state = self._escaped(text[at])
                at += 1
                if self._state == _STRING and not self._in_key:
                    safe = at
            elif state == _LITERAL:
                stop = _end(_TOKEN, text, at)
                self._token += text[at:stop]
                at = stop
                if len(self._token) > _MAX_TOKEN_CHARS:
                    self._state = _UNCERTAIN
                elif at < end:
                    self._state = _AFTER if _VALID_TOKEN.match(self._token) else _UNCERTAIN
            else:
                at = _end(_SPACE, text, at)
                if at == end:
                    break
                if self._structure(state, text[at]):
                    safe = at + 1
                at += 1
            if self._state == _UNCERTAIN:
                break
        return safe

    def _in_string(self, char: str) -> int:
        if char == '"':
            return _COLON if self._in_key else _AFTER
        return _ESCAPE if char == "\\" else _UNCERTAIN

    def _escaped(self, char: str) -> int:
        if self._state == _HEX:
            if char not in "0123456789abcdefABCDEF":
                return _UNCERTAIN
            self._digits -= 1
            return _HEX if self._digits else _STRING
        if char == "u":
            self._digits = 4
            return _HEX
        return _STRING if char in '"\\/bfnrt' else _UNCERTAIN

    def _structure(self, state: int, char: str) -> bool:
        """Take a character outside strings; whether everything up to it is certain."""
        if state == _START:
            self._state = _UNCERTAIN
            if char == "{":
                self._push(char)
            return False
        if state in (_KEY, _FIRST_KEY):
            if char == '"':
                self._state, self._in_key = _STRING, True
            elif char == "}" and state == _FIRST_KEY:
                self._pop()
            else:
                self._state = _UNCERTAIN
            return False
        if state == _COLON:
            self._state = _VALUE if char == ":" else _UNCERTAIN
            return char == ":"
        if state in (_VALUE, _FIRST_ITEM):
            return self._value(state, char)
        if state == _AFTER and char == ",":
            self._state = _KEY if self._open[-1] == "{" else _VALUE
        elif state == _AFTER and char == ("}" if self._open[-1] == "{" else "]"):
            self._pop()
        else:
            self._state = _UNCERTAIN
        return False

    def _value(self, state: int, char: str) -> bool:
        if char == '"':
            self._state, self._in_key = _STRING, False
            return True
        if char in "{[":
            self._push(char)
            return self._state != _UNCERTAIN
        if char == "]" and state == _FIRST_ITEM:
            self._pop()
        elif char in "-0123456789tfn":
            self._state, self._token = _LITERAL, char
        else:
            self._state = _UNCERTAIN
        return False

    def _push(self, bracket: str) -> None:
        self._open.append(bracket)
        self._state = _FIRST_KEY if bracket == "{" else _FIRST_ITEM
        if len(self._open) > MAX_DEPTH:
            self._state = _UNCERTAIN

    def _pop(self) -> None:
        self._open.pop()
        self._state = _AFTER if self._open else _DONE


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _as_written(found: Arguments) -> Arguments:
    """The same text, unmended."""
    return msgspec.structs.replace(
        found, kind=ArgumentsKind.RAW, json=found.text, value=None, more=()
    )
