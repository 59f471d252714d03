"""The tools that come with us, by name: what ``--tools`` chooses from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings.model import Settings
from antiphon.settings.values import closest
from antiphon.tools.protocol import Shown, Tool
from antiphon.tools.workspace.root import Workspace, WorkspaceError

__all__ = [
    "EVERY_TOOL",
    "NO_TOOL",
    "SHIPPED",
    "Made",
    "Place",
    "Shipped",
    "make_tools",
    "usual_tools",
]

EVERY_TOOL: Final = "all"
NO_TOOL: Final = "none"


class Place(NamedTuple):
    """What tools are made for."""

    workspace: Workspace
    settings: Settings
    shown: Sequence[Shown] = ()
    """Pages that the conversation was shown before."""


Usual = Literal["always", "folder", "pages", "no-web"]
"""Where a tool is offered though nobody chose: anywhere; where a workspace was named; there, and
where the browser's settings say what it searches; where the browser does not open the web."""


class Shipped(msgspec.Struct, frozen=True):
    """A name that can be chosen, and the tools that it stands for. What they need is imported when
    they are made.
    """

    summary: str
    make: Callable[[Place], Sequence[Tool]]
    usual: Usual = "folder"


class Made(NamedTuple):
    """Tools, and why those that are missing cannot be had here."""

    tools: tuple[Tool, ...]
    missing: Mapping[str, str]


@runtime_checkable
class _Checked(Protocol):
    """A tool that may not work everywhere: one that needs a sandbox."""

    async def check(self) -> str | None: ...


def _read(place: Place) -> Sequence[Tool]:
    from antiphon.tools.workspace.files import read_tool

    return (read_tool(place.workspace),)


def _write(place: Place) -> Sequence[Tool]:
    from antiphon.tools.workspace.files import write_tool

    return (write_tool(place.workspace),)


def _edit(place: Place) -> Sequence[Tool]:
    from antiphon.tools.workspace.files import edit_tool

    return (edit_tool(place.workspace),)


def _list(place: Place) -> Sequence[Tool]:
    from antiphon.tools.workspace.listing import list_tool

    return (list_tool(place.workspace),)


def _search(place: Place) -> Sequence[Tool]:
    from antiphon.tools.workspace.search import search_tool

    return (search_tool(place.workspace),)


def _apply_patch(place: Place) -> Sequence[Tool]:
    from antiphon.tools.patch.tool import ApplyPatch

    return (ApplyPatch(place.workspace),)


def _shell(place: Place) -> Sequence[Tool]:
    from antiphon.tools.shell import Shell

    return (Shell(place.workspace.root),)


def _python(place: Place) -> Sequence[Tool]:
    from antiphon.tools.python.chosen import interpreter
    from antiphon.tools.python.tool import PythonTool

    return (PythonTool(interpreter(place.settings.python)),)


def _calculate(_: Place) -> Sequence[Tool]:
    from antiphon.tools.calculate import calculate_tool

    return (calculate_tool(),)


def _browser(place: Place) -> Sequence[Tool]:
    from antiphon.tools.browser.chosen import search_backend
    from antiphon.tools.browser.session import BrowserSession
    from antiphon.tools.browser.tool import Browser, browser_tools
    from antiphon.tools.guard.chosen import guard

    passing = guard(place.settings.guard)
    backend = search_backend(place.settings.browser, passing, folder=place.workspace.root)
    session = BrowserSession()
    session.restore(place.shown)
    return browser_tools(Browser(backend, passing, session=session, owns_backend=True))


def _fetch(place: Place) -> Sequence[Tool]:
    from antiphon.tools.fetch import FetchTool
    from antiphon.tools.guard.chosen import guard

    return (FetchTool(guard(place.settings.guard)),)


SHIPPED: Final = {
    "read": Shipped("read a file", _read),
    "list": Shipped("list a folder", _list),
    "search": Shipped("search files for a pattern", _search),
    "write": Shipped("write a file", _write),
    "edit": Shipped("replace text in a file", _edit),
    "apply_patch": Shipped("change several files with a patch", _apply_patch),
    "shell": Shipped("run a command in a sandbox without network", _shell),
    "python": Shipped("run Python in a sandbox without network", _python, "always"),
    "calculate": Shipped("arithmetic", _calculate, "always"),
    "browser": Shipped("search, open and read pages, and cite them", _browser, "pages"),
    "fetch": Shipped("read one page of the web", _fetch, "no-web"),
}
"""Name → tools, in the order in which the model is told of them."""


def usual_tools(*, workspace: bool, settings: Settings | None = None) -> tuple[str, ...]:
    """The tools that are offered where nobody chose: those of the folder only if it was named."""
    browser = (settings or Settings()).browser
    web = browser.backend != "corpus"
    pages = workspace or web or browser.folder is not None
    usual: dict[Usual, bool] = {
        "always": True,
        "folder": workspace,
        "pages": pages,
        "no-web": not web,
    }
    return tuple([name for name, tool in SHIPPED.items() if usual[tool.usual]])


async def make_tools(
    names: Sequence[str],
    workspace: Path,
    settings: Settings | None = None,
    *,
    shown: Sequence[Shown] = (),
) -> Made:
    """The tools of these names, ``all`` of them, or ``none``, working in this folder.

    ``shown`` is what the conversation's browser showed before. Raises SettingsError for a name that
    is none, a folder that cannot be used, and settings that are wrong for a tool.
    """
    wanted = set(_known(names))
    if EVERY_TOOL in wanted:
        wanted = set(SHIPPED)
    if not wanted - {NO_TOOL}:
        return Made((), {})
    try:
        place = Place(Workspace(workspace), settings or Settings(), shown)
    except WorkspaceError as error:
        raise SettingsError(f"--workspace: {error}") from error
    made: dict[str, Sequence[Tool]] = {}
    missing: dict[str, str] = {}
    try:
        for name, shipped in SHIPPED.items():
            if name in wanted:
                try:
                    made[name] = shipped.make(place)
                except MissingExtraError as error:
                    missing[name] = str(error)
        # Each of the sandboxes starts something: side by side.
        reasons = await asyncio.gather(*[_reason(tools) for tools in made.values()])
    except BaseException:
        await _close(made)
        raise
    for name, reason in zip(list(made), reasons, strict=True):
        if reason is not None:
            missing[name] = reason
            await _close({name: made.pop(name)})
    return Made(tuple([tool for tools in made.values() for tool in tools]), missing)


async def _reason(tools: Sequence[Tool]) -> str | None:
    for tool in tools:
        if isinstance(tool, _Checked) and (reason := await tool.check()) is not None:
            return reason
    return None


async def _close(made: Mapping[str, Sequence[Tool]]) -> None:
    for tools in made.values():
        for tool in tools:
            await tool.aclose()


def _known(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        if name not in SHIPPED and name not in (EVERY_TOOL, NO_TOOL):
            meant = closest(name, SHIPPED)
            hint = f"; did you mean {meant}?" if meant else f"; there are: {', '.join(SHIPPED)}"
            raise SettingsError(f"--tools: there is no tool {name[:60]!r}{hint}")
        yield name
