"""``/antiphon/models``: for operators, which models are loaded, and loading and unloading them.

GET  /antiphon/models           every engine, and every model that this server starts itself
POST /antiphon/models/load      {"model": NAME}
POST /antiphon/models/unload    {"model": NAME}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.engines.catalog import Catalog
from antiphon.engines.lifecycle import UnitStatus
from antiphon.gateway.auth import require_operator
from antiphon.gateway.body import read_json_body
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.services import Services

__all__ = ["MODELS_PATH", "operator_routes"]

MODELS_PATH: Final = "/antiphon/models"

_WHAT: Final = "Looking after models"
Change = Callable[[Catalog, str], Awaitable[UnitStatus]]


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    model: str


def operator_routes(services: Services) -> list[BaseRoute]:
    """The routes; each needs an operator's key once there are keys."""
    return [
        Route(MODELS_PATH, _Overview(services), methods=["GET"]),
        Route(f"{MODELS_PATH}/load", _Change(services, Catalog.load), methods=["POST"]),
        Route(f"{MODELS_PATH}/unload", _Change(services, Catalog.unload), methods=["POST"]),
    ]


class _Overview:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        require_operator(operator=context_of(scope).operator, what=_WHAT)
        catalog = _catalog(self._services)
        body = {"engines": catalog.health(), "models": catalog.list(), "units": catalog.units()}
        await send_json(send, msgspec.json.encode(body))


class _Change:
    """Loads or unloads a model, and answers with how it is then."""

    def __init__(self, services: Services, change: Change) -> None:
        self._services = services
        self._change = change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        require_operator(operator=context.operator, what=_WHAT)
        body = await read_json_body(scope, receive, self._services.settings.server)
        try:
            name = msgspec.json.decode(body, type=_Named).model
        except msgspec.DecodeError as error:
            raise ApiError(f'expected {{"model": NAME}}: {error}', param="model") from None
        catalog = _catalog(self._services)
        # A model that is being loaded goes on loading if whoever asked for it leaves.
        work = self._run(catalog, name)
        status = await self._services.lifecycle.run(receive, work, context.presence)
        await send_json(send, msgspec.json.encode(status))

    async def _run(self, catalog: Catalog, name: str) -> UnitStatus:
        return await self._change(catalog, name)


def _catalog(services: Services) -> Catalog:
    catalog = services.catalog
    if not isinstance(catalog, Catalog):
        raise ApiError("this server starts no models itself", status=404, type="not_found_error")
    return catalog
