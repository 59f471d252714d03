"""A circuit breaker: an engine that keeps failing is left alone for a while, then tried once.

closed ──FAILURES in a row──► open ──its time is up──► half-open ──one that works──► closed
                               ▲                            │
                               └────────── fails ───────────┘  (twice as long, up to a limit)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

__all__ = ["FAILURES", "LONGEST_OPEN_SECONDS", "OPEN_SECONDS", "Breaker", "BreakerState"]

BreakerState = Literal["closed", "open", "half-open"]

FAILURES: Final = 3
"""Failures in a row that open a breaker."""
OPEN_SECONDS: Final = 5.0
"""How long it is open the first time."""
LONGEST_OPEN_SECONDS: Final = 120.0
"""How long at most, when trials keep failing."""


class Breaker:
    """Call `admit` before each use; if it says yes, then exactly one of `succeeded`, `failed` and
    `abandoned` after it, and `alive` in between as soon as there is something to show.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        seconds: float = OPEN_SECONDS,
        longest: float = LONGEST_OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1:
            raise ValueError("a breaker opens after one failure or more")
        self._limit = failures
        self._first = seconds
        self._longest = longest
        self._clock = clock
        self._open_for = seconds
        self._until: float | None = None
        self._trial = False
        self.failures = 0
        """Failures in a row."""

    @property
    def state(self) -> BreakerState:
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half-open"

    @property
    def ready(self) -> bool:
        """Whether `admit` would say yes."""
        state = self.state
        return state == "closed" or (state == "half-open" and not self._trial)

    @property
    def opens_in(self) -> float:
        """Seconds until the next trial; 0.0 if there is nothing to wait for."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock())

    def admit(self) -> bool:
        """Whether one more use is fine. Half-open, it is for one at a time."""
        if not self.ready:
            return False
        self._trial |= self.state == "half-open"
        return True

    def alive(self) -> None:
        """It answers: others may go on, but the next failure opens it again."""
        if self._until is not None and self._trial:
            self._until, self._trial = None, False
            self.failures = self._limit - 1

    def succeeded(self) -> None:
        """It did what it should."""
        self.alive()
        if self._until is None:
            self.failures, self._open_for = 0, self._first

    def failed(self) -> None:
        self.failures += 1
        if self._trial or (self._until is None and self.failures >= self._limit):
            if self._trial or self.failures > self._limit:
                self._open_for = min(2 * self._open_for, self._longest)
            self._until = self._clock() + self._open_for
            self._trial = False

    def abandoned(self) -> None:
        """It was left before it could be told how it went."""
        self._trial = False

    def try_now(self) -> None:
        """Somebody knows that it is back: half-open at once."""
        if self._until is not None:
            self._until = min(self._until, self._clock())
