"""Several engines of one model as one: balanced by weight, each behind a circuit breaker.

A request goes to the engine that served its conversation last (it holds the prefix), else to the
least busy for its weight. Until the first token has been passed on, a failure is mended by asking
another engine; afterwards it is the client's to see.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from antiphon.engines.breaker import FAILURES, OPEN_SECONDS, Breaker, BreakerState
from antiphon.engines.common import Hybrid, common_capabilities, common_reading
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Engine,
    says_something,
)
from antiphon.errors import EngineError

__all__ = ["Member", "MemberHealth", "Pool"]

AFFINITIES: Final = 65_536
"""Conversations whose engine is remembered."""
WAITING: Final = 1024
"""Requests that may wait while every engine is full."""
WAIT_SECONDS: Final = 60.0
"""Longest wait for a full engine."""
CHECK_SECONDS: Final = 5.0
"""Between two looks at engines that were down."""
MAX_ERROR: Final = 500
"""Characters kept of an engine's last error."""

_REFUSED: Final = frozenset({400, 413, 422})
"""The request's own fault: every engine would say so."""
_DROPPED: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})

Check = Callable[[], Awaitable[bool]]


class Member(msgspec.Struct, frozen=True):
    """One engine of a pool."""

    engine: Engine
    weight: float = 1.0
    concurrent: int = 0
    """Requests that it takes at a time; 0: as many as come."""
    check: Check | None = None
    """Says whether it is up; asked by `Pool.check` while its breaker is open."""


class MemberHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a member is, for metrics and for people."""

    name: str
    state: BreakerState
    busy: int
    weight: float
    concurrent: int
    served: int
    """Completions that went well."""
    failed: int
    """Completions that did not, refusals of the request not counted."""
    failures: int
    """Failures in a row."""
    last_error: str | None
    retry_seconds: float
    """Until an open breaker lets a request try again."""
    used: bool
    """False for one whose completions cannot be read like the others'."""


class _Seat:
    """A member, and how it is doing."""

    __slots__ = ("breaker", "busy", "failed", "last", "last_error", "member", "served", "used")

    def __init__(self, member: Member, breaker: Breaker, *, used: bool) -> None:
        self.member = member
        self.breaker = breaker
        self.used = used
        self.busy = self.served = self.failed = self.last = 0
        self.last_error: str | None = None

    @property
    def full(self) -> bool:
        return 0 < self.member.concurrent <= self.busy

    @property
    def load(self) -> tuple[float, int]:
        """What the next request would weigh here; of equals, who has rested longest."""
        return (self.busy + 1) / self.member.weight, self.last

    @property
    def health(self) -> MemberHealth:
        return MemberHealth(
            name=self.member.engine.name,
            state=self.breaker.state,
            busy=self.busy,
            weight=self.member.weight,
            concurrent=self.member.concurrent,
            served=self.served,
            failed=self.failed,
            failures=self.breaker.failures,
            last_error=self.last_error,
            retry_seconds=self.breaker.opens_in,
            used=self.used,
        )


class Pool:
    """An engine made of engines. Create and use it within one event loop.

    Raises ValueError if there is no member, or a weight that is not positive.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        name: str | None = None,
        failures: int = FAILURES,
        open_seconds: float = OPEN_SECONDS,
        waiting: int = WAITING,
        wait_seconds: float = WAIT_SECONDS,
        affinities: int = AFFINITIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not members:
            raise ValueError("a pool has one member or more")
        if min(member.weight for member in members) <= 0:
            raise ValueError("a weight is positive")
        able = [member.engine.capabilities for member in members]
        reading = common_reading([one.reading for one in able])
        self._seats = [
            _Seat(
                member,
                Breaker(failures=failures, seconds=open_seconds, clock=clock),
                used=reading == "stripped" or one.reading != "stripped",
            )
            for member, one in zip(members, able, strict=True)
        ]
        self._used = [seat for seat in self._seats if seat.used]
        self._capabilities = common_capabilities(
            [seat.member.engine.capabilities for seat in self._used]
        )
        self._name = name or " + ".join(dict.fromkeys(s.member.engine.name for s in self._used))
        self._waiting_limit = waiting
        self._wait_seconds = wait_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._affinity: OrderedDict[str, _Seat] = OrderedDict()
        self._affinities = affinities
        self._turns = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What every member can do; of readings, the best they have in common."""
        return self._capabilities

    def health(self) -> tuple[MemberHealth, ...]:
        """Every member as it is now, in the order they were given."""
        return tuple(seat.health for seat in self._seats)

    @property
    def available(self) -> bool:
        """Whether a request would be taken."""
        return any(seat.breaker.ready for seat in self._used)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        tried: set[int] = set()
        mended = False
        error: EngineError | None = None
        while True:
            seat = await self._take(request.affinity, tried, error)
            told = started = False
            convert = self._converter(seat)
            if convert is not None and request.push is not None:
                request = msgspec.structs.replace(request, push=None)
            stream = seat.member.engine.complete(request)
            try:
                async for chunks in stream:
                    if not started and says_something(chunks):
                        started = True
                        seat.breaker.alive()
                        self._remember(request.affinity, seat)
                    yield convert(chunks) if convert else chunks
            except EngineError as failure:
                if _dropped(failure) and not started and not mended:
                    mended = True
                    continue
                told = True
                self._note(seat, failure)
                if started or failure.status_hint in _REFUSED:
                    raise
                error = failure
                tried.add(id(seat))
            else:
                told = True
                seat.breaker.succeeded()
                seat.served += 1
                return
            finally:
                try:
                    await stream.aclose()
                finally:
                    if not told:
                        seat.breaker.abandoned()
                    self._release(seat)

    async def check(self) -> None:
        """Ask the members that are left alone whether they are back. Raises nothing."""
        down = [s for s in self._used if s.breaker.state == "open" and s.member.check is not None]
        await asyncio.gather(*[self._check(seat) for seat in down])

    async def watch(self, seconds: float = CHECK_SECONDS) -> None:
        """`check` again and again, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.check()

    async def aclose(self) -> None:
        for seat in self._seats:
            await seat.member.engine.aclose()

    async def _check(self, seat: _Seat) -> None:
        assert seat.member.check is not None
        try:
            if await seat.member.check():
                seat.breaker.try_now()
                self._wake()
        except Exception as error:  # noqa: BLE001 - whatever a check raises, the member is not up
            seat.last_error = str(error)[:MAX_ERROR]

    # Who serves.

    async def _take(
        self, affinity: str | None, tried: set[int], error: EngineError | None
    ) -> _Seat:
        """A member with room, reserved. Raises ``error``, or says that nobody is there.

        Who comes while others wait stands in line behind them.
        """
        deadline: float | None = None
        while True:
            left = [seat for seat in self._used if id(seat) not in tried]
            ready = [seat for seat in left if seat.breaker.ready]
            free = [seat for seat in ready if not seat.full]
            if free and (deadline is not None or tried or not self._waiting):
                seat = self._reserve(self._choose(free, affinity))
                if len(free) > 1:
                    self._wake()
                return seat
            if free or not ready:
                self._wake()
            if not ready:
                raise error or self._nobody()
            now = asyncio.get_running_loop().time()
            deadline = now + self._wait_seconds if deadline is None else deadline
            await self._wait(deadline - now)

    def _choose(self, free: list[_Seat], affinity: str | None) -> _Seat:
        if affinity is not None:
            last = self._affinity.get(affinity)
            if last is not None and last in free:
                return last
        return min(free, key=lambda seat: seat.load)

    def _reserve(self, seat: _Seat) -> _Seat:
        admitted = seat.breaker.admit()
        assert admitted
        self._turns += 1
        seat.last = self._turns
        seat.busy += 1
        return seat

    def _release(self, seat: _Seat) -> None:
        seat.busy -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _wait(self, seconds: float) -> None:
        """Until somebody leaves a member."""
        if seconds <= 0:
            raise _unavailable(f"{self.name}: no place became free in {self._wait_seconds:g} s")
        if len(self._waiting) >= self._waiting_limit:
            raise _unavailable(f"{self.name}: every engine is full, and so is the queue")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _nobody(self) -> EngineError:
        soonest = min(self._used, key=lambda seat: seat.breaker.opens_in)
        reason = f": {soonest.last_error}" if soonest.last_error else ""
        seconds = soonest.breaker.opens_in
        return _unavailable(
            f"{self.name}: no engine is available, the next trial is in {seconds:.0f} s{reason}",
            retry_after=seconds,
        )

    # What happened.

    def _remember(self, affinity: str | None, seat: _Seat) -> None:
        if affinity is None:
            return
        self._affinity[affinity] = seat
        self._affinity.move_to_end(affinity)
        while len(self._affinity) > self._affinities:
            self._affinity.popitem(last=False)

    def _note(self, seat: _Seat, error: EngineError) -> None:
        """A refusal shows that the engine is alive; anything else, that it is in trouble."""
        if 400 <= error.status_hint < 500:
            seat.breaker.alive()
            return
        seat.failed += 1
        seat.last_error = str(error)[:MAX_ERROR]
        seat.breaker.failed()

    def _converter(self, seat: _Seat) -> Callable[[Sequence[Chunk]], Sequence[Chunk]] | None:
        own = seat.member.engine.capabilities.reading
        if self._capabilities.reading == "hybrid" and own == "ids":
            return Hybrid().convert
        return None


def _dropped(error: BaseException) -> bool:
    """Whether a connection that had been kept was dropped under the request, so that the engine
    may never have seen it. Adapters chain the socket's own error behind theirs.
    """
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _DROPPED


def _unavailable(message: str, retry_after: float | None = None) -> EngineError:
    error = EngineError(message)
    error.status_hint = 503
    error.retry_after = retry_after
    return error
