"""WebSocket on ``/v1/responses``: one response after the other, on one connection.

Each ``response.create`` is a request of its own: identified, charged, admitted and logged like a
POST. What went before is remembered by the connection, so that chains of ``store: false`` work; a
continuation that fails forgets what it wanted to continue.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.gateway.context import CONTEXT, RequestContext
from antiphon.gateway.errors import CLIENT_GONE, ClientGoneError, to_api_error
from antiphon.gateway.responses.chain import LocalChain
from antiphon.gateway.responses.create import Creation
from antiphon.gateway.responses.work import Work
from antiphon.gateway.services import Services

__all__ = ["CONNECTION_SECONDS", "MAX_WAITING", "SocketRoute"]

CONNECTION_SECONDS: Final = 3600.0
"""A connection takes no new request after so long."""
MAX_WAITING: Final = 8
"""Requests that wait on one connection for those before them."""

_GOING_AWAY: Final = 1001
_NORMAL: Final = 1000
_NOT_HERE: Final = frozenset({"stream", "stream_options", "type"})
"""What means nothing on a socket: everything is streamed."""
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder().encode


class SocketRoute:
    """The route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        await receive()  # websocket.connect
        if services.lifecycle.draining or self._open >= services.settings.responses.sockets:
            why = "is shutting down" if services.lifecycle.draining else "has no connection left"
            raise ApiError(f"the server {why}", status=503, type="server_error", code="overloaded")
        self._open += 1
        try:
            await send({"type": "websocket.accept"})
            await _Connection(services, scope, receive, send).serve()
        except ClientGoneError:
            pass
        finally:
            self._open -= 1


class _Connection:
    """One connection, to its end."""

    def __init__(self, services: Services, scope: Scope, receive: Receive, send: Send) -> None:
        self._services = services
        self._scope = scope
        self._receive = receive
        self._send = send
        self._waiting: deque[str] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._gone = asyncio.Event()
        self._chain = LocalChain()
        self._work: Work | None = None
        self._until = services.clock.monotonic() + CONNECTION_SECONDS

    async def serve(self) -> None:
        reader = asyncio.ensure_future(self._read())
        drained = asyncio.ensure_future(self._services.lifecycle.drained.wait())
        try:
            while not self._gone.is_set():
                if not await self._next(drained):
                    return
                text = self._waiting.popleft()
                self._size -= len(text)
                await self._request(text)
        finally:
            for task in (reader, drained):
                task.cancel()
            await asyncio.gather(reader, drained, return_exceptions=True)

    async def _next(self, drained: asyncio.Future[Any]) -> bool:
        """Wait for a message. False if the connection ends instead."""
        left = self._until - self._services.clock.monotonic()
        if not self._waiting and left > 0 and not drained.done():
            self._arrived.clear()
            arrived = asyncio.ensure_future(self._arrived.wait())
            try:
                await asyncio.wait(
                    (arrived, drained), timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                arrived.cancel()
                await asyncio.gather(arrived, return_exceptions=True)
        if self._gone.is_set():
            return False
        if drained.done():
            await self._close(_GOING_AWAY, "the server is shutting down")
            return False
        if self._until <= self._services.clock.monotonic():
            minutes = CONNECTION_SECONDS / 60
            error = ApiError(
                f"The connection has reached its limit of {minutes:g} minutes. Open a new one.",
                code="websocket_connection_limit_reached",
            )
            await self._tell(error)
            await self._close(_NORMAL, "connection limit reached")
            return False
        return bool(self._waiting)

    async def _read(self) -> None:
        """Take messages off the connection all the time: a ping's answer is behind them."""
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None:
                    await self._tell(ApiError("messages must be text", code="invalid_json"))
                elif self._waiting and (
                    len(self._waiting) >= MAX_WAITING
                    or self._size + len(text) > self._services.settings.server.body_bytes
                ):
                    await self._tell(
                        ApiError(
                            f"{len(self._waiting)} requests wait on this connection already",
                            status=429,
                            type="rate_limit_error",
                            code="websocket_queue_full",
                        )
                    )
                else:
                    self._waiting.append(text)
                    self._size += len(text)
                    self._arrived.set()
        except ClientGoneError:
            pass
        finally:
            self._gone.set()
            self._arrived.set()

    async def _request(self, text: str) -> None:
        """Answer one message, whatever is in it."""
        services = self._services
        context = RequestContext(f"req_{services.new_id()}", services.clock.monotonic())
        context.streamed = True
        scope: dict[str, Any] = {**self._scope, CONTEXT: context}
        continued: str | None = None
        answer: ApiError | None = None
        try:
            async with services.policy.message(scope, context, len(text)):
                try:
                    body, generate = _read_create(text)
                    continued = _continued(body)
                    work = self._respond(scope, body, generate=generate)
                    failed = await services.lifecycle.run_until(self._left(), work)
                    context.status = 200
                except ClientGoneError:
                    context.status = CLIENT_GONE
                    raise
                except Exception as error:  # noqa: BLE001 - told to the client
                    answer = to_api_error(error, context)
                    context.error, context.status = answer.code, answer.status
                    failed = True
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - turned away at the door
            answer = to_api_error(error, context)
            failed = True
        if failed and continued is not None:
            self._chain.forget(continued)
        told = self._work is not None and self._work.told
        self._work = None
        if answer is not None and not told:
            await self._tell(answer)

    async def _respond(self, scope: Scope, body: bytes, *, generate: bool) -> bool:
        """Run one response; whether it failed in the middle."""
        creation = Creation(self._services, scope, local=self._chain)
        self._work = await creation.prepare(body, generate=generate)
        return await self._work.run(self._emit)

    async def _emit(self, events: Sequence[bytes]) -> None:
        for event in events:
            await self._send_text(event.decode())

    async def _tell(self, error: ApiError) -> None:
        """An error that is no response's."""
        headers = {**error.headers}
        if error.retry_after is not None:
            headers.setdefault("retry-after", str(max(1, math.ceil(error.retry_after))))
        detail: dict[str, Any] = {
            "type": error.type,
            "code": error.code,
            "message": str(error),
            "param": error.param,
        }
        if headers:
            detail["headers"] = headers
        event = {"type": "error", "status": error.status, "error": detail}
        await self._send_text(_ENCODE(event).decode())

    async def _send_text(self, text: str) -> None:
        if self._gone.is_set():
            raise ClientGoneError
        try:
            await self._send({"type": "websocket.send", "text": text})
        except OSError:  # uvicorn's word for a connection that was lost
            raise ClientGoneError from None

    async def _close(self, code: int, reason: str) -> None:
        if not self._gone.is_set():
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _left(self) -> None:
        await self._gone.wait()


def _read_create(text: str) -> tuple[bytes, bool]:
    """The request's body, and whether the model is to say anything. Raises ApiError."""
    try:
        members: Mapping[str, msgspec.Raw] = _MEMBERS.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ApiError(f"the message is not a JSON object: {error}", code="invalid_json") from None
    kind = _value(members, "type")
    if kind != "response.create":
        shown = kind[:60] if isinstance(kind, str) else "none"
        raise ApiError(
            f"type: expected response.create, got {shown}", param="type", code="invalid_value"
        )
    for name, why in (
        ("background", "background responses are not possible on a WebSocket"),
        ("stream_id", "a connection has one lane here; open another connection"),
    ):
        if _value(members, name):
            raise ApiError(f"{name}: {why}", param=name, code="unsupported_parameter")
    generate = _value(members, "generate") is not False
    body = {name: value for name, value in members.items() if name not in _NOT_HERE}
    body.pop("generate", None)
    return _ENCODE(body), generate


def _continued(body: bytes) -> str | None:
    value = _value(_MEMBERS.decode(body), "previous_response_id")
    return value if isinstance(value, str) else None


def _value(members: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = members.get(name)
    return None if raw is None else msgspec.json.decode(raw)
