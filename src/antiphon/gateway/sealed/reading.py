"""A sealed request, opened as it comes: bytes in, at the end one HTTP request or one failure.

Whatever is wrong, the rest of the body is still read and dropped, and the failure told at its end:
neither the time nor the way in which it is told says which step failed.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec
from starlette.types import Receive

from antiphon.api.errors import ApiError
from antiphon.gateway.body import DRAIN_BYTES
from antiphon.gateway.errors import ClientGoneError
from antiphon.gateway.sealed.transport import SealedTransport
from antiphon.seal import (
    BinaryHttpDecoder,
    BinaryHttpError,
    BinaryHttpLimits,
    ChunkedRequestOpener,
    Content,
    Request,
    RequestHead,
    ResponseSecret,
    SealError,
    open_request,
)

__all__ = ["PENDING_BYTES", "Opened", "open_body"]

PENDING_BYTES: Final = 512 * 1024 * 1024
"""Bytes of unfinished sealed requests, all together: who sends one has shown no API key yet."""
LARGE_BODY: Final = 256 * 1024
"""More bytes are opened in a thread, so that other streams do not wait for them."""
_OVERHEAD: Final = 2 * 1024 * 1024
"""Fields, padding and seals beside the content, and a quarter of the content for small chunks."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A request that opened: authentic and whole, but perhaps not for the first time."""

    response: ResponseSecret
    replay_nonce: str
    request: Request | None
    mistake: BinaryHttpError | None
    """Why there is no request: what is inside is not one, or over a limit."""


class _Reading(Protocol):
    def feed(self, data: bytes) -> None: ...

    def finish(self) -> Opened:
        """Raises UnknownKeyError, or OpenError for everything else that is wrong."""
        ...


async def open_body(receive: Receive, transport: SealedTransport, *, chunked: bool) -> Opened:
    """Read and open a request. Raises UnknownKeyError and OpenError; ApiError 413 too large, 408
    too slow, 503 too many at a time; ClientGoneError.
    """
    reading: _Reading = (_ChunkedReading if chunked else _WholeReading)(transport)
    max_bytes = transport.body_bytes + transport.body_bytes // 4 + _OVERHEAD
    size = held = 0
    try:
        async with asyncio.timeout(transport.body_seconds):
            more = True
            while more and size <= max_bytes + DRAIN_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                data = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(data)
                if size <= max_bytes:
                    held += len(data)
                    transport.pending += len(data)
                    if transport.pending > PENDING_BYTES:
                        raise _busy()
                    reading.feed(data)
    except TimeoutError:
        raise ApiError(
            f"the request did not arrive within {transport.body_seconds:g} seconds",
            status=408,
            code="request_timeout",
            headers={"connection": "close"},
        ) from None
    finally:
        transport.pending -= held
    if size > max_bytes:
        raise ApiError(
            f"the sealed request is larger than {max_bytes} bytes",
            status=413,
            code="request_too_large",
            headers={"connection": "close"},
        )
    if not chunked and size > LARGE_BODY:
        return await asyncio.to_thread(reading.finish)
    return reading.finish()


class _ChunkedReading:
    """Opens and decodes each chunk when it has come; keeps the content alone."""

    def __init__(self, transport: SealedTransport) -> None:
        self._opener = ChunkedRequestOpener(
            transport.ring,
            transport.now(),
            max_chunk=transport.settings.chunk_bytes,
            max_final=transport.settings.final_bytes,
        )
        self._failure: SealError | None = None
        self._message = _Message(transport.body_bytes)

    def feed(self, data: bytes) -> None:
        if self._failure is None:
            try:
                for chunk in self._opener.feed(data):
                    self._message.feed(chunk)
            except SealError as failure:
                self._failure = failure

    def finish(self) -> Opened:
        if self._failure is not None:
            raise self._failure
        self._message.feed(self._opener.eof())
        return self._message.opened(self._opener.response, self._opener.replay_nonce)


class _WholeReading:
    """Collects; one seal is around it all."""

    def __init__(self, transport: SealedTransport) -> None:
        self._ring, self._now = transport.ring, transport.now()
        self._pieces: list[bytes] = []
        self._message = _Message(transport.body_bytes)

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)

    def finish(self) -> Opened:
        opened = open_request(self._ring, b"".join(self._pieces), self._now)
        self._message.feed(opened.message)
        return self._message.opened(opened.response, opened.replay_nonce)


class _Message:
    """The HTTP message inside. Never raises: a mistake is kept for the sealed answer."""

    def __init__(self, body_bytes: int) -> None:
        self._decoder = BinaryHttpDecoder("request", limits=BinaryHttpLimits(content=body_bytes))
        self._head: RequestHead | None = None
        self._content: list[bytes] = []
        self._mistake: BinaryHttpError | None = None

    def feed(self, data: bytes) -> None:
        if self._mistake is not None or not data:
            return
        try:
            for event in self._decoder.feed(data):
                if isinstance(event, Content):
                    self._content.append(event.data)
                elif isinstance(event, RequestHead):
                    self._head = event
        except BinaryHttpError as mistake:
            self._wrong(mistake)

    def opened(self, response: ResponseSecret, replay_nonce: str) -> Opened:
        if self._mistake is None:
            try:
                for event in self._decoder.eof():
                    if isinstance(event, RequestHead):
                        self._head = event
            except BinaryHttpError as mistake:
                self._wrong(mistake)
        request = None
        if self._mistake is None and self._head is not None:
            request = Request(head=self._head, content=b"".join(self._content))
        return Opened(
            response=response,
            replay_nonce=replay_nonce,
            request=request,
            mistake=self._mistake,
        )

    def _wrong(self, mistake: BinaryHttpError) -> None:
        self._mistake = mistake
        self._content.clear()


def _busy() -> ApiError:
    return ApiError(
        "too many sealed requests are being sent at a time",
        status=503,
        type="server_error",
        code="overloaded",
        retry_after=1.0,
        headers={"connection": "close"},
    )
