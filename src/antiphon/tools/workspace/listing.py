"""list: what is in a folder of the workspace."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Final

from msgspec import Meta

from antiphon.tools.function import FunctionTool
from antiphon.tools.protocol import Need, ToolOutput
from antiphon.tools.text import one_line
from antiphon.tools.workspace.root import Workspace, WorkspaceError
from antiphon.tools.workspace.walk import MAX_DEPTH, Budget, Entry, entries

__all__ = ["list_tool"]

MAX_ENTRIES: Final = 500
MAX_SECONDS: Final = 10.0


def list_tool(workspace: Workspace) -> FunctionTool:
    """List a folder."""

    async def list_(
        path: str = ".",
        depth: Annotated[int, Meta(ge=1, le=MAX_DEPTH)] = 1,
    ) -> ToolOutput:
        """List a folder of the workspace: folders end in a slash, files have their size in bytes.

        Args:
            path: The folder, from the workspace's root.
            depth: How many levels to show.
        """
        budget = Budget(MAX_SECONDS)
        try:
            return await asyncio.to_thread(_listed, workspace, path, depth, budget)
        except WorkspaceError as error:
            return ToolOutput(str(error), failed=True)
        finally:
            budget.cancelled.set()

    return FunctionTool(
        list_,
        name="list",
        need=lambda given: Need("always", one_line(f"list {given.get('path', '.')}")),
    )


def _listed(workspace: Workspace, path: str, depth: int, budget: Budget) -> ToolOutput:
    lines: list[str] = []
    more = False
    with workspace.place(path) as top:
        for entry in entries(top, budget, depth=depth):
            if len(lines) == MAX_ENTRIES:
                more = True
                break
            lines.append(_line(entry))
        where = top.path
    head = "The workspace" if where == "." else f"{where}/"
    if not lines:
        return ToolOutput(f"{head} is empty.")
    cut = f"; only the first {len(lines)} are shown" if more or budget.spent else ""
    amount = "1 entry" if len(lines) == 1 else f"{len(lines)} entries"
    return ToolOutput("\n".join([f"{head}: {amount}{cut}", *lines]))


def _line(entry: Entry) -> str:
    # A name may hold anything but a slash; what would not show as one line is spelt out.
    name = one_line(entry.place.path, limit=1000)
    if entry.is_folder:
        return f"{name}/{' (not entered)' if entry.skipped else ''}"
    if entry.is_link:
        try:
            target = os.readlink(entry.place.name, dir_fd=entry.place.folder)
        except OSError:
            target = "?"
        return f"{name} -> {one_line(target)}"
    if entry.is_file:
        return f"{name} {entry.status.st_size}"
    return f"{name} (not a regular file)"
