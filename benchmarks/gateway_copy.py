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
    """One of two connections: what comes on it goes to the other.

    ``upstream``: the port that the other is to be opened to, for a client's side.
    """

    def __init__(self, upstream: int = 0, other: _Side | None = None) -> None:
        self.upstream = upstream
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.other is None:
            connecting = _loop().create_connection(self._upstream, "127.0.0.1", self.upstream)
            self.connecting = asyncio.ensure_future(connecting)
        else:
            self.transport.writelines(self.other.early)

    def _upstream(self) -> _Side:
        self.other = _Side(other=self)
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


async def _serve(upstream: int) -> None:
    server = await _loop().create_server(lambda: _Side(upstream), "127.0.0.1", 0)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
