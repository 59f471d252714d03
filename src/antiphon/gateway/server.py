"""uvicorn around the application: one process, one event loop, an end that finishes streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import math
import signal
import socket
import threading
from collections.abc import Callable, Generator
from typing import Final

import uvicorn
from starlette.applications import Starlette

from antiphon.errors import EngineError
from antiphon.gateway.http import GuardedProtocol
from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.wsproto import PING_SECONDS, PONG_SECONDS, GuardedSocket

__all__ = ["GatewayServer", "bind"]

IDLE_SECONDS: Final = 75
"""A kept-alive connection without a request is closed after so long: longer than the 60 seconds
after which common clients and proxies give theirs up, so that they do it first."""
GRACE_SECONDS: Final = 5.0
"""Beyond the time streams have to finish: for their last error to go out."""
BACKLOG: Final = 2048
MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Largest WebSocket message, unless told otherwise; settings have `server.body_bytes`."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises EngineError saying what is in the way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason = f"{reason}; choose another with --port, where 0 takes any free one"
        raise EngineError(f"cannot listen on {host}:{port}: {reason}") from error
    listener.setblocking(False)
    return listener


class GatewayServer(uvicorn.Server):
    """Serves ``app`` on a socket of `bind`.

    ``on_ready`` is called once requests are answered, ``on_reload`` at SIGHUP, ``on_drain`` with
    how many requests still run when the end begins. The first SIGTERM or SIGINT lets them finish
    for ``shutdown_seconds``, a second one ends them now.
    """

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        *,
        lifecycle: Lifecycle,
        shutdown_seconds: float,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        on_ready: Callable[[], None] | None = None,
        on_reload: Callable[[], object] | None = None,
        on_drain: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=GuardedProtocol,
                ws=GuardedSocket,
                ws_max_size=max_message_bytes,
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PONG_SECONDS,
                ws_per_message_deflate=False,
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=math.ceil(shutdown_seconds + GRACE_SECONDS),
            )
        )
        self._listener = listener
        self._lifecycle = lifecycle
        self._shutdown_seconds = shutdown_seconds
        self._on_ready = on_ready
        self._on_reload = on_reload
        self._on_drain = on_drain
        self._stopped = asyncio.Event()

    @property
    def url(self) -> str:
        """For people; an address that means all of them is shown as loopback."""
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        """End gracefully; asked a second time, end streams now; a third time, just end. From the
        loop's thread.
        """
        if self.should_exit:
            self.force_exit = self._lifecycle.closed
            self._lifecycle.close()
        self.should_exit = True
        self._stopped.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded now stays. Left to the collector, it would be looked through again every
        # thousand requests: 25 ms in which no stream goes on.
        gc.collect()
        gc.freeze()
        if self.started and self._on_ready is not None:
            self._on_ready()

    async def main_loop(self) -> None:
        """Wait for the end; once a second is enough for the date in the headers."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._lifecycle.drain(self._shutdown_seconds)
        if self._lifecycle.active and self._on_drain is not None:
            self._on_drain(self._lifecycle.active)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals on the loop, where they may touch it; uvicorn's own would be raised again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], object]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
        }
        if self._on_reload is not None:
            handlers[signal.SIGHUP] = self._on_reload
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
