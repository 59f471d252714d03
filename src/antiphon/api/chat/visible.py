"""Which field of an answer a part of a turn goes to: the one place that streams and whole answers
share.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from antiphon.api.chat.answer import Finish
from antiphon.api.policy import Visibility
from antiphon.api.turn import PartKind, PartStart, TurnEnd, TurnUsage

__all__ = ["SEPARATOR", "ChoiceState", "Target"]

SEPARATOR: Final = "\n\n"
"""Between two parts that go to one field: a preamble and the answer, two thoughts."""


class Target(IntEnum):
    """A field of the message."""

    HIDDEN = 0
    CONTENT = 1
    REASONING = 2
    CALL = 3


class ChoiceState:
    """How far one choice has come."""

    __slots__ = (
        "_preamble",
        "_reasoning",
        "_seen",
        "calls",
        "custom",
        "finish",
        "index",
        "separator",
        "target",
        "usage",
    )

    def __init__(self, index: int, view: Visibility) -> None:
        self.index: Final = index
        self._reasoning = Target.REASONING if view.reasoning else Target.HIDDEN
        self._preamble = {
            "content": Target.CONTENT,
            "reasoning": self._reasoning,
            "hidden": Target.HIDDEN,
        }[view.preambles]
        self._seen = [False] * len(Target)
        self.target = Target.HIDDEN
        self.separator = ""
        """What goes before the next text."""
        self.calls = 0
        """Calls so far, the open one included."""
        self.custom = False
        """Whether the open call is one of a custom tool."""
        self.finish: Finish | None = None
        self.usage = TurnUsage()

    def start(self, part: PartStart) -> Target:
        """A part begins; its texts go to the field returned."""
        kind = part.kind
        if kind is PartKind.CALL:
            self.target = Target.CALL
            self.calls += 1
            self.custom = part.custom
        elif kind is PartKind.ANSWER:
            self.target = Target.CONTENT
        elif kind is PartKind.PREAMBLE:
            self.target = self._preamble
        else:
            self.target = self._reasoning
        text = self.target in (Target.CONTENT, Target.REASONING)
        self.separator = SEPARATOR if text and self._seen[self.target] else ""
        return self.target

    def said(self) -> str:
        """The open part has text now. Returns what separates it from what was before it."""
        separator, self.separator = self.separator, ""
        self._seen[self.target] = True
        return separator

    def end(self, event: TurnEnd, *, deprecated_functions: bool) -> Finish:
        """The choice is complete. Returns its finish reason."""
        finish: Finish = event.finish_reason
        if finish == "tool_calls" and deprecated_functions:
            finish = "function_call"
        self.finish = finish
        self.usage = event.usage
        return finish
