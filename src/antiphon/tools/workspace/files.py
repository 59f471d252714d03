"""read, write and edit: one file of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta

from antiphon.tools.function import FunctionTool
from antiphon.tools.protocol import Need, ToolOutput
from antiphon.tools.text import counted, one_line
from antiphon.tools.workspace.content import decode, is_binary
from antiphon.tools.workspace.root import MAX_FILE_BYTES, Stamp, Workspace, WorkspaceError

__all__ = ["edit_tool", "read_tool", "write_tool"]

MAX_READ_CHARS: Final = 60_000
"""Most that one read gives; the model asks for the next lines."""
MAX_LINE_CHARS: Final = 2_000
"""Longest line that is given whole."""
DEFAULT_LINES: Final = 1_000
MAX_WRITE_CHARS: Final = 4 << 20

_Line = Annotated[int, Meta(ge=1)]


def read_tool(workspace: Workspace) -> FunctionTool:
    """Read a text file, by lines."""

    def read(path: str, start: _Line = 1, lines: _Line = DEFAULT_LINES) -> ToolOutput:
        """Read a text file of the workspace. Every line is shown with its number and a tab.

        Args:
            path: The file, from the workspace's root.
            start: The first line to show.
            lines: How many lines to show.
        """
        try:
            data, _, where = workspace.read(path)
        except WorkspaceError as error:
            return ToolOutput(str(error), failed=True)
        return _shown(where, data, start, lines)

    return FunctionTool(read, need=lambda given: Need("always", one_line(f"read {given['path']}")))


def write_tool(workspace: Workspace) -> FunctionTool:
    """Write a file whole."""

    def write(path: str, content: str) -> ToolOutput:
        """Write a text file of the workspace whole, replacing what is there. Folders are made.

        Args:
            path: The file, from the workspace's root.
            content: All of its text.
        """
        if len(content) > MAX_WRITE_CHARS:
            return ToolOutput(
                f"{counted(len(content), 'character')} are too many for one file; the limit is"
                f" {MAX_WRITE_CHARS:,}",
                failed=True,
            )
        try:
            data = content.encode()
            with workspace.lock, workspace.place(path, make_folders=True) as place:
                known = workspace.check_writable(place) is not None
                workspace.write_at(place, data)
        except WorkspaceError as error:
            return ToolOutput(str(error), failed=True)
        except UnicodeEncodeError:
            return ToolOutput("The text holds half a surrogate pair", failed=True)
        done = "Replaced" if known else "Wrote"
        amount = f"{counted(_lines(content), 'line')}, {counted(len(data), 'byte')}"
        return ToolOutput(f"{done} {place.path}: {amount}.", details={"path": place.path})

    def need(given: Mapping[str, Any]) -> Need:
        amount = counted(_lines(given["content"]), "line")
        return Need("ask", f"write {one_line(given['path'])} ({amount})")

    return FunctionTool(write, need=need)


def edit_tool(workspace: Workspace) -> FunctionTool:
    """Replace one piece of a file by another."""

    def edit(path: str, old: str, new: str, everywhere: bool = False) -> ToolOutput:
        """Replace a piece of a text file of the workspace.

        Args:
            path: The file, from the workspace's root.
            old: The piece as it stands in the file, with enough around it to be found only once.
            new: What to put in its place.
            everywhere: Replace every place where it stands.
        """
        try:
            return _edit(workspace, path, old, new, everywhere=everywhere)
        except WorkspaceError as error:
            return ToolOutput(str(error), failed=True)

    def need(given: Mapping[str, Any]) -> Need:
        change = f"−{_lines(given['old'])} +{_lines(given['new'])} lines"
        return Need("ask", f"edit {one_line(given['path'])} ({change})")

    return FunctionTool(edit, need=need)


def _edit(workspace: Workspace, path: str, old: str, new: str, *, everywhere: bool) -> ToolOutput:
    if not old:
        raise WorkspaceError("`old` is empty: say what to replace, or use write for a new file")
    if old == new:
        raise WorkspaceError("`old` and `new` are the same: nothing to do")
    with workspace.lock, workspace.place(path) as place:
        workspace.check_writable(place)
        data, status = workspace.read_at(place)
        file = decode(data)
        if file is None:
            raise WorkspaceError(f"{one_line(place.path)}: not a text file in UTF-8")
        if file.crlf:
            old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
        found = file.text.count(old)
        if not found:
            raise WorkspaceError(f"{one_line(place.path)}: {_why_not(file.text, old)}")
        if found > 1 and not everywhere:
            raise WorkspaceError(
                f"{one_line(place.path)}: `old` stands there {found} times, in lines"
                f" {_where(file.text, old)}; give more of what is around it, or `everywhere`"
            )
        if len(file.text) + found * (len(new) - len(old)) > MAX_FILE_BYTES:
            raise WorkspaceError(f"{one_line(place.path)}: would become too large")
        line = file.text.count("\n", 0, file.text.index(old)) + 1
        try:
            made = file.encode(file.text.replace(old, new))
        except UnicodeEncodeError:
            raise WorkspaceError("`new` holds half a surrogate pair") from None
        workspace.write_at(place, made, expected=Stamp.of(status))
        times = f" in {counted(found, 'place')}, first" if found > 1 else ""
        return ToolOutput(
            f"Changed {place.path}{times} at line {line}.", details={"path": place.path}
        )


def _why_not(text: str, old: str) -> str:
    first = next((line for line in old.splitlines() if line.strip()), "")
    at = text.find(first.strip()) if first.strip() else -1
    if at < 0:
        return "`old` does not stand there; read the file again"
    line = text.count("\n", 0, at) + 1
    return (
        f"`old` does not stand there as given. Its first line does in line {line}: compare spaces,"
        " tabs and the lines that follow"
    )


def _where(text: str, old: str) -> str:
    lines: list[str] = []
    at = text.find(old)
    while at >= 0 and len(lines) < 5:
        lines.append(str(text.count("\n", 0, at) + 1))
        at = text.find(old, at + len(old))
    return ", ".join(lines) + (", …" if at >= 0 else "")


def _shown(where: str, data: bytes, start: int, count: int) -> ToolOutput:
    file = decode(data)
    note = ""
    if file is not None:
        text = file.text
    elif is_binary(data):
        return ToolOutput(f"{where}: a binary file of {counted(len(data), 'byte')}", failed=True)
    else:
        text = data.decode(errors="replace")
        note = " Not valid UTF-8: what could not be read is shown as \ufffd."
    # Only \n ends a line, as in editors and diffs; splitlines would cut at form feeds as well.
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        return ToolOutput(f"{where} is empty.")
    if start > len(lines):
        return ToolOutput(f"{where} has only {counted(len(lines), 'line')}.", failed=True)
    shown: list[str] = []
    room = MAX_READ_CHARS
    for number, line in enumerate(lines[start - 1 : start - 1 + count], start):
        cut = f"{number}\t{line}"
        if len(line) > MAX_LINE_CHARS:
            left = counted(len(line) - MAX_LINE_CHARS, "character")
            cut = f"{number}\t{line[:MAX_LINE_CHARS]}[… {left} more]"
        if len(cut) > room:
            break
        room -= len(cut) + 1
        shown.append(cut)
    last = start + len(shown) - 1
    head = f"{where}, lines {start} to {last} of {len(lines)}.{note}"
    details = {"path": where, "start": start, "lines": len(shown), "of": len(lines)}
    return ToolOutput("\n".join([head, *shown]), details=details)


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n") and bool(text))
