"""Asks whether a call may be made: a line of keys below the transcript."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from antiphon.agent.approval import Decision
from antiphon.agent.events import ApprovalAsked
from antiphon.cli.chat.wrapping import Rows, clean

__all__ = ["Approval", "Word"]

QUIET_SECONDS: Final = 0.7
"""A key this soon behind one that was typed into the prompt was meant for the prompt."""
MAX_ROWS: Final = 4
_KEYS: Final = "[y]es  [n]o  [a]lways in this session  [r]efuse and say why"

Word = Literal["yes", "no", "always", "reason"]
_WORDS: Final[dict[str, Word]] = {
    "y": "yes",
    "n": "no",
    "a": "always",
    "r": "reason",
    "escape": "no",
}


class Approval(Widget, can_focus=True):
    """Hidden while nobody is asked. Only these keys answer: Enter does not."""

    DEFAULT_CSS = """
    Approval { height: auto; display: none; }
    Approval.-asking { display: block; }
    """

    @dataclass
    class Answered(Message):
        """A key was pressed that answers."""

        word: Word

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._text = ""
        self._from = -math.inf
        self._answer: asyncio.Future[Decision] | None = None

    async def ask(self, asked: ApprovalAsked, *, last_typed: float | None) -> Decision:
        """The person's decision. ``last_typed`` is when a key was pressed for the prompt, if the
        person is writing there. If this is cancelled, the question goes away.
        """
        self._text = clean(f"{asked.tool} wants to: {' '.join(asked.summary.split())}")
        self._from = -math.inf if last_typed is None else last_typed + QUIET_SECONDS
        self._answer = asyncio.get_running_loop().create_future()
        self.add_class("-asking")
        self.refresh(layout=True)
        try:
            return await self._answer
        finally:
            self._answer = None
            self.remove_class("-asking")

    @property
    def asking(self) -> bool:
        return self._answer is not None

    def decide(self, decision: Decision) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(decision)

    def on_key(self, event: events.Key) -> None:
        word = _WORDS.get(event.key if len(event.key) > 1 else event.key.lower())
        if word is None or not self.asking:
            return
        event.stop()
        if self._clock() >= self._from:
            self.post_message(self.Answered(word))

    # How it looks.

    def _rows(self, width: int) -> list[Strip]:
        rows = Rows(width)
        rows.feed(self._text)
        shown = rows.all()[:MAX_ROWS]
        bold = Style(bold=True, color="yellow")
        return [
            *[Strip([Segment(text, bold)]) for text in shown],
            Strip([Segment(_KEYS[:width], Style(bold=True))]),
        ]

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._rows(width))

    def render_line(self, y: int) -> Strip:
        rows = self._rows(self.size.width)
        strip = rows[y] if y < len(rows) else Strip.blank(self.size.width)
        return strip.apply_style(self.rich_style).adjust_cell_length(
            self.size.width, self.rich_style
        )
