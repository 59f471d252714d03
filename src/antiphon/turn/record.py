"""What a turn has said so far, and what of it waits until it was checked."""

from __future__ import annotations

from typing import NamedTuple

from antiphon.api.turn import TurnEvent
from antiphon.codec.arguments import Arguments
from antiphon.model.message import Message
from antiphon.turn.offer import OfferedTool

__all__ = ["BoundCall", "TurnRecord"]


class BoundCall(NamedTuple):
    """A whole call of a strict tool, or of a custom tool with a grammar; its text as delivered."""

    tool: OfferedTool
    arguments: Arguments | None
    text: str
    call_id: str | None


class TurnRecord:
    """The sum of a turn's parts. `TurnFold` writes it, the turn reads it."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers: list[str] = []
        """The text of each."""
        self.spoken = False
        """Whether there was text for the user."""
        self.messages: list[Message] = []
        """What the model said, as it will be rendered when it comes back."""
        self.call_ids: list[tuple[int, str]] = []
        """Index into ``messages`` and id of each call."""
        self.bound: list[BoundCall] = []
        """Calls to be checked."""
        self.held: list[TurnEvent] | None = None
        """What waits; None while nothing does."""
        self._before: tuple[int, int, int, bool, int] | None = None

    # Held parts.

    def release(self, out: list[TurnEvent]) -> None:
        """What was held is good."""
        if self.held is not None:
            out += self.held
        self.held = self._before = None

    def discard(self) -> list[Message]:
        """What was held is not good: as if it had not been said. Its messages are returned."""
        self.held = None
        gone: list[Message] = []
        if self._before is not None:
            messages, calls, answers, self.spoken, bound = self._before
            gone = self.messages[messages:]
            del self.messages[messages:], self.answers[answers:], self.bound[bound:]
            self.call_ids = [entry for entry in self.call_ids if entry[0] < messages]
            self.calls = calls
        self._before = None
        return gone

    def _hold(self) -> None:
        if self.held is None:
            self.held = []
            self._before = (
                len(self.messages),
                self.calls,
                len(self.answers),
                self.spoken,
                len(self.bound),
            )

    def _emit(self, event: TurnEvent, out: list[TurnEvent]) -> None:
        (out if self.held is None else self.held).append(event)
