"""The least that stands between two sockets: bytes are read and written, and never looked at.

    python benchmarks/gateway_copy.py PORT-OF-THE-UPSTREAM

What it costs a token is what the kernel and the event loop cost anybody here, at this minute.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One of two connections: what comes on it goes to the other."""

    def __init__(self, other: _Side | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.other is None:
            connecting = _loop().create_connection(self._upstream, "127.0.0.1", UPSTREAM)
            _connections.add(task := asyncio.ensure_future(connecting))
            task.add_done_callback(_connections.discard)
        else:
            self.transport.writelines(self.other.early)

    def _upstream(self) -> _Side:
        self.other = _Side(self)
        return self.other

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self.early.append(data)
        else:
            other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()
        self.other = None


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _serve() -> None:
    server = await _loop().create_server(_Side, "127.0.0.1", 0)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


UPSTREAM = int(sys.argv[1])
_connections: set[asyncio.Future[object]] = set()

if __name__ == "__main__":
    uvloop.run(_serve())
