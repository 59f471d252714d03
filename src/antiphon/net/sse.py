"""Server-sent events, decoded from bytes.

Lines end at CR, LF or CRLF and nowhere else (HTML Living Standard, section 9.2.6): JSON in a
``data`` field may hold U+2028, U+0085 and every other character that ``str.splitlines`` splits at.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.errors import EngineError

__all__ = ["MAX_EVENT_BYTES", "ServerSentEvent", "ServerSentEventDecoder"]

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Largest event accepted. The last event of llama.cpp's server repeats the whole prompt."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class ServerSentEvent(NamedTuple):
    """One event. ``data`` is the joined data lines, ``id`` the last event id seen so far."""

    data: str
    event: str = "message"
    id: str = ""


class ServerSentEventDecoder:
    """Feed it bytes in any chunks. An event that the stream breaks off is never given.

    ``begun``: somebody else has read the stream's first lines, and with them a byte order mark.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES, begun: bool = False) -> None:
        self._limit = max_event_bytes
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._first_line = not begun
        self._data: list[str] = []
        self._event = self._id = ""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that ``chunk`` completes. Raises EngineError if one is too large."""
        if self._after_cr and chunk:
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        events = []
        for line in lines:
            whole = b"".join([*self._rest, line]) if self._rest else line
            self._rest = []
            self._grow(len(line))
            if event := self._line(whole):
                events.append(event)
        if rest:
            self._rest.append(rest)
            self._grow(len(rest))
        return events

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise EngineError(f"a server-sent event is larger than {self._limit} bytes")

    def _line(self, line: bytes) -> ServerSentEvent | None:
        if self._first_line:
            line, self._first_line = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            data, event = self._data, self._event or "message"
            self._data, self._event, self._size = [], "", 0
            return ServerSentEvent("\n".join(data), event, self._id) if data else None
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        if not name:
            self._size -= len(line)
        return None
