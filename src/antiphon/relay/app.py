"""The relay as an application: three routes, limits, and a log that names no client.

It has no keys and loads no cryptography but TLS. What it forwards it can neither read nor change
unnoticed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import ErrorBoundary, http_error, send_json
from antiphon.gateway.guards import cors_headers, preflight_headers
from antiphon.gateway.http import ABORT
from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.logs import Log
from antiphon.relay.forward import Forwarder, Target, Upload
from antiphon.relay.limits import RelayLimits, Visitors
from antiphon.seal.media import WELL_KNOWN_GATEWAY

__all__ = ["create_relay"]

KEYS_PATH: Final = "/ohttp-keys"
HEALTH_PATH: Final = "/health"
CUT_SECONDS: Final = 0.01
"""Until the server has learnt of it, from its own loop, that a connection was cut."""
_NAMES: Final = {WELL_KNOWN_GATEWAY: "sealed", KEYS_PATH: "keys", HEALTH_PATH: "health"}


def create_relay(
    target: Target,
    *,
    limits: RelayLimits | None = None,
    origins: tuple[str, ...] = (),
    log: Log | None = None,
    log_clients: bool = False,
    lifecycle: Lifecycle | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """A relay to ``target``. ``origins``: web pages that may use it, ``*`` for all."""
    limits = limits or RelayLimits()
    lifecycle = lifecycle or Lifecycle()
    forwarder = Forwarder(target, limits)
    relay = _Relay(forwarder, limits, lifecycle, Visitors(limits.per_minute, clock))
    log = log or Log()

    def finished(scope: Scope, context: RequestContext) -> None:
        client = scope.get("client")
        fields = {
            "method": scope.get("method"),
            "route": _NAMES.get(scope["path"], "other"),
            "status": context.status,
            "ms": round((clock() - context.started) * 1000, 1),
            "error": context.error,
            "client": client[0] if client and log_clients else None,
        }
        write = log.debug if scope["path"] == HEALTH_PATH else log.info
        write("relayed", **{name: value for name, value in fields.items() if value is not None})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        await forwarder.open()
        try:
            yield
        finally:
            lifecycle.close()
            await forwarder.aclose()

    app = Starlette(
        routes=[
            Route(WELL_KNOWN_GATEWAY, relay, methods=["GET", "POST"]),
            Route(KEYS_PATH, relay, methods=["GET"]),
            Route(HEALTH_PATH, _Health(lifecycle), methods=["GET"]),
        ],
        middleware=[
            Middleware(ErrorBoundary, clock=clock, new_id=_no_id, finished=finished),
            Middleware(_Pages, origins=origins),
        ],
        exception_handlers={HTTPException: http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.lifecycle = lifecycle
    return app


class _Relay:
    """The gateway's resource, seen from outside."""

    def __init__(
        self, forwarder: Forwarder, limits: RelayLimits, lifecycle: Lifecycle, visitors: Visitors
    ) -> None:
        self._forwarder = forwarder
        self._limits = limits
        self._lifecycle = lifecycle
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        self._visitors.charge(client[0] if client else "")
        if self._lifecycle.active >= self._limits.concurrent:
            raise ApiError(
                "this relay is busy",
                status=503,
                type="server_error",
                code="overloaded",
                retry_after=1.0,
            )
        upload = Upload(scope, receive, self._limits)
        begun = False

        async def sender(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        work = self._forwarder.exchange(scope, upload, sender)
        try:
            await self._lifecycle.run_until(upload.left(), work)
        except ApiError as error:
            if not begun:
                raise
            # Its reader notices by the missing end.
            context_of(scope).error = error.code
            await _cut(scope)


class _Health:
    """Whether this process lives; nothing of the gateway."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stopping = self._lifecycle.draining
        body = b'{"status":"stopping"}' if stopping else b'{"status":"ok"}'
        await send_json(send, body, status=503 if stopping else 200)


class _Pages:
    """Lets the listed web pages read what is forwarded for them."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin")
        shown = None if origin is None else origin.decode("latin-1")
        context = context_of(scope)
        context.headers |= cors_headers(shown, self._origins)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            answer = preflight_headers(headers.get(b"access-control-request-headers"))
            await send(
                {"type": "http.response.start", "status": 204, "headers": list(answer.items())}
            )
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


async def _cut(scope: Scope) -> None:
    """End a connection whose answer cannot be finished."""
    extensions = scope.get("extensions") or {}
    extensions.get(ABORT, {}).get("abort", _nothing)()
    await asyncio.sleep(CUT_SECONDS)


def _nothing() -> None:
    """A server that is not ours may have no way to cut a connection."""


def _no_id() -> str:
    """Answers have an id because all of ours do; nothing is to be found by it."""
    return "relay"
