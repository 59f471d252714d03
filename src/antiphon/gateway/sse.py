"""A response of server-sent events, written straight to ASGI's ``send``.

One send for what arrived together, no task and no timeout per token. One timer per stream watches
for silence, in both directions: a comment for a client that would hang up on a quiet connection,
and the end for a client that stopped reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from starlette.types import Send

from antiphon.api.chat.stream import KEEP_ALIVE, error_frames
from antiphon.api.errors import ApiError
from antiphon.gateway.context import DirectBody

__all__ = ["PAUSE_SECONDS", "STALL_SECONDS", "YIELD_SECONDS", "EventStream"]

STALL_SECONDS: Final = 120.0
"""A client that takes nothing for so long is cut off: its engine could serve somebody else."""
YIELD_SECONDS: Final = 0.005
"""A stream that always has more gives way to the others after so long."""
PAUSE_SECONDS: Final = 0.002
"""A stream that was silent for so long has given way by itself."""

_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_log = logging.getLogger(__name__)


class EventStream:
    """One response. `open` arms the timer, `close` must follow; the head goes out with the first
    event or comment, so that an error before it can still be an HTTP status.

    ``direct`` is a shorter way for the body. ``on_begin`` is called right before the head,
    ``on_stall`` when the client is cut off.
    """

    def __init__(
        self,
        send: Send,
        *,
        direct: DirectBody | None = None,
        keepalive_seconds: float,
        on_stall: Callable[[], None],
        on_begin: Callable[[], None] | None = None,
    ) -> None:
        self.begun = False
        self._send = send
        self._direct = direct
        self._keepalive = keepalive_seconds
        self._on_stall = on_stall
        self._on_begin = on_begin
        self._behind: list[bytes] = []
        self._ended = False
        self._busy = False
        self._ping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._last = self._yielded = self._loop.time()

    def open(self) -> None:
        """Begin to watch for silence."""
        self._timer = self._loop.call_later(self._keepalive, self._tick)

    def push(self, data: bytes) -> bool:
        """Send whole events if that takes no waiting. False: `flush` must send them."""
        direct = self._direct
        if direct is not None and self.begun and self._ping is None and not self._behind:
            now = self._loop.time()
            if now - self._last > PAUSE_SECONDS:
                self._yielded = now
            if now - self._yielded <= YIELD_SECONDS:
                self._last = now
                if direct.write(data):
                    return True
        self._behind.append(data)
        return False

    async def flush(self) -> None:
        """Send what could not be pushed. Waits while the client does not keep up."""
        if not self._behind:
            return
        if self._ping is not None:
            await self._ping
        self._busy = True
        if not self.begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": self._taken(), "more_body": True})
        self._busy = False
        await asyncio.sleep(0)  # The short way ends here when it is the others' turn.
        self._last = self._yielded = self._loop.time()

    async def write(self, data: bytes) -> None:
        """Send whole events. Waits while the client does not keep up."""
        if not self.push(data):
            await self.flush()

    async def end(self, data: bytes) -> None:
        """Send the last events and end the response."""
        if self._ping is not None:
            await self._ping
        self._busy = True
        if not self.begun:
            await self._begin()
        self._ended = True
        data = self._taken() + data
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def fail(self, error: ApiError) -> None:
        """End a response that has begun with an error: the event, then ``[DONE]``."""
        if not self._ended:
            await self.end(error_frames(error))

    async def close(self) -> None:
        """Let go of the timer. Always to be called."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ping is not None:
            self._ping.cancel()
            await asyncio.gather(self._ping, return_exceptions=True)

    def _taken(self) -> bytes:
        behind = b"".join(self._behind)
        self._behind.clear()
        return behind

    async def _begin(self) -> None:
        self.begun = True
        if self._on_begin is not None:
            self._on_begin()
        await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})

    def _tick(self) -> None:
        now = self._loop.time()
        silent = now - self._last
        if self._busy or self._ping is not None:
            if silent >= STALL_SECONDS:
                _log.warning("a client has read nothing for %d seconds: cut off", silent)
                self._timer = None
                self._on_stall()
                return
            delay = min(self._keepalive, STALL_SECONDS)
        elif silent >= self._keepalive:
            self._ping = self._loop.create_task(self._comment())
            delay = self._keepalive
        else:
            delay = self._keepalive - silent
        self._timer = self._loop.call_later(delay, self._tick)

    async def _comment(self) -> None:
        try:
            if not self.begun:
                await self._begin()
            await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
            self._last = self._loop.time()
        finally:
            self._ping = None
