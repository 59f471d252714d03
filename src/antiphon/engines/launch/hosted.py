"""A server that another process starts for us, seen from here as one that we start ourselves.

`antiphon.engines.lifecycle.Unit` cannot tell it from its own: it starts, ends, dies and is started
again. The other side is `antiphon.engines.launch.host.EngineHost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from antiphon.engines.launch.host import Order
from antiphon.errors import EngineError

__all__ = ["Held", "HostLink", "HostedServer"]

STOP_SECONDS: Final = 10.0
"""How long letting go of a server may take; the other process ends it, not we."""


class Held(NamedTuple):
    """A server that is held."""

    number: int
    url: str
    pid: int | None


class HostLink(Protocol):
    """The way to the process that starts servers. All of it in the event loop."""

    async def hold(
        self, order: Order, gone: Callable[[str], None], asked: Callable[[bool], None]
    ) -> Held:
        """Have it started, or share it. ``gone`` is told why it died, ``asked`` to let it go:
        now, or when nothing runs on it. Raises EngineError.
        """
        ...

    async def release(self, number: int) -> None:
        """Let it go."""
        ...

    async def unload(self, order: Order) -> None:
        """Have all processes let it go, and return when it has ended."""
        ...

    def elsewhere(self, order: Order) -> Held | None:
        """The server, if it is up for whomever; its number means nothing."""
        ...


class HostedServer:
    """One order's server (`antiphon.engines.launch.start.Server`). Made in any thread."""

    def __init__(
        self,
        link: HostLink,
        loop: asyncio.AbstractEventLoop,
        order: Order,
        *,
        on_exit: Callable[[], None],
        asked: Callable[[bool], None],
    ) -> None:
        self._link = link
        self._loop = loop
        self._order = order
        self._on_exit = on_exit
        self._asked = asked
        self._held: Held | None = None
        self._cause: str | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens. RuntimeError if it was not started."""
        if self._held is None:
            raise RuntimeError("the server has not been started")
        return self._held.url

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return None if self._held is None or self._cause is not None else self._held.pid

    def start(self) -> None:
        """Have it started. Blocks, in a thread that is not the loop's. Raises EngineError."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def stop(self) -> None:
        """Let it go. Blocks, as `start`."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(STOP_SECONDS)

    def exit_cause(self) -> str | None:
        """Why it died; None while it runs."""
        return self._cause

    async def _start(self) -> None:
        self._starting = asyncio.create_task(self._hold())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            raise EngineError(f"{self._order.name} was unloaded while it was starting") from None

    async def _hold(self) -> None:
        self._held = await self._link.hold(self._order, self._gone, self._asked)

    async def _stop(self) -> None:
        starting = self._starting
        if starting is not None and not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        if self._held is not None and self._cause is None:
            await self._link.release(self._held.number)

    def _gone(self, cause: str) -> None:
        self._cause = cause
        self._on_exit()
