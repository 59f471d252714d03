"""Which tools are on offer, and which of them a recipient means (recovery rule R3).

A model writes `functions.f`, `f`, `Functions.F`, `functions.fjson`, `functions.web search`. A call
is accepted only if what it wrote means exactly one declared tool.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from antiphon.model.tools import FUNCTIONS, ToolNamespace

__all__ = ["ToolTable", "tool_names"]

_PREFIX: Final = FUNCTIONS + "."
_BUILT_IN: Final = frozenset({"python", "browser"})
_GLUED_TYPE: Final = re.compile(r"(?:json|code|text)\Z")
_FOLD: Final = re.compile(r"[\s\-_]+")


def tool_names(tools: Mapping[str, ToolNamespace]) -> tuple[str, ...]:
    """The recipients that reach these tools; a namespace without tools is its own recipient."""
    names: list[str] = []
    for key, namespace in tools.items():
        names += [f"{key}.{tool.name}" for tool in namespace.tools] or [key]
    return tuple(names)


class ToolTable:
    """Declared recipients. A bare name means the `functions` namespace, but for the built-ins.

    Reading a header depends on the table, so the parser keeps what it has read with it: use one
    table for many completions.
    """

    __slots__ = ("_folded", "headers", "names", "readings")

    def __init__(self, tools: Iterable[str] | Mapping[str, ToolNamespace]) -> None:
        given = tool_names(tools) if isinstance(tools, Mapping) else tools
        self.names: Final = frozenset(
            name if "." in name or name in _BUILT_IN else _PREFIX + name for name in given
        )
        folded: dict[str, str | None] = {}
        for name in self.names:
            for key in {_fold(name), _fold(name.removeprefix(_PREFIX))}:
                folded[key] = name if folded.get(key, name) == name else None
        self._folded = folded
        self.headers: dict[Any, Any] = {}
        self.readings: dict[Any, Any] = {}

    def match(self, written: str) -> str | None:
        """The one declared recipient that ``written`` means, or None."""
        if written in self.names:
            return written
        if (name := _PREFIX + written) in self.names:
            return name
        if (bare := written.removeprefix(_PREFIX)) in self.names:
            return bare
        return self._match_folded(written) or self._match_folded(_GLUED_TYPE.sub("", written))

    def _match_folded(self, written: str) -> str | None:
        key = _fold(written)
        return self._folded.get(key) or self._folded.get(key.removeprefix(_PREFIX))


def _fold(name: str) -> str:
    return _FOLD.sub("", name).casefold()
