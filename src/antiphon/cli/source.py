"""Reading what a command is given: a file or standard input, in pieces, with clear errors.

A piece is whatever one read returns, so that text typed or streamed into a pipe is worked on as it
arrives. Memory is bounded by the piece, not by the file.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from antiphon.cli.errors import CommandLineError, DataError

__all__ = ["CHUNK", "STDIN", "Source", "TextInput", "open_source", "read_text"]

CHUNK: Final = 1 << 16
"""Bytes asked for at a time."""
STDIN: Final = "-"


class TextInput(Protocol):
    """Text from somewhere. ``name`` is how errors call it."""

    @property
    def name(self) -> str: ...

    def text(self) -> Iterator[str]: ...


class Source:
    """An open input. ``name`` is how errors call it, ``size`` its bytes if known in advance."""

    def __init__(self, raw: io.RawIOBase, name: str, size: int | None) -> None:
        self._raw = raw
        self.name = name
        self.size = size
        self.position = 0
        """Bytes read so far."""
        self.on_read: Callable[[int], object] | None = None
        """Told the size of every piece."""

    def pieces(self) -> Iterator[bytes]:
        """What is in the input, piece by piece. Raises DataError if it is empty."""
        while piece := self._read():
            self.position += len(piece)
            if self.on_read is not None:
                self.on_read(len(piece))
            yield piece
        if not self.position:
            raise DataError(f"{self.name}: the input is empty")

    def text(self) -> Iterator[str]:
        """The input as UTF-8 text, without a byte order mark. Raises DataError if it is not."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        for piece in self.pieces():
            yield self._decode(decoder, piece)
        yield self._decode(decoder, b"")

    def _decode(self, decoder: codecs.IncrementalDecoder, piece: bytes) -> str:
        try:
            return decoder.decode(piece, not piece)
        except UnicodeDecodeError as error:
            at = self.position - len(error.object) + error.start
            raise DataError(
                f"{self.name}: byte {at} (0x{error.object[error.start]:02x}) is not UTF-8 text; "
                "is this a binary file?"
            ) from error

    def _read(self) -> bytes:
        try:
            return self._raw.read(CHUNK) or b""
        except OSError as error:
            raise _cannot_read(self.name, error) from error


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open the file ``path``, or standard input for ``-``. Raises CommandLineError."""
    name = "standard input" if path == STDIN else path
    with _open(path, name) as raw:
        if raw.isatty():
            sys.stderr.write("reading from the terminal; end with Ctrl-D on an empty line\n")
            sys.stderr.flush()
        yield Source(raw, name, os.fstat(raw.fileno()).st_size if raw.seekable() else None)


def _open(path: str, name: str) -> io.RawIOBase:
    try:
        if path != STDIN:
            return Path(path).open("rb", buffering=0)
        if sys.stdin is None:
            raise CommandLineError("standard input is closed")
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    except (OSError, ValueError) as error:
        raise _cannot_read(name, error) from error


def _cannot_read(name: str, error: OSError | ValueError) -> CommandLineError:
    if isinstance(error, FileNotFoundError):
        return CommandLineError(f"{name}: no such file")
    if isinstance(error, IsADirectoryError):
        return CommandLineError(f"{name}: is a directory, not a file")
    if isinstance(error, PermissionError):
        return CommandLineError(f"{name}: permission denied")
    return CommandLineError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}")


def read_text(path: str) -> tuple[str, str]:
    """The whole of ``path`` as text, and its name for errors."""
    with open_source(path) as source:
        return "".join(source.text()), source.name
