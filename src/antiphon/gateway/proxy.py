"""Passing a request through to the engine's own route: ordinary models, and a short list of routes.

Nothing is read that need not be, nothing is changed but the model's name where the engine knows it
by another. Only routes of the list can be reached; an engine's other routes can do too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from antiphon.api.chat.stream import error_frames
from antiphon.api.errors import ApiError
from antiphon.engines.served import Served
from antiphon.engines.shared import CONVERSATION, Routes
from antiphon.gateway.body import read_json_body
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import ClientGoneError, to_api_error
from antiphon.gateway.hooks import PassedWatch, watched
from antiphon.gateway.opening import read_opening
from antiphon.gateway.services import Services

__all__ = ["PASSED_ON", "ProxyRoute", "forward"]

PASSED_ON: Final = ("/v1/embeddings", "/v1/rerank", "/rerank", "/v1/score", "/score")
"""Routes that are the engine's own, beside those of chat and completions."""

_OURS: Final = ("access-control-", "antiphon", "x-ratelimit-", "x-request-id")
"""Headers that begin like this are ours to send: an engine that lets every web page read its
answers does not know our keys."""


class ProxyRoute:
    """A route of the list."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, context = self._services, context_of(scope)
        body = await read_json_body(scope, receive, services.settings.server)
        opening = read_opening(body)
        served = services.catalog.find(opening.model)
        context.serves(served)
        context.streamed = opening.stream
        context.mode = "standard"
        await forward(services, scope, receive, send, served, body)


async def forward(
    services: Services,
    scope: Scope,
    receive: Receive,
    send: Send,
    served: Served,
    body: bytes,
    *,
    conversation: str = "",
) -> None:
    """Answer with what the engine answers. Requests of one ``conversation`` go to the same engine
    of several. Raises ApiError 400 if there is no route.
    """
    passthrough: Routes | None = served.passthrough
    if passthrough is None:
        raise ApiError(
            f"{scope['path']} is not possible for the model {served.name!r}: its engine has no"
            " such route",
            param="model",
            code="unsupported_route",
        )
    context = context_of(scope)
    relay = _Relay(services, context, served, passthrough, send)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    headers["x-request-id"] = context.request_id
    headers[CONVERSATION] = f"{context.tenant}:{conversation}" if conversation else ""
    try:
        work = relay.run(scope["path"], body, headers)
        await services.lifecycle.run(receive, work, context.presence)
    except ClientGoneError:
        raise
    except Exception as error:
        if relay.events:
            await relay.fail(to_api_error(error, context))
            return
        # What has begun and is not a stream is cut off: half an answer that looks whole is worse.
        raise


class _Relay:
    """One answer, handed on as it comes."""

    def __init__(
        self,
        services: Services,
        context: RequestContext,
        served: Served,
        passthrough: Routes,
        send: Send,
    ) -> None:
        self.events = False
        """Whether a stream of events has begun."""
        self._services = services
        self._context = context
        self._served = served
        self._passthrough = passthrough
        self._send = send

    async def run(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        policy = self._services.policy
        async with policy.admit(self._context, self._served, len(body)):
            with watched(policy.watch_passed(self._context, self._served)) as watch:
                await self._pass(path, body, headers, watch)

    async def _pass(
        self, path: str, body: bytes, given: Mapping[str, str], watch: PassedWatch
    ) -> None:
        async with self._passthrough.open(path, body, headers=given) as answer:
            kind = answer.headers.get("content-type", "")
            watch.begins(answer.status, kind)
            headers = [
                (name.encode("latin-1"), value.encode("latin-1", "replace"))
                for name, value in answer.headers.items()
                if not name.startswith(_OURS)
            ]
            await self._send(
                {"type": "http.response.start", "status": answer.status, "headers": headers}
            )
            self.events = kind.startswith("text/event-stream")
            async for piece in answer.pieces():
                watch.piece(piece)
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def fail(self, error: ApiError) -> None:
        """End a stream of events, which may have stopped in the middle of one."""
        self._context.error = error.code
        end = b"\n\n" + error_frames(error)
        await self._send({"type": "http.response.body", "body": end, "more_body": False})
