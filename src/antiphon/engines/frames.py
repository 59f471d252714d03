"""Bytes of an engine's answer → its events: server-sent events, or lines of JSON.

Engines send one line of data an event, ended by LF LF; that is split off in a few operations for
a whole read. Anything else that the standard allows goes to `antiphon.net.sse`.
"""

from __future__ import annotations

from typing import Final, Protocol

from antiphon.errors import EngineError
from antiphon.net.sse import MAX_EVENT_BYTES, ServerSentEventDecoder

__all__ = ["Frames", "LineFrames", "SseFrames"]

_DATA: Final = b"data: "
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Frames(Protocol):
    """Feed it bytes in any chunks; it gives the data of every event they complete."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Raises EngineError if an event is larger than the limit."""
        ...


class SseFrames:
    """Server-sent events. Comments, and events without data, give nothing."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._rest: list[bytes] = []
        self._size = 0
        self._begun = False
        self._standard: ServerSentEventDecoder | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._standard is not None or b"\r" in chunk:
            return self._feed_standard(chunk)
        rest = self._rest
        if (
            not rest
            and self._begun
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk.endswith(b"\n\n")
            and chunk.startswith(_DATA)
        ):
            return [chunk[6:-2]]  # One event a read: nobody hurries.
        if rest:
            if b"\n\n" not in chunk and not (chunk[:1] == b"\n" and rest[-1][-1:] == b"\n"):
                self._keep(chunk)
                return []
            rest.append(chunk)
            chunk = b"".join(rest)
            rest.clear()
            self._size = 0
        *frames, last = chunk.split(b"\n\n")
        if last:
            self._keep(last)
        if frames and not self._begun:
            self._begun = True
            frames[0] = frames[0].removeprefix(_BYTE_ORDER_MARK)
        found: list[bytes] = []
        for frame in frames:
            if frame.startswith(_DATA) and b"\n" not in frame:
                found.append(frame[6:])
            elif (data := _data(frame)) is not None:
                found.append(data)
        return found

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
            if self._size > self._limit:
                raise EngineError(f"an event is larger than {self._limit} bytes")

    def _feed_standard(self, chunk: bytes) -> list[bytes]:
        if self._standard is None:
            self._standard = ServerSentEventDecoder(max_event_bytes=self._limit, begun=self._begun)
            chunk = b"".join([*self._rest, chunk])
            self._rest.clear()
        return [event.data.encode() for event in self._standard.feed(chunk)]


class LineFrames:
    """One JSON value a line. Blank lines give nothing."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        if self._rest:
            chunk = b"".join([*self._rest, chunk])
            self._rest.clear()
            self._size = 0
        *lines, last = chunk.split(b"\n")
        self._keep(last)
        return [line for line in lines if line and not line.isspace()]

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._size += len(piece)
            if self._size > self._limit:
                raise EngineError(f"a line is longer than {self._limit} bytes")


def _data(frame: bytes) -> bytes | None:
    """The data lines of one event, joined; None if it has none."""
    lines = [
        line[5:].removeprefix(b" ")
        for line in frame.split(b"\n")
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(lines) if lines else None
