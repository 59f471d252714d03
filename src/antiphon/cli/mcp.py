"""``antiphon mcp``: render, parse and inspect for other agents, as an MCP server."""

from __future__ import annotations

import ipaddress

import click

from antiphon.cli.errors import CommandLineError

__all__ = ["mcp"]

DEFAULT_HTTP = "127.0.0.1:8765"


@click.command()
@click.option(
    "--http",
    "address",
    metavar="[HOST:]PORT",
    is_flag=False,
    flag_value=DEFAULT_HTTP,
    help="Serve streamable HTTP on this computer instead of standard input and output. Without a"
    f" value: {DEFAULT_HTTP}; port 0 takes any free port.",
)
def mcp(address: str | None) -> None:
    """Offer render, parse and inspect to other agents, over MCP.

    Agents start this command themselves and speak to it over its standard input and output. See
    docs/mcp.md for what to put into their configuration.

    \b
    Examples:
      antiphon mcp
      antiphon mcp --http
      antiphon mcp --http 9000
    """
    where = None if address is None else _address(address)
    try:
        import mcp as library  # noqa: F401 - the extra as a whole is there, or is not
    except ModuleNotFoundError as missing:
        from antiphon.errors import MissingExtraError

        raise MissingExtraError(missing.name or "mcp", "mcp") from missing
    from antiphon.cli.mcp_server import serve_http, serve_pipes

    if where is not None:
        serve_http(*where)
        return
    import asyncio

    asyncio.run(serve_pipes())


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise CommandLineError(f"--http: expected a port, or HOST:PORT, got {text[:60]!r}")
    try:
        near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near:
        raise CommandLineError(
            f"--http: {host[:60]} is not this computer alone; anybody could call it there"
        )
    return host, int(port)
