"""A relay on a real socket, and a wire between two programs that remembers every byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any, Self

import uvloop
from tests.gateway.serving import WAIT

from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.server import GatewayServer, bind
from antiphon.relay.app import create_relay
from antiphon.relay.forward import Target


class Relay:
    """A running relay. When the block ends it is stopped, and nothing may be left of it."""

    def __init__(self, to: str, **how: Any) -> None:
        self._to = to
        self._how = how
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._left: list[str] = []

    def __enter__(self) -> Self:
        self._listener = bind("127.0.0.1", 0)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        self._listener.close()
        if self._error is not None:
            raise self._error
        assert self._left == []
        assert self.lifecycle.active == 0

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.stop)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the test's thread
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.lifecycle = Lifecycle()
        self.server = GatewayServer(
            create_relay(Target.parse(self._to), lifecycle=self.lifecycle, **self._how),
            self._listener,
            lifecycle=self.lifecycle,
            shutdown_seconds=WAIT,
            on_ready=self._ready.set,
        )
        await self.server.serve(sockets=[self._listener])
        await asyncio.sleep(0)
        this = asyncio.current_task()
        self._left = [repr(task) for task in asyncio.all_tasks() if task is not this]


class Wire:
    """Stands in front of a port and remembers all that passes, both ways."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self.sent = bytearray()
        """To the port,"""
        self.received = bytearray()
        """and back."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to), timeout=WAIT)
            far.settimeout(None)
            self._open += [near, far]
            for one, other, record in ((near, far, self.sent), (far, near, self.received)):
                thread = threading.Thread(target=self._pump, args=(one, other, record), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pump(self, one: socket.socket, other: socket.socket, record: bytearray) -> None:
        try:
            while data := one.recv(65536):
                with self._lock:
                    record += data
                other.sendall(data)
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_WR)
