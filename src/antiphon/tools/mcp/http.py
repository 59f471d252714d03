"""An MCP server behind an address: streamable HTTP through the guard, with bounded answers.

Every request, a redirected one too, has its host looked up and checked, and goes to an address that
was checked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from antiphon.tools.guard import Guard, GuardError

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
    guard: Guard,
) -> AsyncGenerator[TransportStreams, None]:
    """The streams of one session with a server; redirects leave its origin never.

    ``seconds`` is how long it may be silent.
    """
    guarded = _Guarded(httpx2.AsyncHTTPTransport(trust_env=False), guard)
    bounded = _Bounded(guarded, message_bytes)
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


class _Guarded(httpx2.AsyncBaseTransport):
    """Sends each request to an address that the guard has checked, in the name of its host."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            addresses = await self._guard.addresses(url.host, port)
        except GuardError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        failed: httpx2.ConnectError | httpx2.ConnectTimeout | None = None
        for address in addresses:
            sent = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,  # Host among them: the name
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            try:
                return await self._inner.handle_async_request(sent)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error  # nothing was sent: the next address may do
        assert failed is not None
        raise failed

    async def aclose(self) -> None:
        await self._inner.aclose()


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
