"""The tools that come with us, by name: what ``--tools`` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.values import closest
from antiphon.tools.protocol import Tool
from antiphon.tools.workspace.root import Workspace

__all__ = ["EVERY_TOOL", "NO_TOOL", "SHIPPED", "Shipped", "make_tools", "usual_tools"]

EVERY_TOOL: Final = "all"
NO_TOOL: Final = "none"


class Shipped(msgspec.Struct, frozen=True):
    """A tool that can be chosen. What it needs is imported when it is made."""

    summary: str
    make: Callable[[Workspace], Tool]
    in_folder: bool = True
    """Whether it works on the workspace, and so is usual only where one was named."""


def _read(workspace: Workspace) -> Tool:
    from antiphon.tools.workspace.files import read_tool

    return read_tool(workspace)


def _write(workspace: Workspace) -> Tool:
    from antiphon.tools.workspace.files import write_tool

    return write_tool(workspace)


def _edit(workspace: Workspace) -> Tool:
    from antiphon.tools.workspace.files import edit_tool

    return edit_tool(workspace)


def _list(workspace: Workspace) -> Tool:
    from antiphon.tools.workspace.listing import list_tool

    return list_tool(workspace)


def _search(workspace: Workspace) -> Tool:
    from antiphon.tools.workspace.search import search_tool

    return search_tool(workspace)


def _apply_patch(workspace: Workspace) -> Tool:
    from antiphon.tools.patch.tool import ApplyPatch

    return ApplyPatch(workspace)


SHIPPED: Final = {
    "read": Shipped("read a file", _read),
    "list": Shipped("list a folder", _list),
    "search": Shipped("search files for a pattern", _search),
    "write": Shipped("write a file", _write),
    "edit": Shipped("replace text in a file", _edit),
    "apply_patch": Shipped("change several files with a patch", _apply_patch),
}
"""Name → tool, in the order in which the model is told of them."""


def usual_tools(*, workspace: bool) -> tuple[str, ...]:
    """The tools that are offered where nobody chose: those of the folder only if it was named."""
    return tuple([name for name, tool in SHIPPED.items() if workspace or not tool.in_folder])


def make_tools(names: Sequence[str], workspace: Path) -> list[Tool]:
    """The tools of these names, ``all`` of them, or ``none``, working in this folder.

    Raises SettingsError for a name that is none, and for a tool that cannot be had here.
    """
    wanted = set(_checked(names))
    if EVERY_TOOL in wanted:
        wanted = set(SHIPPED)
    if not wanted - {NO_TOOL}:
        return []
    place = Workspace(workspace)
    return [tool.make(place) for name, tool in SHIPPED.items() if name in wanted]


def _checked(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if name not in SHIPPED and name not in (EVERY_TOOL, NO_TOOL):
            meant = closest(name, SHIPPED)
            hint = f"; did you mean {meant}?" if meant else f"; there are: {', '.join(SHIPPED)}"
            raise SettingsError(f"--tools: there is no tool {name[:60]!r}{hint}")
        yield name
