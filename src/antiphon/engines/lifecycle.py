"""Models that are loaded when they are needed: started, kept alive, unloaded, swapped.

    idle ──first request──► starting ──► up ──ttl, unload, swap──► idle
                               ▲          │
                               └──backoff─┴─it died            failed: restarts are used up

A `Unit` is one model. Those of one `antiphon.engines.group` are exclusive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Final

import msgspec

from antiphon.engines.group import Group
from antiphon.engines.launch.start import Server
from antiphon.engines.protocol import Engine
from antiphon.engines.served import EngineState
from antiphon.errors import AntiphonError, EngineError

__all__ = ["Start", "Unit", "UnitStatus"]

BACKOFF_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses before the first, second, … restart."""
STABLE_SECONDS: Final = 600.0
"""A server that ran for so long has earned a new count of restarts."""
RETIRE_SECONDS: Final = 0.01
"""How long a model that is no longer wanted outlasts its last request."""
RETRY_SECONDS: Final = 5.0
"""After a failed start, requests are refused for so long before one of them tries again."""

_log = logging.getLogger(__name__)


Start = Callable[[Callable[[], None]], Server]
"""Makes a server, not started yet, from what it calls, in any thread, when it has ended. It may
take its time: it runs in a thread. Raises AntiphonError."""


class UnitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a unit is, for people."""

    name: str
    state: EngineState
    pid: int | None = None
    url: str | None = None
    group: str | None = None
    busy: int = 0
    """Requests that run."""
    waiting: int = 0
    """Requests that wait for it to be loaded."""
    idle_seconds: float | None = None
    """How long it has been up without a request."""
    ttl: float = 0.0
    restarts: int = 0
    detail: str = ""


class Unit:
    """One model that we start. ``connect`` makes the engine for a URL.

    ``ttl`` 0 keeps it loaded. ``restarts`` is how often it may die before it is given up.
    ``changed`` is called after every change of state.
    """

    def __init__(
        self,
        name: str,
        start: Start,
        connect: Callable[[str], Engine],
        *,
        group: Group | None = None,
        ttl: float = 0.0,
        restarts: int = 5,
        clock: Callable[[], float] = time.monotonic,
        backoff: tuple[float, ...] = BACKOFF_SECONDS,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.group = group or Group()
        self.ttl = ttl
        self.busy = 0
        self.state: EngineState = "idle"
        self.detail = ""
        self.changed = changed
        self._start = start
        self._connect = connect
        self._max_restarts = restarts
        self._clock = clock
        self._backoff = backoff
        self._server: Server | None = None
        self._engine: Engine | None = None
        self._left: list[Engine] = []
        self._starting: asyncio.Task[Engine] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._restarts = 0
        self._retry_at = 0.0
        self._up_since = 0.0
        self._idle_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unloading: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def engine(self) -> Engine | None:
        """The engine, while it is up."""
        return self._engine if self.state == "up" else None

    @property
    def status(self) -> UnitStatus:
        idle = None
        if self.state == "up" and self.busy == 0 and self._idle_since is not None:
            idle = self._clock() - self._idle_since
        up = self.state == "up" and self._server is not None
        return UnitStatus(
            name=self.name,
            state=self.state,
            pid=self._server.pid if self._server is not None else None,
            url=self._server.url if up and self._server is not None else None,
            group=self.group.name,
            busy=self.busy if self.state == "up" else 0,
            waiting=self.group.waiting(self) + (self.busy if self.state == "starting" else 0),
            idle_seconds=idle,
            ttl=self.ttl,
            restarts=self._restarts,
            detail=self.detail,
        )

    async def acquire(self) -> Engine:
        """The engine, loaded if need be; `release` it. Raises EngineError if it cannot start."""
        if self._closed:
            raise _unavailable(f"{self.name} is being shut down")
        await self.group.admit(self)
        try:
            self._cancel_timer()
            return await self._ensure()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """One request is over."""
        self.busy -= 1
        if self.busy == 0:
            self._idle()
            self.group.move()

    async def load(self) -> None:
        """Load it now, a failed one too. Raises EngineError."""
        self._restarts = 0
        self._retry_at = 0.0
        if self.state == "failed":
            self._set("idle")
        await self.acquire()
        self.release()

    async def unload(self) -> None:
        """Stop it. Requests that run break off; the next one loads it again."""
        self._cancel_timer()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
            self._starting = None
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop(), name=f"stop {self.name}")
        await asyncio.shield(self._stopping)
        if self.state != "failed":
            self._set("idle")
        if self.group.current is self:
            self.group.current = None
            self.group.move()

    async def give_way(self) -> None:
        """Unload it when what runs on it is over: somebody else needs the room. The next request
        loads it again.
        """
        await self.group.give_way(self)

    def retire(self) -> None:
        """Unload it as soon as no request runs: it will not be asked for again."""
        self.ttl = RETIRE_SECONDS
        if self.busy == 0:
            self._expire()

    async def aclose(self) -> None:
        """Stop it for good and let go of its engines."""
        self._closed = True
        await self.unload()

    # Starting, dying, starting again

    async def _ensure(self) -> Engine:
        if self.state == "failed":
            raise _unavailable(f"{self.name} has been given up: {self.detail}")
        if self.state == "up" and self._engine is not None:
            return self._engine
        starting = self._starting
        if starting is None or starting.done():
            if self._clock() < self._retry_at:
                raise _unavailable(self.detail)
            starting = self._begin(self._launch(0.0))
        try:
            # Whoever leaves while it loads must not stop it for those who stay.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if starting.cancelled() and task is not None and not task.cancelling():
                raise _unavailable(f"{self.name} was unloaded while it was starting") from None
            raise

    def _begin(self, launch: Coroutine[None, None, Engine]) -> asyncio.Task[Engine]:
        self._starting = asyncio.create_task(launch, name=f"start {self.name}")
        # The state tells of a failure too; nobody may be waiting for this one.
        self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._starting

    async def _launch(self, pause: float) -> Engine:
        self._set("starting", self.detail if pause else "")
        loop = asyncio.get_running_loop()
        server: Server | None = None
        ended = False

        def on_exit() -> None:
            nonlocal ended
            ended = True
            if server is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._died, server)

        try:
            if pause:
                await asyncio.sleep(pause)
            if self._stopping is not None:
                await self._stopping
            server = await asyncio.to_thread(self._start, on_exit)
            self._server = server
            await asyncio.to_thread(server.start)
        except asyncio.CancelledError:
            # `_stop` ends the server, also one that is still loading.
            self._set("idle")
            raise
        except (AntiphonError, OSError) as error:
            self._server = None
            self._retry_at = self._clock() + RETRY_SECONDS
            self._set("idle", str(error))
            if isinstance(error, AntiphonError):
                raise
            raise EngineError(f"cannot start {self.name}: {error}") from error
        # Whatever was still running on an engine that died has failed by now.
        await self._close_left()
        self._engine = self._connect(server.url)
        self._up_since = self._clock()
        self._set("up")
        if self.busy == 0:
            self._idle()
        if ended:
            loop.call_soon(self._died, server)
        return self._engine

    def _died(self, server: Server) -> None:
        """The server is gone, and we did not end it."""
        if server is not self._server or self.state != "up" or self._closed:
            return
        cause = server.exit_cause() or "it ended"
        self._leave_engine()
        self._server = None
        if self._clock() - self._up_since >= STABLE_SECONDS:
            self._restarts = 0
        if self._restarts >= self._max_restarts:
            self._set(
                "failed", f"it died {self._restarts + 1} times, the last time because {cause}"
            )
            _log.error("%s is given up: %s", self.name, self.detail)
            return
        pause = self._backoff[min(self._restarts, len(self._backoff) - 1)]
        self._restarts += 1
        _log.warning("%s died (%s); starting it again in %g s", self.name, cause, pause)
        self._set("starting", cause)
        self._begin(self._revive(pause))

    async def _revive(self, pause: float) -> Engine:
        """Start again, and go on trying, until the restarts are used up."""
        while True:
            try:
                return await self._launch(pause)
            except AntiphonError as error:
                if self._restarts >= self._max_restarts:
                    self._set("failed", str(error))
                    # Whoever waits is told; if nobody does, the state tells.
                    raise
                pause = self._backoff[min(self._restarts, len(self._backoff) - 1)]
                self._restarts += 1

    async def _stop(self) -> None:
        server, self._server = self._server, None
        self._leave_engine()
        if server is not None:
            await asyncio.to_thread(server.stop)
        await self._close_left()

    async def _close_left(self) -> None:
        while self._left:
            await self._left.pop().aclose()

    def _leave_engine(self) -> None:
        """Whatever still runs on it has to notice by itself that the server is gone."""
        if self._engine is not None:
            self._left.append(self._engine)
            self._engine = None

    def _expire(self) -> None:
        self._timer = None
        if self.busy == 0 and self.state == "up":
            _log.info("unloading %s, which was idle for %g s", self.name, self.ttl)
            self._unloading = asyncio.create_task(self.unload(), name=f"unload {self.name}")

    def _idle(self) -> None:
        """From now on there is nothing to do."""
        self._idle_since = self._clock()
        if self.ttl > 0 and self.state == "up":
            self._cancel_timer()
            self._timer = asyncio.get_running_loop().call_later(self.ttl, self._expire)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, state: EngineState, detail: str = "") -> None:
        self.state, self.detail = state, detail
        self.changed()


def _unavailable(message: str) -> EngineError:
    error = EngineError(message)
    error.status_hint = 503
    return error
