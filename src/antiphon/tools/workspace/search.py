"""search: lines of the workspace's files that match a pattern."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from typing import Any, Final

from antiphon.errors import MissingExtraError
from antiphon.tools.function import FunctionTool
from antiphon.tools.protocol import Emit, Need, ToolOutput
from antiphon.tools.text import counted, one_line
from antiphon.tools.workspace.content import is_binary
from antiphon.tools.workspace.glob import matcher
from antiphon.tools.workspace.pattern import PatternError, compile_pattern
from antiphon.tools.workspace.root import Place, Workspace, WorkspaceError
from antiphon.tools.workspace.walk import Budget, entries

__all__ = ["search_tool"]

MAX_MATCHES: Final = 200
MAX_LINE_CHARS: Final = 300
MAX_FILE_BYTES: Final = 8 << 20
"""Larger files are passed over, and counted."""
MAX_BYTES: Final = 512 << 20
"""Most read in one search."""
MAX_SECONDS: Final = 15.0


def search_tool(workspace: Workspace) -> FunctionTool:
    """Search files."""

    async def search(
        pattern: str,
        path: str = ".",
        files: str | None = None,
        ignore_case: bool = False,
        literal: bool = False,
        emit: Emit = lambda text: None,
    ) -> ToolOutput:
        r"""Search the text files of the workspace line by line. Matches come as path:line:text.

        Args:
            pattern: A regular expression (RE2: no look-around, no back-references).
            path: The file or folder to search, from the workspace's root.
            files: Only files with such names: *.py, src/**/*.{ts,tsx}.
            ignore_case: Whether a and A are the same.
            literal: Take the pattern as plain text.
        """
        budget = Budget(MAX_SECONDS)
        try:
            compiled = compile_pattern(pattern, literal=literal, ignore_case=ignore_case)
            wanted = matcher(files) if files else None
            search = _Search(workspace, compiled, wanted, budget, emit)
            return await asyncio.to_thread(search.run, path)
        except (WorkspaceError, PatternError, MissingExtraError) as error:
            return ToolOutput(str(error), failed=True)
        finally:
            # A cancelled call leaves its thread; this ends it at the next file.
            budget.cancelled.set()

    return FunctionTool(
        search, need=lambda given: Need("always", one_line(f"search for {given['pattern']}"))
    )


class _Search:
    def __init__(
        self, workspace: Workspace, pattern: Any, wanted: Any, budget: Budget, emit: Emit
    ) -> None:
        self._workspace = workspace
        self._pattern = pattern
        self._wanted = wanted
        self._budget = budget
        self._emit = emit
        self._lines: list[str] = []
        self._files = 0
        self._matching = 0
        self._large = 0
        self._bytes = 0

    def run(self, path: str) -> ToolOutput:
        with self._workspace.place(path) as top:
            for place in self._places(top):
                self._look(place)
                if len(self._lines) >= MAX_MATCHES or self._bytes > MAX_BYTES:
                    self._budget.spent = True
                    break
        return ToolOutput(
            "\n".join([*self._lines, self._summary()]),
            details={"matches": len(self._lines), "files": self._matching},
        )

    def _places(self, top: Place) -> Iterator[Place]:
        status = self._workspace.status_at(top)
        if status is None:
            raise WorkspaceError(f"{one_line(top.path)}: no such file or folder")
        if stat.S_ISREG(status.st_mode):
            yield top
            return
        for entry in entries(top, self._budget):
            if not entry.is_file:
                continue
            if self._wanted and not self._wanted.search(os.fsencode(entry.place.path)):
                continue
            if entry.status.st_size > MAX_FILE_BYTES:
                self._large += 1
                continue
            yield entry.place

    def _look(self, place: Place) -> None:
        try:
            data, _ = self._workspace.read_at(place, limit=MAX_FILE_BYTES)
        except (WorkspaceError, OSError):
            return
        self._files += 1
        self._bytes += len(data)
        if is_binary(data):
            return
        shown = one_line(place.path, limit=1000)
        before = len(self._lines)
        at, line, counted_to = 0, 1, 0
        while len(self._lines) < MAX_MATCHES and self._budget.more():
            match = self._pattern.search(data, at)
            if match is None or (match.start() == len(data) and data.endswith(b"\n")):
                break
            start = data.rfind(b"\n", 0, match.start()) + 1
            end = data.find(b"\n", match.start())
            end = len(data) if end < 0 else end
            line += data.count(b"\n", counted_to, start)
            counted_to = start
            text = _cut(data[start:end], match.start() - start)
            self._lines.append(f"{shown}:{line}:{text}")
            self._emit(f"{self._lines[-1]}\n")
            at = end + 1
            if at > len(data):
                break
        self._matching += len(self._lines) > before

    def _summary(self) -> str:
        found = counted(len(self._lines), "line") if self._lines else "Nothing"
        looked = counted(self._files, "file")
        said = f"{found} found in {looked}"
        if self._budget.spent:
            said += "; there may be more, the search stopped at its limit"
        if self._large:
            said += f"; {counted(self._large, 'file')} passed over as too large"
        return f"[{said}]"


def _cut(line: bytes, at: int) -> str:
    """A long line is shown around its match."""
    if len(line) > MAX_LINE_CHARS:
        start = max(0, at - MAX_LINE_CHARS // 3)
        piece = line[start : start + MAX_LINE_CHARS].decode(errors="ignore")
        return f"{'…' if start else ''}{piece}{'…' if start + MAX_LINE_CHARS < len(line) else ''}"
    return line.decode(errors="replace").rstrip("\r")
