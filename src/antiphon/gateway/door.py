"""The layer every request passes before its route: guards, the API key, rate limits.

What is refused here has cost no more than its headers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.gateway.auth import authenticate, require_operator
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.guards import (
    check_host,
    check_origin,
    cors_headers,
    preflight_headers,
)
from antiphon.gateway.logs import bind_request, unbind_request
from antiphon.gateway.modes import MODE_HEADER
from antiphon.gateway.ratelimit import allowance, take
from antiphon.gateway.reload import Reloadable
from antiphon.gateway.sealed.scope import is_sealed
from antiphon.store.protocol import StateStore

__all__ = [
    "METRICS_PATH",
    "OPEN_PATHS",
    "RAW_HEADER",
    "SEAL_PATHS",
    "Door",
    "Gatekeeper",
    "header_of",
]

RAW_HEADER: Final = "antiphon-raw"
"""``1``: the answer holds the raw transcript."""

METRICS_PATH: Final = "/metrics"
OPEN_PATHS: Final = frozenset({"/health", "/ready"})
"""What a load balancer asks, without a key."""
SEAL_PATHS: Final = frozenset({"/.well-known/ohttp-gateway", "/ohttp-keys"})
"""Sealed requests, whose API keys are inside, and what they are sealed with."""
_TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")


class Gatekeeper:
    """Says who asks, and what that costs: once for a request, once for each message of a socket."""

    def __init__(self, *, live: Reloadable, store: StateStore, now: Callable[[], datetime]) -> None:
        self._live = live
        self._store = store
        self._now = now

    def guard(self, scope: Scope, context: RequestContext) -> None:
        """Turn web pages away that are not listed. Raises ApiError 403."""
        settings = self._live.settings
        origin = header_of(scope, "origin")
        context.headers |= cors_headers(origin, settings.cors.origins)
        if not self._live.keys and not self._live.keys_required:
            check_host(header_of(scope, "host"), settings.server.allowed_hosts)
            check_origin(origin, settings.cors.origins)

    def require_seal(self, scope: Scope) -> None:
        """Turn requests in the clear away where only sealed ones are taken. Raises ApiError 403."""
        path = scope["path"]
        if self._live.settings.seal.required and path not in OPEN_PATHS and path not in SEAL_PATHS:
            raise ApiError(
                "This server takes sealed requests only: POST them to /.well-known/ohttp-gateway,"
                " sealed for a key from there (docs/seal.md). WebSockets cannot be sealed.",
                status=403,
                type="permission_error",
                code="seal_required",
            )

    def asks_for_key(self, scope: Scope, *, sealed: bool) -> bool:
        """Whether an API key is asked for, if there are any.

        Sealing keys are for everyone, inside a seal too: so a client that trusts one key is told
        the next by who holds it.
        """
        path = scope["path"]
        if path in OPEN_PATHS:
            return False
        seal = self._live.settings.seal
        if path not in SEAL_PATHS or not (seal.enabled or seal.required):
            return True
        return sealed and scope.get("method") != "GET"

    def identify(self, scope: Scope, context: RequestContext) -> None:
        """Fill in who asks. Raises ApiError 401 and 403."""
        live = self._live
        settings = live.settings
        caller = authenticate(
            scope["headers"],
            live.keys,
            self._now(),
            required=live.keys_required,
            operators=settings.server.operator_key_required,
        )
        context.tenant, context.key, context.operator = caller.tenant, caller.key, caller.operator
        client = scope.get("client")
        context.who = caller.tenant or f"address:{client[0] if client else ''}"
        if scope["path"] == METRICS_PATH:
            require_operator(operator=caller.operator, what="Reading the metrics")
        if header_of(scope, MODE_HEADER) is not None:
            require_operator(operator=caller.operator, what=f"The {MODE_HEADER} header")
        if header_of(scope, RAW_HEADER) not in (None, "0"):
            require_operator(operator=caller.operator, what=f"The {RAW_HEADER} header")
            if not settings.visibility.raw:
                raise ApiError(
                    f"The {RAW_HEADER} header needs the setting visibility.raw.",
                    status=403,
                    type="permission_error",
                    code="raw_not_enabled",
                )
            context.raw = True
        for name in _TRACE_HEADERS:
            value = header_of(scope, name)
            if value is not None:
                context.trace[name] = value

    async def charge(self, context: RequestContext, size: int | None) -> None:
        """Take a request of ``size`` bytes from the rate limits. Raises ApiError 429."""
        allowed = allowance(self._live.settings.limits, context.key)
        if not (allowed.requests or allowed.tokens):
            return
        context.lease = await take(self._store, context.who, allowed, body_bytes=size)
        context.headers |= context.lease.headers


class Door:
    """Lets a request in, and settles its account when it is over."""

    def __init__(self, app: ASGIApp, *, gatekeeper: Gatekeeper) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        gatekeeper = self._gatekeeper
        sealed = is_sealed(scope)
        if not sealed:  # What is inside a seal has no origin and no host but what its sender says.
            gatekeeper.guard(scope, context)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if (
            scope["type"] == "http"
            and scope["method"] == "OPTIONS"
            and b"access-control-request-method" in headers
        ):
            await _answer_preflight(headers, send)
            return
        tokens = bind_request(context.request_id)
        try:
            if not sealed:
                gatekeeper.require_seal(scope)
            if gatekeeper.asks_for_key(scope, sealed=sealed):
                gatekeeper.identify(scope, context)
                if scope["type"] == "http" and scope["method"] == "POST":
                    length = headers.get(b"content-length", b"")
                    size = int(length) if length.isdigit() and len(length) < 20 else None
                    await gatekeeper.charge(context, size)
            await self._app(scope, receive, send)
        finally:
            unbind_request(tokens)
            if context.lease is not None:
                await context.lease.settle()


def header_of(scope: Scope, name: str) -> str | None:
    """The first header of this name, in lower case."""
    wanted = name.encode()
    return next((_text(value) for found, value in scope["headers"] if found == wanted), None)


async def _answer_preflight(headers: dict[bytes, bytes], send: Send) -> None:
    """A browser asks before it sends. Whether it may is in the headers of every answer."""
    allowed = preflight_headers(headers.get(b"access-control-request-headers"))
    await send({"type": "http.response.start", "status": 204, "headers": list(allowed.items())})
    await send({"type": "http.response.body", "body": b""})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
