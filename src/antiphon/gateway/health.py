"""``/health``: this process lives. ``/ready``: a request sent now would find an engine.

And ``/openapi.json``, which says what else there is.
"""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon import __version__
from antiphon.api.openapi import openapi_document
from antiphon.gateway.errors import send_json
from antiphon.gateway.services import Services

__all__ = ["HealthRoute", "OpenApiRoute", "ReadyRoute"]


class HealthRoute:
    """Always 200: whoever restarts what does not answer must not restart us for an engine."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = {"status": "ok", "version": __version__, "active": self._services.lifecycle.active}
        if self._services.place is not None:
            body["worker"] = self._services.place.number
        await send_json(send, msgspec.json.encode(body))


class ReadyRoute:
    """200 while at least one engine is up or would start, else 503; 503 also while stopping."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engines = self._services.catalog.health()
        stopping = self._services.lifecycle.draining
        ready = not stopping and any(engine.state in ("up", "idle") for engine in engines)
        body = {
            "status": "ready" if ready else "stopping" if stopping else "waiting for an engine",
            "engines": [{"name": e.name, "state": e.state} for e in engines],
        }
        await send_json(send, msgspec.json.encode(body), status=200 if ready else 503)


class OpenApiRoute:
    """The OpenAPI document, made when it is first asked for."""

    def __init__(self) -> None:
        self._body: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._body is None:
            self._body = msgspec.json.encode(openapi_document(__version__))
        await send_json(send, self._body)
