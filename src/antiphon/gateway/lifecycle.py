"""From the first request to the last: what runs, who still waits for it, and when it must end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.types import Receive

from antiphon.api.errors import ApiError
from antiphon.gateway.errors import ClientGoneError

__all__ = ["Lifecycle", "stopping"]

RETRY_SECONDS: Final = 5.0
"""What clients are told to wait while the server stops."""

_T = TypeVar("_T")


class Lifecycle:
    """One server's life. Work runs through `run`, so that it ends with whoever waits for it."""

    def __init__(self) -> None:
        self.draining = False
        """Told to stop: what runs may finish, nothing new begins."""
        self.active = 0
        self.drained: asyncio.Event = asyncio.Event()
        """Set when ``draining`` begins."""
        self._expired: asyncio.Event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        """Whether everything was told to end."""
        return self._expired.is_set()

    def drain(self, seconds: float) -> None:
        """Begin nothing new, and end in ``seconds`` what runs then. May be called again."""
        self.draining = True
        self.drained.set()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired.set)

    def close(self) -> None:
        """End everything now."""
        self.draining = True
        self.drained.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._expired.set()

    async def run(self, receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
        """What ``work`` returns or raises. It is cancelled, and has ended, when this raises
        ClientGoneError because the client left, or ApiError 503 because the server stops.
        """
        return await self.run_until(_disconnect(receive), work)

    async def run_until(
        self, gone: Coroutine[Any, Any, None] | None, work: Coroutine[Any, Any, _T]
    ) -> _T:
        """As `run`; the client has left when ``gone`` returns. None: there is nobody who could."""
        if self.draining:
            work.close()
            if gone is not None:
                gone.close()
            raise stopping()
        self.active += 1
        task = asyncio.ensure_future(work)
        expired = asyncio.ensure_future(self._expired.wait())
        waits: list[asyncio.Future[Any]] = [task, expired]
        if gone is not None:
            waits.append(asyncio.ensure_future(gone))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if expired.done():
                raise stopping()
            raise ClientGoneError
        finally:
            self.active -= 1
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


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
