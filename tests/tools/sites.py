"""A web site on a loopback port, for tests of what goes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Site:
    """What was asked of it, and where it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def allowed(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [request.path_qs for request in self.asked]


@asynccontextmanager
async def site(**routes: Handler | str | bytes) -> AsyncIterator[Site]:
    """``route`` answers ``/route``; text is a page, bytes are a body without a type."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        found.asked.append(request)
        found.bodies.append(await request.read())
        route = routes.get(request.path.lstrip("/").replace("/", "_").replace("-", "_"))
        if route is None:
            return web.Response(status=404, text="<h1>nothing here</h1>", content_type="text/html")
        if isinstance(route, str):
            return web.Response(text=route, content_type="text/html")
        if isinstance(route, bytes):
            return web.Response(body=route)
        return await route(request)

    server = web.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    assert place._server is not None
    port = place._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    found = Site(port)
    try:
        yield found
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)  # Connections say that they are closed.


def redirect(to: str) -> Handler:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": to})

    return handler
