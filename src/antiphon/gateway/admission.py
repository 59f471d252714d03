"""Who may run now, who waits, and who is sent away: a bounded number of turns, a bounded queue.

Each caller has a line of its own, and the lines are served in turn, so one that sends a hundred
requests at once delays nobody else by more than one. When the queue is full, whoever has the
longest line loses its last place to a caller that has a shorter one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from antiphon.api.errors import ApiError
from antiphon.settings.model import LimitSettings

__all__ = ["Admission", "Ticket"]

_FIRST_GUESS: Final = 5.0
"""Seconds that a turn is taken to last until one has ended."""
_SMOOTHING: Final = 0.2
_MAX_RETRY_SECONDS: Final = 60.0


class Ticket:
    """One turn's claim to a place. `leave` gives it up, at any time and however often."""

    __slots__ = ("_admission", "_decided", "asked", "limit", "refusal", "since", "who")

    def __init__(self, admission: Admission, who: str, limit: int, asked: float) -> None:
        self._admission: Admission | None = admission
        self._decided: asyncio.Future[None] | None = None
        self.who: Final = who
        self.limit: Final = limit
        """Places this caller may hold; 0: any number."""
        self.asked: Final = asked
        self.since: float | None = None
        """When it got its place; None while it waits."""
        self.refusal: ApiError | None = None
        """Why it lost its place in the queue."""

    @property
    def admitted(self) -> bool:
        """Whether it has its place."""
        return self.since is not None

    async def wait(self, seconds: float | None = None) -> bool:
        """Whether it has its place within so many seconds (None: the rest of its time). Call it
        again to go on waiting.

        Raises ApiError 503 once it has waited for ``limits.queue_seconds``, and 429 if its place in
        the queue went to another caller.
        """
        assert self._admission is not None, "the ticket was given up"
        if not self.admitted and self.refusal is None:
            left = self._admission.time_left(self)
            last = seconds is None or left <= seconds
            if self._decided is None:
                self._decided = asyncio.get_running_loop().create_future()
            timeout = left if seconds is None else min(left, seconds)
            await asyncio.wait((self._decided,), timeout=max(0.0, timeout))
            if last and not self._decided.done():
                self.refusal = self._admission.busy(
                    f"no place became free within {self._admission.queue_seconds:g} seconds"
                )
        if self.refusal is not None:
            raise self.refusal
        return self.admitted

    def decide(self) -> None:
        """Wake whoever waits."""
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(None)

    def leave(self) -> None:
        """Give up the place, or the wait for it."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.left(self)


class Admission:
    """The places of one server. Belongs to one event loop."""

    def __init__(
        self,
        limits: Callable[[], LimitSettings],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self.running = 0
        """Turns that have a place."""
        self.waiting = 0
        """Turns in the queue."""
        self._places: dict[str, int] = {}
        # A line is in `_ready` if its caller may have another place, else in `_held`.
        self._ready: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._held: dict[str, deque[Ticket]] = {}
        self._turn_seconds = _FIRST_GUESS

    @property
    def queue_seconds(self) -> float:
        return self._limits().queue_seconds

    def ask(self, who: str, *, limit: int | None = None) -> Ticket:
        """A ticket, with a place if one is free. ``limit``: the caller's own, None for
        ``limits.per_key_concurrent``.

        Raises ApiError if the queue is full: 429 if nobody waits with more requests than this
        caller, else 503.
        """
        limits = self._limits()
        ticket = Ticket(
            self, who, limits.per_key_concurrent if limit is None else limit, self._clock()
        )
        if self.running < limits.concurrent and not self._ready and not self._full(ticket):
            self._start(ticket)
            return ticket
        if self.waiting >= limits.queued:
            self._make_room(who)
        line = self._held.get(who) or self._ready.get(who)
        if line is None:
            line = (self._held if self._full(ticket) else self._ready)[who] = deque()
        line.append(ticket)
        self.waiting += 1
        return ticket

    @asynccontextmanager
    async def place(self, who: str, *, limit: int | None = None) -> AsyncGenerator[None, None]:
        """A place for as long as the block runs, after a wait if need be. Raises as `ask` and
        `Ticket.wait`.
        """
        ticket = self.ask(who, limit=limit)
        try:
            await ticket.wait()
            yield
        finally:
            ticket.leave()

    def wake(self) -> None:
        """Give free places to those who wait. To be called when ``limits`` have changed."""
        free = self._limits().concurrent
        while self.running < free and self._ready:
            who, line = self._ready.popitem(last=False)
            ticket = line.popleft()
            self.waiting -= 1
            self._start(ticket)
            ticket.decide()
            if line:
                (self._held if self._full(line[0]) else self._ready)[who] = line

    def left(self, ticket: Ticket) -> None:
        """`Ticket.leave`."""
        if ticket.since is None:
            self._drop(ticket)
            return
        self._turn_seconds += _SMOOTHING * (self._clock() - ticket.since - self._turn_seconds)
        self.running -= 1
        self._places[ticket.who] -= 1
        if not self._places[ticket.who]:
            del self._places[ticket.who]
        line = self._held.get(ticket.who)
        if line is not None and not self._full(line[0]):
            self._ready[ticket.who] = self._held.pop(ticket.who)
        self.wake()

    def time_left(self, ticket: Ticket) -> float:
        """Seconds that a ticket may still wait."""
        return ticket.asked + self.queue_seconds - self._clock()

    def busy(self, why: str) -> ApiError:
        """All places are taken."""
        return ApiError(
            f"The server is busy: {why}.",
            status=503,
            type="server_error",
            code="overloaded",
            retry_after=self._retry_seconds(),
        )

    def _start(self, ticket: Ticket) -> None:
        ticket.since = self._clock()
        self.running += 1
        self._places[ticket.who] = self._places.get(ticket.who, 0) + 1

    def _full(self, ticket: Ticket) -> bool:
        return bool(ticket.limit) and self._places.get(ticket.who, 0) >= ticket.limit

    def _drop(self, ticket: Ticket) -> None:
        for lines in (self._ready, self._held):
            line = lines.get(ticket.who)
            if line is not None and ticket in line:
                line.remove(ticket)
                self.waiting -= 1
                if not line:
                    del lines[ticket.who]
                return

    def _make_room(self, who: str) -> None:
        """Take the last place of the longest line, if that is not the caller's own."""
        lines = self._ready | self._held
        longest = max(lines.values(), key=len, default=None)
        own = len(lines.get(who, ()))
        if longest is not None and len(longest) > own + 1:
            last = longest[-1]
            last.refusal = self._too_many(len(longest))
            self._drop(last)
            last.decide()
        elif own and longest is not None and own == len(longest):
            raise self._too_many(own)
        else:
            raise self.busy(f"{self.running} requests run and {self.waiting} wait")

    def _too_many(self, waiting: int) -> ApiError:
        return ApiError(
            f"Too many requests at a time: {waiting} of yours are waiting already.",
            status=429,
            type="rate_limit_error",
            code="rate_limit_exceeded",
            retry_after=self._retry_seconds(),
        )

    def _retry_seconds(self) -> float:
        """How long the queue there is now will take."""
        rounds = (self.waiting + 1) / self._limits().concurrent
        return min(max(1.0, rounds * self._turn_seconds), _MAX_RETRY_SECONDS)
