"""uvicorn's WebSocket protocol with the limits of a server that strangers talk to.

A client that answers no ping, or takes nothing that is sent to it, loses its connection at once:
half of a connection must not hold a model. What is refused is refused in OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["PING_SECONDS", "PONG_SECONDS", "GuardedSocket"]

PING_SECONDS: Final = 20.0
"""A ping is sent so often."""
PONG_SECONDS: Final = 20.0
"""A client that has not answered one by then is gone."""
_QUIET: Final = logging.getLogger("antiphon.websocket")
_QUIET.setLevel(logging.CRITICAL)  # What a client does wrong is its own trouble, and our metrics'.


class GuardedSocket(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _QUIET
        self.conn.logger = _QUIET

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # A frame is sent when it is made, not when more come.
        self.transport.set_write_buffer_limits(high=256 * 1024)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()  # What is in the buffer will never be read.

    def shutdown(self) -> None:
        """The server stops: the application ends what it does, and says goodbye itself."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]
            scope["method"] = "GET"
