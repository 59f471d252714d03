"""What a tool is: a name and a schema for the model, a word on its risk, and the call itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

__all__ = ["Approval", "Emit", "Need", "Shown", "Tool", "ToolFile", "ToolOutput"]

Approval = Literal["always", "ask", "never"]
"""What an operator or a user allows: call it, ask first, refuse."""

Emit = Callable[[str], None]
"""Takes output as it comes, for people who watch; the model reads `ToolOutput.text`."""


class Need(msgspec.Struct, frozen=True):
    """What one call would do, before it is made."""

    approval: Approval
    """``always``: harmless by itself. ``ask``: a person should look. ``never``: refused."""
    summary: str
    """One line for that person: ``write notes.md (12 lines)``."""


class ToolFile(msgspec.Struct, frozen=True):
    """A file that a call made, such as a plot."""

    name: str
    data: bytes
    media_type: str = "application/octet-stream"


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A page that was shown, as far as an answer can cite it."""

    cursor: int
    """The number that it is cited by: ``【3†L4】``."""
    cites: tuple[tuple[int, str, str], ...]
    """From which line on a citation means what: line, URL, title; in order."""


class ToolOutput(msgspec.Struct, frozen=True):
    """What a call came to."""

    text: str
    """What the model reads, failures too."""
    failed: bool = False
    files: tuple[ToolFile, ...] = ()
    details: Mapping[str, Any] = {}
    """For programs: an exit status, a diff, what a browser did."""
    shown: Shown | None = None
    """What citations of this output mean."""


class Tool(Protocol):
    """One tool. Calls of one turn may run at the same time; a call is cancelled with its task."""

    @property
    def name(self) -> str:
        """What the model calls it; with a namespace, ``browser.search``."""
        ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any] | None:
        """JSON Schema of the arguments; None: the input is text as it stands."""
        ...

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        """What this call needs. Raises nothing: arguments that are wrong need nothing."""
        ...

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        """Make the call. What goes wrong is an output with ``failed``, for the model to read;
        a bug may raise.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what it holds."""
        ...
