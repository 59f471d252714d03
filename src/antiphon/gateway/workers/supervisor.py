"""The process that starts workers, starts dead ones again, and passes on what it is told.

It serves nothing itself: it holds the listening socket, so that connections made while a worker is
being replaced wait for another instead of being refused, and the servers of models, of which there
is one for all workers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from antiphon.engines.launch.host import EngineHost, Order
from antiphon.engines.launch.start import Server
from antiphon.engines.llama_server.process import ending
from antiphon.errors import AntiphonError
from antiphon.gateway.workers import messages as m
from antiphon.gateway.workers.metrics import forget_worker, note_process

__all__ = ["BACKOFF_SECONDS", "Supervisor", "WorkerError"]

BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses before a worker that died once, twice, … is started again."""
STABLE_SECONDS: Final = 60.0
"""A worker that ran for so long begins a new count."""
END_SECONDS: Final = 15.0
"""Beyond the time that streams have to finish, a worker that was told to end may take so long."""

Tell = Callable[[str], None]


class WorkerError(Exception):
    """A worker could not start. ``code`` is its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code: Final = code


class Supervisor:
    """``count`` workers, each started as ``command`` with the number of a descriptor behind it.

    ``make`` starts models' servers. ``progress`` is told what is being waited for until all serve,
    ``log`` what becomes of workers from then on, ``stopping`` when the end begins.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        listener: socket.socket,
        *,
        config: str | None,
        flags: Mapping[str, str],
        keys: str,
        shutdown_seconds: float,
        make: Callable[[Order, Callable[[], None]], Server],
        progress: Tell,
        log: Tell,
        stopping: Callable[[], None],
        backoff: Sequence[float] = BACKOFF_SECONDS,
    ) -> None:
        self._command = list(command)
        self._listener = listener
        self._config = config
        self._flags = dict(flags)
        self._keys = keys
        self._shutdown_seconds = shutdown_seconds
        self._progress = progress
        self._log = log
        self._told = stopping
        self._backoff = backoff
        self._folder = Path()
        self._workers = [_Worker(number) for number in range(count)]
        self._host = EngineHost(self._making(make))
        self._stop: asyncio.Event
        self._serving = False

    async def run(self) -> None:
        """Until told to stop by SIGTERM or SIGINT. Raises WorkerError if they cannot start."""
        self._stop = asyncio.Event()
        self._folder = Path(tempfile.mkdtemp(prefix="antiphon-"))
        loop = asyncio.get_running_loop()
        handled = {
            signal.SIGTERM: self._end,
            signal.SIGINT: self._end,
            signal.SIGHUP: lambda: self._signal(signal.SIGHUP),
        }
        for number, handler in handled.items():
            loop.add_signal_handler(number, handler)
        failed: BaseException | None = None
        try:
            note_process(self._folder, "supervisor")
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(self._keep(worker), name=f"worker {worker.number}")
        except* WorkerError as errors:
            # Raised in here, it would come out in a group of its own.
            failed = errors.exceptions[0]
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
            self._kill()
            await self._host.aclose()
            shutil.rmtree(self._folder, ignore_errors=True)
        if failed is not None:
            raise failed

    # The life of one worker after another

    async def _keep(self, worker: _Worker) -> None:
        loop, deaths = asyncio.get_running_loop(), 0
        while not self._stop.is_set():
            began = loop.time()
            status = await self._live(worker)
            if self._stop.is_set():
                return
            if worker.failure is not None and not self._serving:
                raise WorkerError(worker.failure.message, worker.failure.code)
            if not self._serving:
                raise WorkerError(f"worker {worker.number} {ending(status)} at its start", 1)
            deaths = 0 if loop.time() - began >= STABLE_SECONDS else deaths
            pause = self._backoff[min(deaths, len(self._backoff) - 1)]
            deaths += 1
            why = "" if worker.failure is None else f": {worker.failure.message}"
            self._log(
                f"worker {worker.number} {ending(status)}{why}; starting it again in {pause:g} s"
            )
            try:
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _live(self, worker: _Worker) -> int:
        """One process from its start to its end: its exit status."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                stdin=DEVNULL,
                pass_fds=(theirs.fileno(), self._listener.fileno()),
                start_new_session=True,  # Ctrl-C on a terminal is for us to pass on.
            )
        worker.process, worker.failure, worker.ready = process, None, False
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=m.MAX_LINE)
            worker.writer = writer
            self._say_first(worker)
            with suppress(ConnectionError):  # It has gone; its exit status says how.
                await self._converse(worker, reader)
            return await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            worker.process = None
            await worker.let_go()
            forget_worker(self._folder, worker.number)

    def _say_first(self, worker: _Worker) -> None:
        worker.say(
            m.Begin(
                number=worker.number,
                of=len(self._workers),
                folder=str(self._folder),
                listener=self._listener.fileno(),
                config=self._config,
                flags=self._flags,
                keys=self._keys,
            )
        )
        for order, server in self._host.running():
            worker.say(m.Up(m.as_raw(order), server.url, server.pid))

    async def _converse(self, worker: _Worker, reader: asyncio.StreamReader) -> None:
        while (message := await m.read(reader)) is not None:
            match message:
                case m.Ready():
                    self._is_ready(worker)
                case m.Failed():
                    worker.failure = message
                case m.Said(text):
                    if not self._serving and worker.number == 0:
                        self._progress(text)
                case m.Hold(number, order):
                    holder = _Holder(worker, number, m.from_raw(order), self._host)
                    worker.holders[number] = holder
                    holder.begin()
                case m.Release(number):
                    let_go = worker.holders.pop(number, None)
                    if let_go is not None:
                        let_go.release()
                case m.Unload(number, order):
                    worker.background(self._unload(worker, number, m.from_raw(order)))
                case _:
                    return

    def _is_ready(self, worker: _Worker) -> None:
        worker.ready = True
        if not self._serving and all(each.ready for each in self._workers):
            self._serving = True
            self._workers[0].say(m.Announce())

    async def _unload(self, worker: _Worker, number: int, order: Order) -> None:
        await self._host.unload(order)
        worker.say(m.Unloaded(number))

    # Models

    def _making(
        self, make: Callable[[Order, Callable[[], None]], Server]
    ) -> Callable[[Order, Callable[[], None]], Server]:
        """``make``, with all workers told of what comes up and goes down."""

        def made(order: Order, on_exit: Callable[[], None]) -> Server:
            return _Told(make(order, on_exit), order, self._everyone, loop)

        loop = asyncio.get_running_loop()
        return made

    def _everyone(self, message: m.Message) -> None:
        for worker in self._workers:
            worker.say(message)

    # The end

    def _end(self) -> None:
        """Pass it on: the first time streams may finish, the second time they end now."""
        if not self._stop.is_set():
            self._stop.set()
            if self._serving:
                self._told()
            loop = asyncio.get_running_loop()
            loop.call_later(self._shutdown_seconds + END_SECONDS, self._kill)
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            # One that is still starting has no handler yet, and would die of a SIGHUP.
            if worker.process is not None and (worker.ready or number != signal.SIGHUP):
                _send(worker.process, number)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                _send(worker.process, signal.SIGKILL)


class _Worker:
    """One place, and the process that has it now."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.process: Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.ready = False
        self.failure: m.Failed | None = None
        self.holders: dict[int, _Holder] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, message: m.Message) -> None:
        if self.writer is not None:
            m.write(self.writer, message)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def let_go(self) -> None:
        """The process is gone: nothing is held for it any more."""
        writer, self.writer = self.writer, None
        holders, self.holders = self.holders, {}
        for holder in holders.values():
            holder.release()
        for task in list(self._tasks):
            task.cancel()
        if writer is not None:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                return


class _Holder:
    """One server that one worker holds (`antiphon.engines.launch.host.Holder`)."""

    def __init__(self, worker: _Worker, number: int, order: Order, host: EngineHost) -> None:
        self._worker = worker
        self._number = number
        self._order = order
        self._host = host
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._hold())

    def release(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()  # Which lets it go, if it was in line.
        else:
            self._host.release(self._order, self)

    def gone(self, cause: str) -> None:
        self._worker.holders.pop(self._number, None)
        self._worker.say(m.Gone(self._number, cause))

    def asked(self, *, now: bool) -> None:
        self._worker.say(m.Asked(self._number, now))

    async def _hold(self) -> None:
        try:
            server = await self._host.hold(self._order, self)
        except AntiphonError as error:
            self._worker.holders.pop(self._number, None)
            self._worker.say(m.Refused(self._number, str(error)))
            return
        self._worker.say(m.Got(self._number, server.url, server.pid))


class _Told:
    """A server of which all workers hear when it comes up and when it ends."""

    def __init__(
        self,
        server: Server,
        order: Order,
        tell: Callable[[m.Message], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._server = server
        self._order = m.as_raw(order)
        self._tell = tell
        self._loop = loop

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def pid(self) -> int | None:
        return self._server.pid

    def start(self) -> object:
        started = self._server.start()
        self._say(m.Up(self._order, self.url, self.pid))
        return started

    def stop(self) -> None:
        self._say(m.Down(self._order))
        self._server.stop()

    def exit_cause(self) -> str | None:
        return self._server.exit_cause()

    def _say(self, message: m.Message) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, message)


def _send(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return
