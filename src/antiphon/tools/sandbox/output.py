"""Output of a command as it comes: shown while it runs, kept to a limit, never waited for."""

from __future__ import annotations

import codecs
from collections import deque

from antiphon.tools.protocol import Emit
from antiphon.tools.text import counted

__all__ = ["Output"]


class Output:
    """Keeps the first two thirds of `limit` bytes and the last third; shows the first part."""

    def __init__(self, limit: int, emit: Emit = lambda text: None) -> None:
        self.total = 0
        self.ends_line = False
        """Whether the last byte ended a line."""
        self._head = bytearray()
        self._head_limit = limit * 2 // 3
        self._tail: deque[bytes] = deque()
        self._tail_limit = limit - self._head_limit
        self._tail_size = 0
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes) -> None:
        """Take what came."""
        if not data:
            return
        self.total += len(data)
        self.ends_line = data.endswith(b"\n")
        room = self._head_limit - len(self._head)
        if room > 0:
            piece = data[:room]
            self._head += piece
            text = self._decoder.decode(piece)
            if text:
                self._emit(text)
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
                self._tail_size -= len(self._tail.popleft())

    def text(self) -> str:
        """What is kept; a line between says how much is not."""
        tail = b"".join(self._tail)[-self._tail_limit :]
        missing = self.total - len(self._head) - len(tail)
        if not missing:
            return (bytes(self._head) + tail).decode(errors="replace")
        head = self._head.decode(errors="replace")
        return f"{head}\n[… {counted(missing, 'byte')} left out …]\n{tail.decode(errors='replace')}"
