"""``antiphon serve --workers``: the process that starts the others."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.cli.errors import EndedError
from antiphon.cli.serve_view import ServeView
from antiphon.cli.serving import loop_runner
from antiphon.settings.model import Settings

if TYPE_CHECKING:
    from antiphon.engines.launch.host import Order
    from antiphon.engines.launch.start import Server

__all__ = ["supervise"]


def supervise(
    settings: Settings,
    listener: socket.socket,
    view: ServeView,
    *,
    config: Path | None,
    flags: Mapping[str, str],
    keys: str,
) -> None:
    """Serve with several workers until told to stop. Raises EndedError if they cannot start."""
    with loop_runner() as runner:
        runner.run(_supervise(settings, listener, view, config=config, flags=flags, keys=keys))


async def _supervise(
    settings: Settings,
    listener: socket.socket,
    view: ServeView,
    *,
    config: Path | None,
    flags: Mapping[str, str],
    keys: str,
) -> None:
    from antiphon.gateway.logs import Log
    from antiphon.gateway.workers.supervisor import Supervisor, WorkerError
    from antiphon.store.open import open_stores

    # Once, so that workers do not all bring an old store up to date at the same time.
    stores = open_stores(settings, os.environ)
    try:
        await stores.start()
    finally:
        await stores.aclose()
    log = Log(settings.log, sys.stderr)
    log.capture()
    supervisor = Supervisor(
        [sys.executable, "-P", "-m", "antiphon.cli.worker"],
        settings.server.workers,
        listener,
        config=None if config is None else str(config),
        flags=flags,
        keys=keys,
        shutdown_seconds=settings.server.shutdown_seconds,
        make=_maker(view.progress),
        progress=view.progress,
        log=lambda text: log.warning("worker", why=text),
        stopping=lambda: view.line(f"stopping: {settings.server.workers} workers"),
    )
    try:
        await supervisor.run()
    except WorkerError as error:
        raise EndedError(str(error), error.code) from error


def _maker(progress: Callable[[str], None]) -> Callable[[Order, Callable[[], None]], Server]:
    loop = asyncio.get_running_loop()

    def say(text: str) -> None:
        loop.call_soon_threadsafe(progress, text)

    def make(order: Order, on_exit: Callable[[], None]) -> Server:
        from antiphon.engines.launch.host import make_server

        return make_server(order, os.environ, on_exit=on_exit, progress=say)

    return make
