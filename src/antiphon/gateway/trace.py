"""The trace file: each turn's prompt and raw output, one JSON line, for `antiphon inspect`.

It holds everything that users and models say, so nobody but its owner may read it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from antiphon.engines.protocol import Chunk, Reading
from antiphon.errors import SettingsError
from antiphon.vocab.control import FIRST_CONTROL_ID

__all__ = ["TRACE_VERSION", "Completion", "TraceEntry", "TraceFile"]

TRACE_VERSION: Final = 1
_MODE: Final = 0o600
_ENCODE: Final = msgspec.json.Encoder().encode


class Completion(msgspec.Struct, kw_only=True):
    """One prompt and what came back."""

    reading: Reading
    grammar: bool = False
    """Whether the engine was bound to a grammar."""
    prompt: Sequence[int] = ()
    output: list[int | str] = []
    """What the parser was fed, in order: ids, or text where the engine sent no ids."""
    finish: str | None = None
    """``stop``, ``length``; None if it broke off."""

    def add(self, chunks: Sequence[Chunk]) -> None:
        """What arrived."""
        output = self.output
        by_ids = self.reading in ("ids", "hybrid")
        for chunk in chunks:
            tokens = chunk.tokens
            if not by_ids or not (chunk.exact and tokens):
                if chunk.text:
                    output.append(chunk.text)
            elif chunk.text or self.reading == "ids" or max(tokens) >= FIRST_CONTROL_ID:
                output.extend(tokens)
            if chunk.finish is not None:
                self.finish = chunk.finish.reason

    def joined(self) -> list[int | str]:
        """``output`` with neighbouring texts in one."""
        parts: list[int | str] = []
        for is_text, group in groupby(self.output, lambda part: isinstance(part, str)):
            if is_text:
                parts.append("".join([str(part) for part in group]))
            else:
                parts.extend(group)
        return parts


class TraceEntry(msgspec.Struct, kw_only=True):
    """One turn: a line of the file."""

    antiphon_trace: int = TRACE_VERSION
    time: str
    request_id: str
    choice: int = 0
    model: str
    engine: str
    key: str = ""
    completions: list[Completion]
    recovered: list[str] = []
    """Codes of what was mended."""
    finish_reason: str | None = None
    error: str | None = None


class TraceFile:
    """An open trace file, new lines at its end. Raises SettingsError if it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.path: Final = Path(path).expanduser()
        try:
            self._descriptor: int | None = os.open(
                self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE
            )
            self.path.chmod(_MODE)
        except OSError as error:
            raise SettingsError(
                f"log.trace: {self.path}: cannot write it: {error.strerror or error}"
            ) from error

    def write(self, entry: TraceEntry) -> None:
        """Add a line. Raises OSError, for a full disk perhaps; then the line is left out."""
        if self._descriptor is None:
            return
        for completion in entry.completions:
            completion.output = completion.joined()
        line = _ENCODE(entry) + b"\n"
        start = os.lseek(self._descriptor, 0, os.SEEK_END)
        # A line goes out in one write, so that several workers can share the file.
        if os.write(self._descriptor, line) < len(line):
            os.ftruncate(self._descriptor, start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """May be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
