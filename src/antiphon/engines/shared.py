"""The own routes of several engines of one model as one: balanced, each behind a circuit breaker.

For requests that are passed through, what `antiphon.engines.pool` is for those that we render: the
engine that answered a conversation last, else the least busy for its weight. Until an answer has
begun, a failure is mended by asking another engine.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from antiphon.engines.breaker import Breaker
from antiphon.errors import EngineError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from antiphon.engines.passthrough import Passed

__all__ = ["CONVERSATION", "Routes", "SharedMember", "SharedPassthrough"]

CONVERSATION: Final = "antiphon-conversation"
"""The header by which the gateway names the conversation; no engine gets it."""
MAX_ERROR: Final = 500
"""Characters kept of an engine's last error."""
CONVERSATIONS: Final = 65_536
"""Conversations whose engine is remembered."""
_FAILED: Final = frozenset({500, 502, 503, 504})
"""An engine's answers after which another is asked, if there is one."""
_DOWN: Final = _FAILED - {500}
"""Those that say something of the engine, and not perhaps of the one request."""


class Routes(Protocol):
    """`antiphon.engines.passthrough.Passthrough`, or what takes its place."""

    def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[Passed]: ...


class SharedMember(msgspec.Struct, frozen=True):
    """One engine's routes."""

    routes: Routes
    weight: float = 1.0
    concurrent: int = 0
    """Requests that it takes at a time, while others have room; 0: as many as come."""


class _Seat:
    """A member, and how it is doing."""

    __slots__ = ("breaker", "busy", "last", "last_error", "member")

    def __init__(self, member: SharedMember, clock: Callable[[], float]) -> None:
        self.member = member
        self.breaker = Breaker(clock=clock)
        self.busy = self.last = 0
        self.last_error = ""

    def failed(self, why: object) -> None:
        self.last_error = str(why)[:MAX_ERROR]
        self.breaker.failed()

    @property
    def load(self) -> tuple[bool, float, int]:
        full = 0 < self.member.concurrent <= self.busy
        return full, (self.busy + 1) / self.member.weight, self.last


class SharedPassthrough:
    """Routes made of routes, which stay their makers' to close. Raises ValueError for none."""

    def __init__(
        self, members: Sequence[SharedMember], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not members:
            raise ValueError("there must be one member or more")
        self._seats = [_Seat(member, clock) for member in members]
        self._conversations: OrderedDict[str, _Seat] = OrderedDict()
        self._turns = 0

    def down(self, routes: Routes) -> str | None:
        """Why requests do not go to this member now; None if they do."""
        for seat in self._seats:
            if seat.member.routes is routes and seat.breaker.state == "open":
                return seat.last_error
        return None

    def try_now(self, routes: Routes) -> None:
        """Somebody knows that this member is back."""
        for seat in self._seats:
            if seat.member.routes is routes:
                seat.breaker.try_now()

    @asynccontextmanager
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Passed, None]:
        """Send a request. Raises EngineError: the last engine's own if all have failed, 503 if all
        are left alone for now.
        """
        given = {n: v for n, v in (headers or {}).items() if n.lower() != CONVERSATION}
        conversation = (headers or {}).get(CONVERSATION)
        left = list(self._seats)
        error: EngineError | None = None
        while True:
            ready = [seat for seat in left if seat.breaker.ready]
            if not ready:
                raise error or self._nobody()
            seat = self._choose(ready, conversation)
            left.remove(seat)
            seat.busy += 1
            try:
                async with AsyncExitStack() as stack:
                    try:
                        answer = await stack.enter_async_context(
                            seat.member.routes.open(path, body, method=method, headers=given)
                        )
                    except EngineError as failure:
                        if 400 <= failure.status_hint < 500:
                            seat.breaker.alive()
                            raise
                        seat.failed(failure)
                        error = failure
                        continue
                    if answer.status in _FAILED:
                        if answer.status in _DOWN:
                            seat.failed(f"it answered with status {answer.status}")
                        else:
                            seat.breaker.alive()
                        if any(other.breaker.ready for other in left):
                            continue
                        yield answer
                        return
                    seat.breaker.alive()
                    self._remember(conversation, seat)
                    try:
                        yield answer
                    except EngineError as failure:
                        seat.failed(failure)
                        raise
                    seat.breaker.succeeded()
                    return
            finally:
                seat.breaker.abandoned()
                seat.busy -= 1

    def _choose(self, ready: list[_Seat], conversation: str | None) -> _Seat:
        known = self._conversations.get(conversation or "")
        if known is not None and known in ready and not known.load[0]:
            seat = known
        else:
            seat = min(ready, key=lambda one: one.load)
        seat.breaker.admit()
        self._turns += 1
        seat.last = self._turns
        return seat

    def _remember(self, conversation: str | None, seat: _Seat) -> None:
        if not conversation:
            return
        self._conversations[conversation] = seat
        self._conversations.move_to_end(conversation)
        while len(self._conversations) > CONVERSATIONS:
            self._conversations.popitem(last=False)

    def _nobody(self) -> EngineError:
        seconds = min(seat.breaker.opens_in for seat in self._seats)
        error = EngineError(f"no engine is available, the next trial is in {seconds:.0f} s")
        error.status_hint = 503
        error.retry_after = seconds
        return error
