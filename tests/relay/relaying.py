"""A relay on a real socket, and a wire between two programs that remembers every byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from tests.gateway.serving import WAIT, Running

from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.server import GatewayServer
from antiphon.relay.app import create_relay
from antiphon.relay.forward import Target


class Relay(Running):
    """A running relay."""

    def __init__(self, to: str, **how: Any) -> None:
        super().__init__()
        self._to = to
        self._how = how

    def make(self, listener: socket.socket, on_ready: Callable[[], None]) -> GatewayServer:
        self.lifecycle = Lifecycle()
        return GatewayServer(
            create_relay(Target.parse(self._to), lifecycle=self.lifecycle, **self._how),
            listener,
            lifecycle=self.lifecycle,
            shutdown_seconds=WAIT,
            on_ready=on_ready,
        )


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
