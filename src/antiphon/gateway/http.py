"""uvicorn's HTTP protocol with the limits it leaves to a reverse proxy.

A request's head must arrive in time and be of a bearable size, what is not HTTP is answered in
OpenAI's shape, and a connection can be cut (``scope["extensions"]["antiphon.abort"]``) when its
client has stopped reading. A WebSocket is taken where one is served, another upgrade declined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from antiphon.api.errors import ApiError
from antiphon.gateway.context import DIRECT, PRESENCE

__all__ = [
    "ABORT",
    "HEAD_BYTES",
    "HEAD_SECONDS",
    "SOCKET_PATH",
    "BodyWriter",
    "ClientPresence",
    "GuardedProtocol",
]

ABORT: Final = "antiphon.abort"
SOCKET_PATH: Final = b"/v1/responses"
"""The one path that speaks WebSocket."""
HEAD_BYTES: Final = 64 * 1024
"""Largest request line and headers together."""
HEAD_SECONDS: Final = 15.0
"""From a connection's start, or the first byte of a later request, to the head's end."""

_REFUSAL: Final = (
    b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
)
_UPGRADE_HEADERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class BodyWriter:
    """A response's body, past the layers that look at its head only: a token is a write."""

    __slots__ = ("_cycle", "_write")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._write = cycle.transport.write

    def write(self, data: bytes, made: Callable[[bytes], bytes] | None = None) -> bool:
        """Send ``data``, of a response that has begun and goes on. False if that takes waiting, or
        is of no use: ASGI's own way is for that.
        """
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
            return False
        if made is not None:
            data = made(data)
        if data:  # An empty chunk would be the last.
            self._write(b"%x\r\n%b\r\n" % (len(data), data))
        return True


class ClientPresence:
    """One connection's client (`antiphon.gateway.lifecycle.Presence`)."""

    __slots__ = ("_flow", "_watching", "gone")

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        self._watching: set[Callable[[], None]] = set()
        self.gone = False

    def watch(self, left: Callable[[], None]) -> None:
        self._watching.add(left)
        self._flow.resume_reading()  # A connection that is not read does not end.

    def unwatch(self, left: Callable[[], None]) -> None:
        self._watching.discard(left)

    def leave(self) -> None:
        """Tell whoever watches."""
        self.gone = True
        for left in [*self._watching]:
            left()


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = HEAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None
    _head_size = 0
    _in_head = True
    _too_large = False
    _upgrade_offered = False
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._presence = ClientPresence(self.flow)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        running, self._running = self._running, None
        if running is not None and not running.response_complete:
            # The base class tells the newest request, which may be waiting behind this one.
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        self._presence.leave()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._in_head:
            self._head_size += len(data)  # Back to 0 at the head's end, wherever that is in it.
            if self._head_timer is None:
                self._arm()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            rest = data[offer.args[0] :]
            if self._is_socket():
                self._become_socket(rest)
            else:
                self._decline_upgrade(rest)
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._in_head and self._head_size > HEAD_BYTES:
            self._too_large = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {
            ABORT: {"abort": self.transport.abort},
            PRESENCE: self._presence,
        }

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > HEAD_BYTES:
            self._too_large = True
            raise ValueError("too large")  # Ends the parser, which ends in send_400_response.
        if self.parser.should_upgrade():
            self._upgrade_offered = True
            return
        self._in_head = False
        self._head_size = 0
        self._disarm()
        super().on_headers_complete()
        assert self.cycle is not None
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[DIRECT] = BodyWriter(self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        if self._upgrade_offered:
            return
        self._in_head = True
        super().on_message_complete()

    def _is_socket(self) -> bool:
        return (
            self.ws_protocol_class is not None
            and self.parser.get_method() == b"GET"
            and self.url.partition(b"?")[0] == SOCKET_PATH
            and self._get_upgrade() == b"websocket"
        )

    def _become_socket(self, rest: bytes) -> None:
        """Hand the connection over, with everything that came on it."""
        self._disarm()
        self._in_head = False
        self.connections.discard(self)
        head = [b"GET %b HTTP/1.1\r\n" % self.url]
        head += [b"%b: %b\r\n" % (name, value) for name, value in self.headers]
        assert self.ws_protocol_class is not None
        protocol: Any = self.ws_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.data_received(b"".join([*head, b"\r\n", rest]))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the request as if nothing but HTTP/1.1 had been offered.

        The parser stops where another protocol might begin. Java's client offers h2c with every
        request it sends, and goes on with the body.
        """
        self._upgrade_offered = False
        head = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        head += [
            b"%b: %b\r\n" % (name, value)
            for name, value in self.headers
            if name not in _UPGRADE_HEADERS
        ]
        self.parser = httptools.HttpRequestParser(self)
        self._head_size = 0
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def send_400_response(self, msg: str) -> None:
        """Answer what never became a request, and close."""
        if self._too_large:
            self._refuse(431, "the request's headers are too large", "headers_too_large")
        else:
            self._refuse(400, "this is not a valid HTTP request", "invalid_http")

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(408, "the request's headers did not arrive in time", "request_timeout")

    def _refuse(self, status: int, message: str, code: str) -> None:
        self._disarm()
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            body = ApiError(message, status=status, code=code).body()
            self.transport.write(STATUS_LINE[status] + _REFUSAL % len(body) + body)
        self.transport.close()
