"""An MCP server behind an address: streamable HTTP, with bounded answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

__all__ = ["MAX_PLAIN_BYTES", "endpoint"]

CONNECT_SECONDS: Final = 10.0
MAX_PLAIN_BYTES: Final = 1 << 20
"""Most bytes of an answer that is neither JSON nor events: a page that tells of an error."""
_EVENTS: Final = "text/event-stream"


@asynccontextmanager
async def endpoint(
    url: str,
    headers: Mapping[str, str],
    *,
    seconds: float,
    message_bytes: int,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncGenerator[TransportStreams, None]:
    """The streams of one session with a server; redirects leave its origin never.

    ``seconds`` is how long it may be silent. ``transport`` makes the connections.
    """
    bounded = _Bounded(transport or httpx2.AsyncHTTPTransport(), message_bytes)
    async with (
        httpx2.AsyncClient(
            headers=dict(headers),
            timeout=httpx2.Timeout(CONNECT_SECONDS, read=seconds),
            transport=bounded,
            trust_env=False,
        ) as client,
        streamable_http_client(
            url, http_client=client, max_sse_event_size=message_bytes
        ) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Ends an answer that grows beyond what a message may have. Events have a bound of their own,
    one by one.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Compressed, a small answer could be any size.
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        kind = response.headers.get("content-type", "").lower()
        if not kind.startswith(_EVENTS):
            limit = self._limit if kind.startswith("application/json") else MAX_PLAIN_BYTES
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Counted(response.stream, limit)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.ReadError("it compressed its answer, which it was asked not to")
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > self._limit:
                raise httpx2.ReadError(f"it sent a message of more than {self._limit:,} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
