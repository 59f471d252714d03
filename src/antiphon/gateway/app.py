"""The application: every route and every layer around them, in one place.

A request passes the layers of `_layers` from top to bottom, then one of the routes of `_routes`.
What they share is made in `create_app` and is in no global.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from antiphon.gateway.completions import CompletionsRoute
from antiphon.gateway.errors import ErrorBoundary, http_error
from antiphon.gateway.health import HealthRoute, OpenApiRoute, ReadyRoute
from antiphon.gateway.hooks import Policy
from antiphon.gateway.logs import Log
from antiphon.gateway.models import ModelRoute, ModelsRoute
from antiphon.gateway.operator import operator_routes
from antiphon.gateway.policy import make_policy
from antiphon.gateway.proxy import PASSED_ON, ProxyRoute
from antiphon.gateway.responses.routes import response_routes
from antiphon.gateway.servertools.routes import container_routes
from antiphon.gateway.services import Clock, Models, Services, random_id, system_clock
from antiphon.gateway.stored_chat import ChatsRoute
from antiphon.gateway.workers.place import Place
from antiphon.settings.model import Settings
from antiphon.store.open import Stores, memory_stores

if TYPE_CHECKING:
    from antiphon.gateway.sealed.transport import SealedTransport

__all__ = ["create_app"]


def create_app(
    settings: Settings | None = None,
    *,
    catalog: Models | None = None,
    stores: Stores | None = None,
    policy: Policy | None = None,
    clock: Clock = system_clock,
    new_id: Callable[[], str] = random_id,
    read: Callable[[], Settings] | None = None,
    log: Log | None = None,
    place: Place | None = None,
) -> Starlette:
    """The gateway as an ASGI application.

    Without a ``catalog``, the one that the settings describe is opened at startup and closed at
    the end; one that is given stays its maker's, and so do ``stores``. Without those, everything is
    kept in memory, whatever ``settings.store`` says (`antiphon.store.open.open_stores`).

    ``app.state.services`` has everything the routes work with. ``read`` makes the settings anew for
    a reload; ``log`` is where log lines go, if not to stderr; ``place`` is which of several workers
    this is.

    Raises SettingsError if the API keys, the sealing keys or the trace file cannot be used,
    MissingExtraError without the packages for sealed transport.
    """
    settings = settings if settings is not None else Settings()
    stores = stores or memory_stores(settings, clock=clock.monotonic)
    services = Services(
        settings,
        catalog=catalog,
        stores=stores,
        policy=policy
        or make_policy(settings, store=stores.state, clock=clock, read=read, log=log, place=place),
        clock=clock,
        new_id=new_id,
        sealed=_sealed(settings, clock),
        place=place,
    )
    app = Starlette(
        routes=_routes(services),
        middleware=_layers(services),
        exception_handlers={HTTPException: http_error},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.services = services
    return app


def _layers(services: Services) -> list[Middleware]:
    """From the outside in."""
    return [
        Middleware(
            ErrorBoundary,
            clock=services.clock.monotonic,
            new_id=services.new_id,
            finished=services.policy.finished,
        ),
        *services.policy.layers(),
    ]


def _routes(services: Services) -> list[BaseRoute]:
    # Starlette looks through them one by one: those that are asked most come first.
    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", ChatsRoute(services), methods=["POST", "GET"])
    ]
    if services.sealed is not None:
        from antiphon.gateway.sealed.routes import seal_routes

        routes += seal_routes(services.sealed, services.store)
    routes += [
        Route("/v1/completions", CompletionsRoute(services), methods=["POST"]),
        Route("/v1/models", ModelsRoute(services), methods=["GET"]),
        Route("/v1/models/{model:path}", ModelRoute(services), methods=["GET"]),
        Route("/health", HealthRoute(services), methods=["GET"]),
        Route("/ready", ReadyRoute(services), methods=["GET"]),
        Route("/openapi.json", OpenApiRoute(), methods=["GET"]),
    ]
    routes += [*response_routes(services), *container_routes(services)]
    routes += [Route(path, ProxyRoute(services), methods=["POST"]) for path in PASSED_ON]
    return [*routes, *operator_routes(services), *services.policy.routes()]


def _sealed(settings: Settings, clock: Clock) -> SealedTransport | None:
    if not (settings.seal.enabled or settings.seal.required):
        return None
    from antiphon.gateway.sealed.keyfile import SealKeyFile, seal_key_path
    from antiphon.gateway.sealed.transport import SealedTransport

    return SealedTransport(
        settings,
        SealKeyFile(seal_key_path(settings.seal.keys_file, os.environ)),
        now=lambda: clock.now().timestamp(),
        clock=clock.monotonic,
    )


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    services: Services = app.state.services
    await services.open()
    services.policy.opened(services.catalog.health)
    try:
        yield
    finally:
        if services.lifecycle.draining:
            await services.running.finish()  # As requests may, for as long as they may.
        services.lifecycle.close()
        services.policy.closed()
        await services.aclose()
