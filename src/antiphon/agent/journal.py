"""Where a session is written down while it happens: the seam between the agent and a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from antiphon.agent.events import ApprovalGiven, Kind, RunEnded
from antiphon.agent.transcript import Entry
from antiphon.api.turn import FinishReason, TurnUsage
from antiphon.tools.protocol import ToolOutput

__all__ = ["Journal", "Setup"]


class Setup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model is asked with, beside the messages."""

    model: str = ""
    engine: str = ""
    effort: str = "medium"
    instructions: str | None = None
    tools: tuple[str, ...] = ()
    date: str | None = None


class Journal(Protocol):
    """Takes down a session. Each method returns when its record is as safe as was asked for, and
    raises StoreError if it cannot be kept.
    """

    @property
    def id(self) -> str: ...

    def setup(self, setup: Setup) -> None: ...

    def said(self, entry: Entry) -> None:
        """The user's message, or the result of a call."""
        ...

    def made(self, call_id: str | None, output: ToolOutput) -> None:
        """What a call came to beside its text: files, and what can be cited."""
        ...

    def piece(self, part: int, kind: Kind, text: str) -> None:
        """Words of a turn that is not over."""
        ...

    def turn(self, entries: Sequence[Entry], finish: FinishReason | None, usage: TurnUsage) -> None:
        """A turn is over; ``finish`` is None if it was broken off. Its pieces may be forgotten."""
        ...

    def decided(self, tool: str, given: ApprovalGiven) -> None: ...

    def ended(self, end: RunEnded) -> None: ...
