"""The files under a folder of the workspace, in order, links not followed, within limits."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from antiphon.tools.workspace.root import Place

__all__ = ["Budget", "Entry", "entries", "folder_at"]

MAX_DEPTH: Final = 64
MAX_VISITED: Final = 200_000
"""Most entries looked at in one walk."""
SKIPPED: Final = frozenset(
    ".git .hg .svn node_modules __pycache__ .venv .tox .mypy_cache .ruff_cache".split()
)
"""Folders that a walk does not enter unless it starts there."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(msgspec.Struct, frozen=True):
    """One thing in a folder, which is open as long as the walk stands at it."""

    place: Place
    status: os.stat_result
    depth: int
    skipped: bool = False
    """A folder that is never entered."""

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


class Budget:
    """What one walk may take. Set ``cancelled`` from another thread to end it."""

    def __init__(self, seconds: float) -> None:
        self.cancelled = threading.Event()
        self.visited = 0
        self.spent = False
        self._until = time.monotonic() + seconds

    def more(self) -> bool:
        """Whether to go on. Once not, never again."""
        if self.cancelled.is_set() or time.monotonic() > self._until:
            self.spent = True
        return not self.spent

    def visit(self) -> bool:
        """Count one entry."""
        self.visited += 1
        if self.visited > MAX_VISITED:
            self.spent = True
        return self.more()


def folder_at(place: Place) -> int:
    """The folder at `place`, opened; the caller closes it. Raises OSError."""
    return os.open(place.name, _DIRECTORY, dir_fd=place.folder)


def entries(top: Place, budget: Budget, *, depth: int = MAX_DEPTH) -> Iterator[Entry]:
    """Everything below `top`: names in order, a folder before what is in it. Raises OSError where
    `top` is not a folder; what cannot be read further down is passed over.
    """
    base = "" if top.path == "." else f"{top.path}/"
    yield from _below(folder_at(top), base, budget, 1, min(depth, MAX_DEPTH))


def _below(folder: int, base: str, budget: Budget, level: int, depth: int) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as listing:
            names: list[str] = []
            for found in listing:
                if not budget.visit():
                    break
                names.append(found.name)
        for name in sorted(names):
            if not budget.more():
                return
            place = Place(folder, name, base + name)
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            enter = is_folder and level < depth and name not in SKIPPED
            yield Entry(place, status, level, skipped=is_folder and name in SKIPPED)
            if enter:
                try:
                    inner = folder_at(place)
                except OSError:
                    continue
                yield from _below(inner, f"{base}{name}/", budget, level + 1, depth)
    finally:
        os.close(folder)
