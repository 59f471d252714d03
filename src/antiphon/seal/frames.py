"""The outer framing of chunked messages: lengths before chunks, the last one to the end of the
stream (draft-ietf-ohai-chunked-ohttp-08, sections 4 and 5).

    chunk = length (1 or more) + sealed chunk;   final chunk = 0 + sealed chunk until the end
"""

from __future__ import annotations

from typing import Final

from antiphon.seal.errors import TruncatedError
from antiphon.seal.suites import TAG_BYTES
from antiphon.seal.varint import read_varint

__all__ = ["CHUNK_BYTES", "MAX_CHUNK_BYTES", "MAX_FINAL_BYTES", "ChunkFrames"]

CHUNK_BYTES: Final = 16 * 1024
"""Plain bytes of a chunk that every receiver takes; what we send is never more."""

MAX_CHUNK_BYTES: Final = 64 * 1024
"""Plain bytes of a chunk that we take, unless told otherwise."""

MAX_FINAL_BYTES: Final = 1024 * 1024
"""Plain bytes of a final chunk that we take, unless told otherwise. It has to be kept until the end
of the stream, and some senders put all they have into it.
"""


class ChunkFrames:
    """Bytes in, sealed chunks out. At most one chunk is kept."""

    def __init__(self, *, max_chunk: int, max_final: int) -> None:
        self._max_chunk = max_chunk + TAG_BYTES
        self._max_final = max_final + TAG_BYTES
        self._buffer = bytearray()
        self._final = False

    def feed(self, data: bytes) -> list[bytes]:
        """The sealed chunks that are complete now, without the final one. What follows a chunk that
        cannot be right is not looked at: it is given as it is, and will not open.
        """
        buffer = self._buffer
        buffer += data
        chunks: list[bytes] = []
        at = 0
        while not self._final and (found := read_varint(buffer, at)):
            size, start = found
            if not size:
                self._final = True
                at = start
            elif size > self._max_chunk or size <= TAG_BYTES:
                chunks.append(b"")
                buffer.clear()
                return chunks
            elif len(buffer) - start < size:
                break
            else:
                at = start + size
                chunks.append(bytes(memoryview(buffer)[start:at]))
        if at:
            del buffer[:at]
        if self._final and len(buffer) > self._max_final:
            buffer.clear()
            chunks.append(b"")
        return chunks

    def eof(self) -> bytes:
        """The sealed final chunk. Raises TruncatedError if the stream ends without one."""
        if not self._final:
            raise TruncatedError("the stream ends before its final chunk")
        if len(self._buffer) < TAG_BYTES:
            raise TruncatedError("the stream ends in its final chunk")
        return bytes(self._buffer)
