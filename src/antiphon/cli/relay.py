"""``antiphon relay``: forward sealed requests to a gateway that shall not know who sends them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from antiphon import __version__
from antiphon.cli.serving import loop_runner
from antiphon.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    from antiphon.gateway.logs import Log
    from antiphon.relay.forward import Target
    from antiphon.relay.limits import RelayLimits

__all__ = ["relay"]


@click.command()
@click.option("--to", required=True, metavar="URL", help="The gateway, or its gateway resource.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0 takes any free port.",
)
@click.option(
    "--concurrent",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Requests at a time.",
)
@click.option(
    "--body-bytes",
    type=click.IntRange(1),
    default=48 * 1024 * 1024,
    show_default=True,
    help="Largest request.",
)
@click.option(
    "--body-seconds",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="A request must have arrived by then.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    help="Longest exchange.",
)
@click.option(
    "--per-minute",
    type=click.IntRange(0),
    default=120,
    show_default=True,
    help="Requests of one client address; 0: no limit.",
)
@click.option(
    "--origin", "origins", multiple=True, help="A web page's origin that may use it; * for all."
)
@click.option("--log-clients", is_flag=True, help="Write the addresses of clients into the log.")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    help="Default: text on a terminal, JSON in a pipe.",
)
@click.option(
    "--shutdown-seconds",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="How long exchanges may go on after it was told to stop.",
)
def relay(to: str, host: str, port: int, origins: tuple[str, ...], **given: Any) -> None:
    """Forward sealed requests to one gateway, and nothing else.

    A relay sees who asks, and not what; the gateway behind it sees what, and not who. It has no
    keys. Let somebody else than the gateway's operator run it.

    \b
    Examples:
      antiphon relay --to https://gpt.example
      antiphon relay --to https://gpt.example --host 0.0.0.0 --port 8443 --per-minute 30
    """
    try:
        import aiohttp  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401 - the extra as a whole is there, or is not
    except ModuleNotFoundError as missing:
        from antiphon.errors import MissingExtraError

        raise MissingExtraError(missing.name or "uvicorn", "gateway") from missing
    from antiphon.gateway.logs import Log
    from antiphon.gateway.server import bind
    from antiphon.relay.forward import Target
    from antiphon.relay.limits import RelayLimits
    from antiphon.settings.model import LogSettings

    target = Target.parse(to)
    log = Log(LogSettings(format=given.pop("log_format")), sys.stderr)
    log_clients = given.pop("log_clients")
    shutdown_seconds = given.pop("shutdown_seconds")
    limits = RelayLimits(**given)
    listener = bind(host, port)
    with listener, loop_runner() as runner:
        runner.run(
            _run(listener, target, limits, tuple(origins), log, log_clients, shutdown_seconds)
        )


async def _run(
    listener: Any,
    target: Target,
    limits: RelayLimits,
    origins: tuple[str, ...],
    log: Log,
    log_clients: bool,
    shutdown_seconds: float,
) -> None:
    from antiphon.gateway.lifecycle import Lifecycle
    from antiphon.gateway.server import GatewayServer
    from antiphon.relay.app import create_relay

    terminal = Terminal(sys.stderr)

    def line(text: str) -> None:
        terminal.write(printable(text) + "\n")
        terminal.flush()

    def ready() -> None:
        line(f"antiphon {__version__} relays {server.url} to {target.url}")
        line(
            f"limits: {limits.concurrent} at a time, {limits.body_bytes:,} bytes,"
            f" {limits.per_minute or 'any number'} a minute from one address"
        )
        line(f"log: {'with' if log_clients else 'without'} client addresses")

    log.capture()
    lifecycle = Lifecycle()
    server = GatewayServer(
        create_relay(
            target,
            limits=limits,
            origins=origins,
            log=log,
            log_clients=log_clients,
            lifecycle=lifecycle,
        ),
        listener,
        lifecycle=lifecycle,
        shutdown_seconds=shutdown_seconds,
        on_ready=ready,
        on_drain=lambda active: line(
            f"stopping: {active} exchanges may finish within {shutdown_seconds:g} s;"
            " again to end them now"
        ),
    )
    await server.serve(sockets=[listener])
