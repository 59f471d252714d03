"""The tools that come with us, by name: what ``--tools`` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.values import closest
from antiphon.tools.protocol import Tool
from antiphon.tools.workspace.root import Workspace, WorkspaceError

__all__ = ["EVERY_TOOL", "NO_TOOL", "SHIPPED", "Made", "Shipped", "make_tools", "usual_tools"]

EVERY_TOOL: Final = "all"
NO_TOOL: Final = "none"


class Shipped(msgspec.Struct, frozen=True):
    """A tool that can be chosen. What it needs is imported when it is made."""

    summary: str
    make: Callable[[Workspace], Tool]
    in_folder: bool = True
    """Whether it works on the workspace, and so is usual only where one was named."""


class Made(NamedTuple):
    """Tools, and why those that are missing cannot be had here."""

    tools: tuple[Tool, ...]
    missing: Mapping[str, str]


@runtime_checkable
class _Checked(Protocol):
    """A tool that may not work everywhere: one that needs a sandbox."""

    async def check(self) -> str | None: ...


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


def _shell(workspace: Workspace) -> Tool:
    from antiphon.tools.shell import Shell

    return Shell(workspace.root)


SHIPPED: Final = {
    "read": Shipped("read a file", _read),
    "list": Shipped("list a folder", _list),
    "search": Shipped("search files for a pattern", _search),
    "write": Shipped("write a file", _write),
    "edit": Shipped("replace text in a file", _edit),
    "apply_patch": Shipped("change several files with a patch", _apply_patch),
    "shell": Shipped("run a command in a sandbox without network", _shell),
}
"""Name → tool, in the order in which the model is told of them."""


def usual_tools(*, workspace: bool) -> tuple[str, ...]:
    """The tools that are offered where nobody chose: those of the folder only if it was named."""
    return tuple([name for name, tool in SHIPPED.items() if workspace or not tool.in_folder])


async def make_tools(names: Sequence[str], workspace: Path) -> Made:
    """The tools of these names, ``all`` of them, or ``none``, working in this folder.

    Raises SettingsError for a name that is none, and a folder that cannot be used.
    """
    wanted = set(_checked(names))
    if EVERY_TOOL in wanted:
        wanted = set(SHIPPED)
    if not wanted - {NO_TOOL}:
        return Made((), {})
    try:
        place = Workspace(workspace)
    except WorkspaceError as error:
        raise SettingsError(f"--workspace: {error}") from error
    tools: list[Tool] = []
    missing: dict[str, str] = {}
    for name, shipped in SHIPPED.items():
        if name not in wanted:
            continue
        tool = shipped.make(place)
        reason = await tool.check() if isinstance(tool, _Checked) else None
        if reason is None:
            tools.append(tool)
        else:
            missing[name] = reason
            await tool.aclose()
    return Made(tuple(tools), missing)


def _checked(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if name not in SHIPPED and name not in (EVERY_TOOL, NO_TOOL):
            meant = closest(name, SHIPPED)
            hint = f"; did you mean {meant}?" if meant else f"; there are: {', '.join(SHIPPED)}"
            raise SettingsError(f"--tools: there is no tool {name[:60]!r}{hint}")
        yield name
