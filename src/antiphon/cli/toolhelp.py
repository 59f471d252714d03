"""``--tools help``: the tools that can be chosen, and why some of them cannot be had here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from antiphon.agent.toolbox import SHIPPED, make_tools, usual_tools
from antiphon.cli.errors import one_line
from antiphon.cli.terminal import printable
from antiphon.errors import AntiphonError
from antiphon.settings.model import Settings

__all__ = ["tool_help"]


def tool_help(settings: Settings, workspace: Path | None) -> Iterator[str]:
    """A line for each tool; ``*`` marks those that are offered where nobody chooses."""
    reasons = asyncio.run(_reasons(settings, workspace or Path.cwd()))
    usual = usual_tools(workspace=workspace is not None, settings=settings)
    for name, tool in SHIPPED.items():
        yield f"{'*' if name in usual else ' '} {name:12}  {tool.summary}"
        if name in reasons:
            yield f"{'':16}not here: {printable(one_line(reasons[name]))}"
    yield ""
    yield "* without --tools" + ("" if workspace else "; more of them with --workspace FOLDER")


async def _reasons(settings: Settings, workspace: Path) -> dict[str, str]:
    """Name → why it is missing."""
    reasons: dict[str, str] = {}
    for name in SHIPPED:
        try:
            made = await make_tools([name], workspace, settings)
        except AntiphonError as error:
            reasons[name] = str(error)
            continue
        reasons |= made.missing
        for tool in made.tools:
            await tool.aclose()
    return reasons
