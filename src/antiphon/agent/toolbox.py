"""The tools that come with us, by name: what `--tools` chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antiphon.errors import SettingsError
from antiphon.settings.model import Settings
from antiphon.settings.values import closest
from antiphon.tools.protocol import Tool

__all__ = ["described_tools", "make_tools"]

_TOOLS: dict[str, str] = {}


def described_tools() -> list[tuple[str, str]]:
    """Name and one line on each."""
    return list(_TOOLS.items())


def make_tools(names: Sequence[str] | None, workspace: Path, settings: Settings) -> list[Tool]:  # noqa: ARG001
    """The tools of these names; None: those that are usual. Raises SettingsError."""
    for name in names or ():
        if name not in _TOOLS and name not in ("all", "none"):
            meant = closest(name, _TOOLS)
            hint = f"; did you mean {meant}?" if meant else ""
            raise SettingsError(f"--tools: there is no tool {name[:60]!r}{hint}")
    return []
