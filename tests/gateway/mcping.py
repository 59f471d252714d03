"""An MCP server over HTTP in a thread of its own, by hand: it does what a test tells it to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from aiohttp import web

ANY: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}


def tool(name: str, description: str = "", *, reads: bool = False, **more: Any) -> dict[str, Any]:
    hints = {"annotations": {"readOnlyHint": reads}}
    return {"name": name, "description": description, "inputSchema": ANY, **hints, **more}


class McpSite:
    """The server. ``answer`` makes the result of a call; ``first`` may answer a request itself."""

    def __init__(
        self,
        *tools: dict[str, Any],
        answer: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        first: Callable[[str], web.Response | None] | None = None,
    ) -> None:
        self.tools: Sequence[dict[str, Any]] = tools or (tool("echo", "Says it again."),)
        self.asked: list[str] = []
        """The methods."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._answer = answer
        self._first = first
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        method = message.get("method")
        self.asked.append(method)
        self.headers.append(dict(request.headers))
        made = None if self._first is None else self._first(method)
        if made is not None:
            return made
        if "id" not in message:
            return web.Response(status=202)
        result: dict[str, Any]
        if method == "initialize":
            result = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "site", "version": "1"},
            }
        elif method == "tools/list":
            result = {"tools": list(self.tools)}
        elif method == "tools/call":
            name, given = message["params"]["name"], message["params"]["arguments"]
            self.calls.append((name, given))
            result = (self._answer or said)(name, given)
        else:
            error = {"code": -32601, "message": "no such method"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})


def said(_: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": f"said {given.get('text', '')}"}]}
