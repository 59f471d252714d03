"""A custom tool's input as a stream: gpt-oss writes ``{"input": "…"}``, the client wants the text.

What the model writes without the wrapping is the input as it stands.
"""

from __future__ import annotations

import json
import re
from typing import Final

from antiphon.codec.arguments import ArgumentsKind, parse_arguments

__all__ = ["CUSTOM_SCHEMA", "InputStream"]

CUSTOM_SCHEMA: Final = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""How a custom tool is shown to the model."""

_MAX_PREFIX_CHARS: Final = 256
_WRAPPING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_BEGINNING: Final = re.compile(
    r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?\Z'
)
_MAYBE_JSON: Final = re.compile(r'\s*[{\["]')
_PIECE: Final = re.compile(r'[^"\\]+|\\(?:u[0-9a-fA-F]{4}|[^u])', re.DOTALL)
_HIGH: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_UNFINISHED_ESCAPE: Final = 6
_DECODER: Final = json.JSONDecoder(strict=False)


class InputStream:
    """Feed it the body of a custom tool's call; it gives the input's text."""

    __slots__ = ("_released", "_state", "_tail", "_text")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._released: list[str] = []
        self._state = "start"
        self._tail = ""

    def feed(self, text: str) -> str:
        """The next piece of the input, perhaps empty."""
        self._text.append(text)
        if self._state == "start":
            text = self._begin(text)
        if self._state == "bare":
            ready = text
        elif self._state == "wrapped":
            ready = self._unwrap(text)
        else:
            ready = ""
        if ready:
            self._released.append(ready)
        return ready

    def finish(self, *, cut: bool) -> tuple[str, bool]:
        """The last piece, and whether the input came without its wrapping, or was mended."""
        text, released = "".join(self._text), "".join(self._released)
        if self._state == "bare":
            return "", True
        found = parse_arguments(text, schema=CUSTOM_SCHEMA)
        value = found.value.get("input") if found.value is not None else None
        if isinstance(value, str):
            value = _encodable(value)
            if value.startswith(released):
                return value[len(released) :], found.kind is not ArgumentsKind.VALID and not cut
        return ("", True) if released else (text, True)

    def _begin(self, text: str) -> str:
        whole = self._tail + text
        self._tail = ""
        head = whole[:_MAX_PREFIX_CHARS]
        if found := _WRAPPING.match(head):
            self._state = "wrapped"
            return whole[found.end() :]
        if len(whole) < _MAX_PREFIX_CHARS and _BEGINNING.match(head):
            self._tail = whole
        else:
            self._state = "unclear" if _MAYBE_JSON.match(head) else "bare"
        return whole

    def _unwrap(self, text: str) -> str:
        whole = self._tail + text
        at = 0
        while (found := _PIECE.match(whole, at)) is not None:
            at = found.end()
        if at < len(whole) and (whole[at] == '"' or len(whole) - at >= _UNFINISHED_ESCAPE):
            self._state = "closed"
        elif found := _HIGH.search(whole, max(0, at - _UNFINISHED_ESCAPE), at):
            at = found.start()  # half a character: the other half is the next escape
        ready, self._tail = whole[:at], whole[at:]
        if not ready:
            return ""
        try:
            value = _DECODER.decode(f'"{ready}"')
        except ValueError:  # an escape that JSON does not have
            self._state = "closed"
            return ""
        return _encodable(str(value))


def _encodable(text: str) -> str:
    """Without half surrogate pairs, which no UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
