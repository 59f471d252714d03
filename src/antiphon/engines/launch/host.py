"""Servers that several processes use and one of them starts: each once, for all who ask.

Whoever wants a server *holds* it and lets it go again; it is stopped when nobody holds it any more.
Orders of one group exclude each other: who holds another one is asked to let go when it has nothing
to do there, and whoever asked first is served first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from antiphon.engines.launch.plan import LaunchPlan
from antiphon.engines.launch.start import Server, server_for
from antiphon.errors import EngineError

__all__ = ["EngineHost", "Holder", "Order", "decode_order", "encode_order", "make_server"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A server to have. Equal orders mean the same one."""

    plan: LaunchPlan | None = None
    """None: the tiny model."""
    group: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return "the tiny model" if self.plan is None else self.plan.name


class Holder(Protocol):
    """Who holds a server."""

    def gone(self, cause: str) -> None:
        """It has ended, though it was held. It need not be let go."""
        ...

    def asked(self, *, now: bool) -> None:
        """Let it go: ``now``, or when nothing runs on it any more."""
        ...


Make = Callable[[Order, Callable[[], None]], Server]
"""Makes a server, not started yet, from what it calls, in any thread, when it has ended. It runs in
a thread. Raises AntiphonError."""


class EngineHost:
    """The servers of one computer. Belongs to the event loop it is used in."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._known: dict[Order, _Hosted] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def hold(self, order: Order, holder: Holder) -> Server:
        """The server, started if it does not run. Raises AntiphonError if it cannot be."""
        while (hosted := self._known.get(order)) is not None and hosted.leaving:
            await hosted.ended.wait()
        if self._closed:
            raise EngineError(f"{order.name} is being shut down")
        if hosted is None:
            hosted = self._known[order] = _Hosted(order)
            hosted.starting = asyncio.create_task(self._start(hosted), name=f"host {order.name}")
            hosted.starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        hosted.holders.append(holder)
        try:
            assert hosted.starting is not None
            await asyncio.wait((hosted.starting,))
            if hosted.starting.cancelled():
                raise EngineError(f"{order.name} was unloaded while it was starting")
            return hosted.starting.result()
        except BaseException:
            self.release(order, holder)
            raise

    def release(self, order: Order, holder: Holder) -> None:
        """Let it go. May be called twice."""
        hosted = self._known.get(order)
        if hosted is None or holder not in hosted.holders:
            return
        hosted.holders.remove(holder)
        if not hosted.holders:
            self._end(hosted)

    async def unload(self, order: Order) -> None:
        """Have everyone let it go, and return when it has ended."""
        hosted = self._known.get(order)
        if hosted is None:
            return
        for holder in list(hosted.holders):
            holder.asked(now=True)
        await hosted.ended.wait()

    def running(self) -> Sequence[tuple[Order, Server]]:
        """Those that are up."""
        return [
            (hosted.order, hosted.server)
            for hosted in self._known.values()
            if hosted.up and hosted.server is not None and hosted.ending is None
        ]

    async def aclose(self) -> None:
        """Stop them all."""
        self._closed = True
        for hosted in list(self._known.values()):
            hosted.holders.clear()
            self._end(hosted)
        if self._ending:
            await asyncio.wait(self._ending)

    # Inside

    async def _start(self, hosted: _Hosted) -> Server:
        group = hosted.order.group
        if group is None:
            return await self._launch(hosted)
        async with self._turns.setdefault(group, asyncio.Lock()):
            for other in list(self._known.values()):
                if other is not hosted and other.order.group == group and other.server is not None:
                    other.leaving = True
                    for holder in list(other.holders):
                        holder.asked(now=False)
                    await other.ended.wait()
            return await self._launch(hosted)

    async def _launch(self, hosted: _Hosted) -> Server:
        loop = asyncio.get_running_loop()

        def on_exit() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._died, hosted)

        try:
            hosted.server = await asyncio.to_thread(self._make, hosted.order, on_exit)
            await asyncio.to_thread(hosted.server.start)
        except OSError as error:
            raise EngineError(f"cannot start {hosted.order.name}: {error}") from error
        hosted.up = True
        return hosted.server

    def _died(self, hosted: _Hosted) -> None:
        """The server has ended, and nobody told it to."""
        if not hosted.up or hosted.ending is not None or self._known.get(hosted.order) != hosted:
            return
        cause = (hosted.server.exit_cause() if hosted.server else None) or "it ended"
        holders, hosted.holders = hosted.holders, []
        self._end(hosted)
        for holder in holders:
            holder.gone(cause)

    def _end(self, hosted: _Hosted) -> None:
        hosted.leaving = True
        if hosted.ending is None:
            hosted.ending = asyncio.create_task(self._stop(hosted), name="stop a server")
            self._ending.add(hosted.ending)
            hosted.ending.add_done_callback(self._ending.discard)

    async def _stop(self, hosted: _Hosted) -> None:
        starting = hosted.starting
        if starting is not None and not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
        if hosted.server is not None:
            await asyncio.to_thread(hosted.server.stop)
        if self._known.get(hosted.order) is hosted:
            del self._known[hosted.order]
        hosted.ended.set()


class _Hosted:
    """One server, and who holds it."""

    def __init__(self, order: Order) -> None:
        self.order: Final = order
        self.server: Server | None = None
        self.up = False
        self.leaving = False
        """Whether nobody may take hold of it any more."""
        self.holders: list[Holder] = []
        self.starting: asyncio.Task[Server] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.ended: Final = asyncio.Event()


def make_server(
    order: Order,
    environ: Mapping[str, str],
    *,
    on_exit: Callable[[], None],
    progress: Callable[[str], None],
) -> Server:
    """The server of an order, not started yet. May take its time. Raises AntiphonError."""
    if order.plan is not None:
        progress(f"loading {order.plan.model}")
        return server_for(order.plan, environ, on_exit=on_exit)
    from antiphon.engines.tiny.model import started_tiny

    return started_tiny(progress, on_exit=on_exit)


def encode_order(order: Order) -> bytes:
    """As JSON, for another process."""
    return msgspec.json.encode(order, enc_hook=str)


def decode_order(data: bytes | msgspec.Raw) -> Order:
    """What `encode_order` wrote. Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Order, dec_hook=_decode)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)
