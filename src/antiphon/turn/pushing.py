"""Chunks → events without a task: while everybody waits for the engine, what it sends is read, and
shown, right where it arrives.

A generator costs a token a future, a turn of the event loop and a step of every frame between the
socket and the client. Here a token is a chain of calls. Whatever is not plain text on its way to a
client that keeps up goes through the generators as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from antiphon.api.turn import TurnEvent
from antiphon.engines.protocol import Chunk
from antiphon.turn.fold import TurnFold
from antiphon.turn.intake import Intake
from antiphon.turn.observe import TurnObserver
from antiphon.turn.watchdog import Watchdog

__all__ = ["EventSink", "Pushing"]

EventSink = Callable[[Sequence[TurnEvent]], bool]
"""Takes events at once. False: it has taken them, and asks that whoever runs the turn be woken."""

TOLD_AT_ONCE: Final = 64
"""Chunks that an observer is told of together: it watches, it does not take part."""
_NOTHING: Final[tuple[Chunk, ...]] = ()


class Pushing:
    """The `CompletionRequest.push` of one completion. ``fault`` is what went wrong in it."""

    __slots__ = ("_fold", "_intake", "_now", "_observer", "_sink", "_untold", "_watch", "fault")

    def __init__(
        self,
        intake: Intake,
        fold: TurnFold,
        watch: Watchdog,
        observer: TurnObserver | None,
        sink: EventSink,
    ) -> None:
        self._intake = intake
        self._fold = fold
        self._watch = watch
        self._observer = observer
        self._sink = sink
        self._untold: list[Chunk] = []
        self._now = asyncio.get_running_loop().time
        self.fault: Exception | None = None

    def __call__(self, chunks: Sequence[Chunk]) -> Sequence[Chunk] | None:
        over = self._fold.over
        if over is not None or self.fault is not None:
            return chunks
        self._watch.last = self._now()
        try:
            if self._observer is not None:
                self._untold += chunks
                if len(self._untold) >= TOLD_AT_ONCE:
                    self.tell()
            out: list[TurnEvent] = []
            self._intake.take(chunks, out)
            if out and not self._sink(out):
                return _NOTHING
        except Exception as fault:  # noqa: BLE001 - raised where the turn runs
            self.fault = fault
            return _NOTHING
        return None if self._fold.over is None else _NOTHING

    def tell(self) -> None:
        """Tell the observer what it has not been told yet."""
        if self._untold and self._observer is not None:
            untold, self._untold = self._untold, []
            self._observer.received(untold)
