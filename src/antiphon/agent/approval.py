"""Whether a call is made: what the tool says of it, what the settings allow, what a person says.

the tool's own word   never    refused, whatever else is said
the settings          never    refused
                      ask      a person is asked
                      always   made
nothing said                   the tool's own word: always, or ask
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from antiphon.agent.events import ApprovalAsked
from antiphon.settings.model import AgentSettings
from antiphon.tools.protocol import Approval, Need

__all__ = ["ANY_TOOL", "Ask", "Decision", "Policy"]

ANY_TOOL: Final = "*"


class Decision(msgspec.Struct, frozen=True):
    """What a person said. ``remember``: so for all calls of this tool, until the agent ends."""

    allowed: bool
    remember: bool = False
    reason: str = ""
    """Why not, for the model to read."""


Ask = Callable[[ApprovalAsked], Awaitable[Decision]]
"""Asks a person. Calls wait one after the other; a call that is cancelled cancels the question."""


class Policy:
    """What is allowed without a person, by tool. A tool's own name is stronger than ``*``."""

    def __init__(
        self,
        *,
        always: Iterable[str] = (),
        ask: Iterable[str] = (),
        never: Iterable[str] = (),
    ) -> None:
        self._known: dict[str, Approval] = {}
        for names, approval in ((always, "always"), (ask, "ask"), (never, "never")):
            for name in names:
                self._known[name] = approval  # type: ignore[assignment]  # the three above

    @classmethod
    def of(cls, settings: AgentSettings) -> Policy:
        """What the settings say; of two words on one tool, the stricter holds."""
        return cls(always=settings.always, ask=settings.ask, never=settings.never)

    def remember(self, tool: str, approval: Approval) -> None:
        """From now on."""
        self._known[tool] = approval

    def never_ask(self) -> None:
        """From now on, what would be asked about is made. What is refused stays refused."""
        for name, approval in self._known.items():
            if approval == "ask":
                self._known[name] = "always"
        self._known.setdefault(ANY_TOOL, "always")

    def of_tool(self, tool: str) -> Approval | None:
        """What is said of a tool; None if nothing is."""
        return self._known.get(tool) or self._known.get(ANY_TOOL)

    def decide(self, tool: str, need: Need) -> Approval:
        """What holds for one call."""
        if need.approval == "never":
            return "never"
        return self.of_tool(tool) or need.approval
