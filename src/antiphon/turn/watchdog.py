"""The time limits of one turn: one timer, however many tokens come.

`asyncio.timeout` for each chunk would cost more than the chunk. Here the turn notes when it last
heard of the engine, and a timer that is set anew only when it fires looks at the note.
"""

from __future__ import annotations

import asyncio

from antiphon.api.errors import ApiError

__all__ = ["Watchdog"]


class Watchdog:
    """Ends a wait for the engine that takes too long: ``idle`` for silence, ``total`` for the turn.

    ``silence`` is how long it may be silent now: `reading` makes it longer, what is `heard` ends
    that. Between `waits` and `heard`, the current task may be cancelled; `expired` says that it was
    this watchdog. A slow client is not the engine's silence. ``last`` is when the engine was last
    heard of, by the event loop's clock; who hears of it without the task's being woken sets it.
    """

    __slots__ = (
        "_cancelling",
        "_deadline",
        "_idle",
        "_loop",
        "_task",
        "_timer",
        "_total",
        "error",
        "last",
        "silence",
    )

    def __init__(self, *, idle: float, total: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle = self.silence = idle
        self._total = total
        self.last = self._loop.time()
        self._deadline = self.last + total
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.error: ApiError | None = None
        self._timer = self._loop.call_later(min(idle, total), self._look)

    def cancel(self) -> None:
        """The turn is over."""
        self._timer.cancel()

    def reading(self, seconds: float) -> None:
        """The engine reads a prompt, which may take so long and says nothing."""
        self.silence = self._idle + seconds

    def waits(self) -> None:
        """The turn waits for the engine now. Raises ApiError if its time is over."""
        self.last = now = self._loop.time()
        if now >= self._deadline:
            raise self._late()
        self._task = asyncio.current_task(self._loop)

    def heard(self, something: object) -> None:
        """The engine is alive; with ``something``, it has begun to answer."""
        self._task = None
        if something:
            self.silence = self._idle

    def expired(self) -> bool:
        """Whether a cancellation was this watchdog's and nobody else's."""
        task, self._task = self._task, None
        if self.error is None or task is None:
            return False
        return task.uncancel() <= self._cancelling

    def _look(self) -> None:
        now = self._loop.time()
        waiting = self._task is not None
        if waiting and now >= min(self._deadline, self.last + self.silence):
            if now >= self._deadline:
                self.error = self._late()
            else:
                self.error = ApiError(
                    f"the engine sent nothing for {self.silence:.6g} s",
                    status=504,
                    type="engine_error",
                    code="engine_timeout",
                )
            assert self._task is not None
            self._cancelling = self._task.cancelling()
            self._task.cancel()
            return
        # `silence` may become shorter in the meantime, down to `idle`.
        next_look = min(self.last + self.silence if waiting else now + self._idle, now + self._idle)
        if now < self._deadline:
            next_look = min(next_look, self._deadline)
        self._timer = self._loop.call_at(next_look, self._look)

    def _late(self) -> ApiError:
        return ApiError(
            f"the turn took longer than {self._total:g} s",
            status=504,
            type="engine_error",
            code="turn_timeout",
        )
