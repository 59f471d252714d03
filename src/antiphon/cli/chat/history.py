"""What was typed before: kept in a file of the person's own, newest last."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from antiphon.settings.private_file import DIRECTORY_MODE, FILE_MODE, replace

__all__ = ["History"]

MOST: Final = 1_000
"""Entries that are kept."""
MAX_ENTRY: Final = 64 * 1024
"""Characters of an entry; a longer one is not kept."""
MAX_FILE: Final = 32 * 1024 * 1024


class History:
    """Entries, and where somebody is in them. Without a path nothing is kept. A file that cannot be
    read or written is no error: the history is a convenience.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: list[str] = []
        self._at: int | None = None
        self._draft = ""
        if path is not None:
            self._load(path)

    def add(self, text: str) -> None:
        """Remember an entry."""
        self._at = None
        if not text.strip() or len(text) > MAX_ENTRY:
            return
        if self._entries and self._entries[-1] == text:
            return
        self._entries.append(text)
        if self._path is not None:
            with suppress(OSError, UnicodeEncodeError):
                self._write(self._path, text)

    def older(self, shown: str) -> str | None:
        """The entry before what is ``shown``; None if there is none."""
        at = len(self._entries) if self._at is None else self._at
        if at == 0:
            return None
        if self._at is None:
            self._draft = shown
        self._at = at - 1
        return self._entries[self._at]

    def newer(self) -> str | None:
        """The entry behind, and what was being typed behind the last; None if nothing is."""
        if self._at is None:
            return None
        self._at += 1
        if self._at < len(self._entries):
            return self._entries[self._at]
        self._at = None
        return self._draft

    def leave(self) -> None:
        """What is shown is edited: it is what is being typed now."""
        self._at = None

    def _load(self, path: Path) -> None:
        try:
            if path.stat().st_size > MAX_FILE:
                return
            lines = path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                self._entries.append(msgspec.json.decode(line, type=str))
        if len(self._entries) > 2 * MOST:
            del self._entries[:-MOST]
            with suppress(OSError):
                replace(path, b"".join([msgspec.json.encode(e) + b"\n" for e in self._entries]))

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        try:
            os.write(file, msgspec.json.encode(text) + b"\n")
        finally:
            os.close(file)
