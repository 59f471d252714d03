"""Reading a request's body: JSON, in time, and no larger than allowed."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Receive, Scope

from antiphon.api.errors import ApiError
from antiphon.gateway.context import PRESENCE, context_of
from antiphon.gateway.errors import ClientGoneError
from antiphon.settings.model import ServerSettings

__all__ = ["DRAIN_BYTES", "read_json_body"]

DRAIN_BYTES: Final = 64 * 1024 * 1024
"""So much of a body that is too large is read and dropped before the answer: a client that is still
sending would lose the answer with the connection."""

_CLOSE: Final = {"connection": "close"}


async def read_json_body(scope: Scope, receive: Receive, server: ServerSettings) -> bytes:
    """The whole body, unread, within the server's limits. From then on the request's context knows
    who tells when the client leaves.

    Raises ApiError: 415 not JSON, 413 too large, 408 too slow.
    """
    max_bytes, seconds = server.body_bytes, server.body_seconds
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ApiError(
            "the request's content-type must be application/json",
            status=415,
            code="unsupported_media_type",
        )
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise ApiError(
            "compressed request bodies are not accepted",
            status=415,
            code="unsupported_content_encoding",
        )
    try:
        async with asyncio.timeout(seconds):
            body = await _read(receive, max_bytes)
    except TimeoutError:
        raise ApiError(
            f"the request's body did not arrive within {seconds:g} seconds",
            status=408,
            code="request_timeout",
            headers=_CLOSE,
        ) from None
    if body is None:
        raise ApiError(
            f"the request's body is larger than {max_bytes} bytes",
            status=413,
            code="request_too_large",
            headers=_CLOSE,
        )
    # What is left unread may keep a connection from being read to its end: not told before now.
    context_of(scope).presence = (scope.get("extensions") or {}).get(PRESENCE)
    return body


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The body; None if it is too large."""
    message = await _next(receive)
    if not message["more_body"] and len(message["body"]) <= max_bytes:
        return message["body"]
    pieces = [message["body"]]
    size = len(message["body"])
    while message["more_body"] and size <= max_bytes + DRAIN_BYTES:
        message = await _next(receive)
        size += len(message["body"])
        if size <= max_bytes:
            pieces.append(message["body"])
        else:
            pieces.clear()
    return b"".join(pieces) if size <= max_bytes else None


async def _next(receive: Receive) -> dict[str, bytes]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return {"body": message.get("body", b""), "more_body": message.get("more_body", False)}
