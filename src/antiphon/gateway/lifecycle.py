"""From the first request to the last: what runs, who still waits for it, and when it must end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

from starlette.types import Receive

from antiphon.api.errors import ApiError
from antiphon.gateway.errors import ClientGoneError

__all__ = ["Lifecycle", "Presence", "stopping"]

RETRY_SECONDS: Final = 5.0
"""What clients are told to wait while the server stops."""
RETELL_SECONDS: Final = 0.02
"""How long somebody else's cancellation of the same task is given to be dealt with."""

_T = TypeVar("_T")


class Presence(Protocol):
    """Whether a client is still connected, without a task that waits for its leaving."""

    gone: bool

    def watch(self, left: Callable[[], None]) -> None:
        """Call ``left`` when the client goes."""
        ...

    def unwatch(self, left: Callable[[], None]) -> None:
        """Do not, any more."""
        ...


class Lifecycle:
    """One server's life. Work runs through `run`, so that it ends with whoever waits for it."""

    def __init__(self) -> None:
        self.draining = False
        """Told to stop: what runs may finish, nothing new begins."""
        self.drained: asyncio.Event = asyncio.Event()
        """Set when ``draining`` begins."""
        self.closed = False
        """Whether everything was told to end."""
        self._runs: set[_Run] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> int:
        """How much runs."""
        return len(self._runs)

    def drain(self, seconds: float) -> None:
        """Begin nothing new, and end in ``seconds`` what runs then. May be called again."""
        self._refuse()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.close)

    def close(self) -> None:
        """End everything now."""
        self._refuse()
        self.closed = True
        for run in self._runs:
            run.end(stopping())

    async def run(
        self, receive: Receive, work: Coroutine[Any, Any, _T], presence: Presence | None
    ) -> _T:
        """What ``work`` returns or raises. It is cancelled, and has ended, when this raises
        ClientGoneError because the client left, or ApiError 503 because the server stops.

        ``presence`` tells of the former; without it, ``receive`` is asked.
        """
        if presence is None:
            return await self.run_until(_disconnect(receive), work)
        run = self._begin(work)
        try:
            if presence.gone:
                work.close()
                raise ClientGoneError
            presence.watch(run.leave)
            return await run.result(work)
        finally:
            presence.unwatch(run.leave)
            self._runs.discard(run)

    async def run_until(
        self, gone: Coroutine[Any, Any, None] | None, work: Coroutine[Any, Any, _T]
    ) -> _T:
        """As `run`; the client has left when ``gone`` returns. None: there is nobody who could."""
        try:
            run = self._begin(work)
        except ApiError:
            if gone is not None:
                gone.close()
            raise
        waits = asyncio.ensure_future(gone) if gone is not None else None
        if waits is not None:
            waits.add_done_callback(run.leave)
        try:
            return await run.result(work)
        finally:
            self._runs.discard(run)
            if waits is not None:
                waits.cancel()
                await asyncio.gather(waits, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, object]) -> _Run:
        if self.draining:
            work.close()
            raise stopping()
        run = _Run()
        self._runs.add(run)
        return run

    def _refuse(self) -> None:
        self.draining = True
        self.drained.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Run:
    """Work within the task that began it. `end` cancels that, and `result` tells why."""

    __slots__ = ("_cancelling", "_over", "_task", "_why")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._over = False
        self._why: Exception | None = None

    def end(self, why: Exception) -> None:
        if self._over or self._why is not None:
            return
        if self._task.cancelling() == self._cancelling:
            self._why = why
            self._task.cancel()
            return
        # A second cancellation would cut short what the first one has it put in order. That may be
        # a timeout's, after which the work goes on.
        self._task.get_loop().call_later(RETELL_SECONDS, self.end, why)

    def leave(self, _: object = None) -> None:
        """The client has left."""
        self.end(ClientGoneError())

    async def result(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What ``work`` returns or raises, unless it was told to `end`."""
        try:
            returned = await work
        except BaseException as error:
            why = self._settled(error)
            if why is None:
                raise
        else:
            why = self._settled(None)
            if why is None:
                return returned
        try:
            raise why
        finally:
            del why  # It knows this frame, which would know it.

    def _settled(self, error: BaseException | None) -> Exception | None:
        """Why it was ended; None if it was not, or if somebody else cancelled it too."""
        self._over = True
        why, self._why = self._why, None
        if why is None:
            return None
        others = self._task.uncancel() > self._cancelling
        return None if others and isinstance(error, asyncio.CancelledError) else why


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def stopping() -> ApiError:
    """What clients are told then."""
    return ApiError(
        "the server is shutting down",
        status=503,
        type="server_error",
        code="shutting_down",
        retry_after=RETRY_SECONDS,
    )
