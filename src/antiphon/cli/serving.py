"""One gateway process from its settings to its last stream: the server itself, or a worker."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from antiphon.cli.serve_view import ServeView
from antiphon.settings.model import Settings

if TYPE_CHECKING:
    from antiphon.engines.catalog import Catalog
    from antiphon.gateway.server import GatewayServer
    from antiphon.gateway.services import Services
    from antiphon.gateway.workers.link import Link
    from antiphon.gateway.workers.place import Place

__all__ = ["loop_runner", "open_catalog", "run_gateway"]


def loop_runner() -> asyncio.Runner:
    """Runs the event loop that is fastest here."""
    try:
        import uvloop
    except ModuleNotFoundError:  # There is none for Windows.
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def open_catalog(settings: Settings, view: ServeView, link: Link | None = None) -> Catalog:
    """The engines, asked and started."""
    from antiphon.engines.catalog import Catalog

    return await Catalog.open(settings, progress=view.progress, host=link)


async def run_gateway(
    settings: Settings,
    listener: socket.socket,
    view: ServeView,
    read: Callable[[], Settings],
    keys: str,
    *,
    place: Place | None = None,
    link: Link | None = None,
) -> None:
    """Serve until told to stop. With a ``link``, as the worker that has this ``place``."""
    from antiphon.gateway.app import create_app
    from antiphon.gateway.logs import Log
    from antiphon.gateway.server import GatewayServer
    from antiphon.store.open import open_stores

    stores = open_stores(settings, os.environ)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stores.aclose)
        await stores.start()
        tending = asyncio.ensure_future(stores.tend())
        stack.push_async_callback(_ended, tending)
        catalog = await open_catalog(settings, view, link)
        stack.push_async_callback(catalog.aclose)
        log = Log(settings.log, sys.stderr, worker=None if place is None else place.number)
        log.capture()
        app = create_app(settings, catalog=catalog, stores=stores, read=read, log=log, place=place)
        services: Services = app.state.services
        stack.push_async_callback(services.tools.aclose)
        await services.open_tools()
        reloads: deque[asyncio.Future[bool]] = deque(maxlen=8)

        def tell() -> None:
            view.ready(server.url, services, keys)

        def ready() -> None:
            if link is None:
                tell()
            else:
                _join(link, server, tell)
            view.log_to(log)

        def drained(active: int) -> None:
            who = "" if place is None else f"worker {place.number}: "
            view.line(
                f"{who}stopping: {active} requests may finish within"
                f" {settings.server.shutdown_seconds:g} s; again to end them now"
            )

        server = GatewayServer(
            app,
            listener,
            lifecycle=services.lifecycle,
            shutdown_seconds=settings.server.shutdown_seconds,
            max_message_bytes=settings.server.body_bytes,
            on_ready=ready,
            on_drain=drained,
            on_reload=lambda: reloads.append(asyncio.ensure_future(services.reload())),
        )
        await server.serve(sockets=[listener])


def _join(link: Link, server: GatewayServer, tell: Callable[[], None]) -> None:
    """Tell the supervisor that we serve. When it ends, however that is, so do we, at once."""
    from antiphon.gateway.workers.messages import Ready

    def orphaned() -> None:
        server.stop()
        server.stop()

    link.announce = tell
    link.orphaned = orphaned
    link.say(Ready())


async def _ended(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
