"""What the python tool runs code with, and what became of a piece of code."""

from __future__ import annotations

from typing import Protocol

import msgspec

from antiphon.tools.protocol import Emit, ToolFile

__all__ = ["Interpreter", "Ran"]


class Ran(msgspec.Struct, frozen=True):
    """What one piece of code came to."""

    text: str
    """What it printed, then the value of its last expression or its traceback."""
    failed: bool = False
    files: tuple[ToolFile, ...] = ()
    """Files that it made or changed."""
    state_lost: bool = False
    """Whether variables are gone: the interpreter ended, a new one begins with the next call."""


class Interpreter(Protocol):
    """An interpreter that keeps its state from call to call, in a sandbox."""

    @property
    def notes(self) -> str:
        """What is special here, for the model; one sentence or two."""
        ...

    async def check(self) -> str | None:
        """Why it does not work here; None: it does."""
        ...

    async def run(self, code: str, *, emit: Emit) -> Ran:
        """Run code. One call at a time: others wait. A cancelled call is interrupted."""
        ...

    async def aclose(self) -> None:
        """End it and clear away its files."""
        ...
