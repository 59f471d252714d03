"""Files of one folder and nothing else: read, write, edit, list, search."""

from __future__ import annotations

from pathlib import Path

from antiphon.tools.function import FunctionTool
from antiphon.tools.workspace.files import edit_tool, read_tool, write_tool
from antiphon.tools.workspace.listing import list_tool
from antiphon.tools.workspace.root import Workspace, WorkspaceError
from antiphon.tools.workspace.search import search_tool

__all__ = ["Workspace", "WorkspaceError", "workspace_tools"]


def workspace_tools(workspace: Workspace | Path, *, writing: bool = True) -> list[FunctionTool]:
    """The tools of a folder; without ``writing``, those that change nothing."""
    place = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    tools = [read_tool(place), list_tool(place), search_tool(place)]
    return [*tools, write_tool(place), edit_tool(place)] if writing else tools
