"""MCP servers over HTTP that answer with too much, the wrong thing, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("mcp")

from aiohttp import web

from antiphon.settings.tools import McpSettings
from antiphon.tools.guard import Guard, GuardPolicy
from antiphon.tools.mcp.config import McpConfig, ServerConfig, parse_config
from antiphon.tools.mcp.servers import McpServers
from antiphon.tools.mcp.tool import McpTool
from antiphon.tools.protocol import ToolOutput

Behaviour = Callable[["Site", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
INITIALIZED = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "site", "version": "1"},
}
LISTED = {"tools": [{"name": "f", "inputSchema": {"type": "object"}}]}


class Site:
    """A server by hand, which knows its sessions and does something else with a call."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.sessions: list[str] = []
        self.calls = 0
        self.cancelled = asyncio.Event()
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        method = message.get("method")
        if method == "notifications/cancelled":
            self.cancelled.set()
        if "id" not in message:
            return web.Response(status=202)
        if method == "initialize":
            self.sessions.append(f"s{len(self.sessions) + 1}")
            return self.reply(message, INITIALIZED, {"mcp-session-id": self.sessions[-1]})
        if method == "tools/list":
            return self.reply(message, LISTED)
        if method == "tools/call":
            self.calls += 1
            return await self._behaviour(self, request, message)
        error = {"code": -32601, "message": "no such method"}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})

    def reply(
        self, message: dict[str, Any], result: Any, headers: dict[str, str] | None = None
    ) -> web.Response:
        body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return web.json_response(body, headers=headers)

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncGenerator[str, None]:
        app = web.Application()
        app.router.add_route("*", "/mcp", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        finally:
            await runner.cleanup()


def call_it(behaviour: Behaviour, **limits: Any) -> tuple[ToolOutput, Site]:
    """One call of the tool of such a server."""

    async def main() -> tuple[ToolOutput, Site]:
        site = Site(behaviour)
        async with site.open() as url, opened(url, **limits) as (servers, tools):
            assert servers.problems == {}
            return await tools[0].call({"a": 1}, emit=print), site

    return asyncio.run(main())


@asynccontextmanager
async def opened(url: str, **limits: Any) -> AsyncGenerator[tuple[McpServers, list[McpTool]], None]:
    entry = {"url": url, "headers": {"Authorization": "Bearer ${KEY}"}}
    config = parse_config(json.dumps({"mcpServers": {"site": entry}}), "test")
    async with McpServers(config, McpSettings(**limits), {"KEY": "k-1"}) as servers:
        yield servers, await servers.tools()


async def says(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    given = message["params"]["arguments"]
    return site.reply(message, {"content": [{"type": "text", "text": json.dumps(given)}]})


def test_a_call_over_http_brings_the_configured_headers() -> None:
    output, site = call_it(says)
    assert (output.text, output.failed) == ('{"a": 1}', False)
    assert {headers["Authorization"] for headers in site.headers} == {"Bearer k-1"}


async def ends_session(
    site: Site, request: web.Request, message: dict[str, Any]
) -> web.StreamResponse:
    if request.headers.get("mcp-session-id") == "s1":
        return web.Response(status=404)
    return await says(site, request, message)


def test_a_session_that_is_over_is_begun_anew() -> None:
    output, site = call_it(ends_session)
    assert (output.text, output.failed) == ('{"a": 1}', False)
    assert site.sessions == ["s1", "s2"]


async def always_ends(
    site: Site, request: web.Request, message: dict[str, Any]
) -> web.StreamResponse:
    return web.Response(status=404)


async def breaks(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    return web.Response(status=500, text="secret traceback")


async def page(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def large(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    return site.reply(message, {"content": [{"type": "text", "text": "x" * 300_000}]})


async def endless(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def endless_event(
    site: Site, request: web.Request, message: dict[str, Any]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: ")
    while True:
        await response.write(b"x" * 65536)


async def bomb(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    return web.Response(
        body=gzip.compress(b" " * 50_000_000),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )


async def elsewhere(
    site: Site, request: web.Request, message: dict[str, Any]
) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "http://127.0.0.2:1/mcp"})


async def nonsense(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    return web.Response(body=b'{"jsonrpc": "2.0", "id"\xff', content_type="application/json")


async def falls_silent(
    site: Site, request: web.Request, message: dict[str, Any]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": hello\n\n")
    await site.cancelled.wait()
    return response


async def cuts_off(site: Site, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (always_ends, "Session terminated"),
        (breaks, "error response"),
        (page, "Unexpected content type"),
        (large, ""),
        (endless, ""),
        (endless_event, ""),
        (bomb, ""),
        (elsewhere, "not followed"),
        (nonsense, "parse"),
        (falls_silent, "did not answer within 1 s"),
        (cuts_off, ""),
    ],
)
def test_what_goes_wrong_is_a_failed_output_and_the_next_call_works(
    behaviour: Behaviour, why: str
) -> None:
    async def first_wrong(
        site: Site, request: web.Request, message: dict[str, Any]
    ) -> web.StreamResponse:
        if message["params"]["arguments"] == {"again": 1}:
            return await says(site, request, message)
        return await behaviour(site, request, message)

    async def main() -> None:
        site = Site(first_wrong)
        limits = {"call_seconds": 1.0, "message_bytes": 200_000}
        async with site.open() as url, opened(url, **limits) as (_, tools):
            output = await tools[0].call({"a": 1}, emit=print)
            assert output.failed
            assert output.text.startswith("The MCP server site failed: ")
            assert why in output.text
            assert "secret" not in output.text
            assert len(output.text) < 1000
            output = await tools[0].call({"again": 1}, emit=print)
            assert (output.text, output.failed) == ('{"again": 1}', False)

    asyncio.run(main())


def test_a_server_that_is_not_there_or_lacks_a_variable_is_told_of() -> None:
    entries = {
        "gone": {"url": "http://127.0.0.1:9/mcp"},
        "lacking": {"url": "http://127.0.0.1:9/${NOT_SET}"},
    }

    async def main() -> None:
        config = parse_config(json.dumps({"mcpServers": entries}), "test")
        async with McpServers(config, McpSettings(start_seconds=5.0), {}) as servers:
            assert await servers.tools() == []
            assert servers.problems["lacking"] == "lacking.url: the variable NOT_SET is not set"
            assert "gone" in servers.problems

    asyncio.run(main())


def test_a_server_that_comes_back_is_found_again() -> None:
    async def main() -> None:
        async with Site(says).open() as url:
            port = int(url.split(":")[2].split("/")[0])
            opening = opened(url, call_seconds=5.0)
            _, tools = await opening.__aenter__()
        assert (await tools[0].call({"a": 1}, emit=print)).failed
        # What runs there now knows none of the sessions of its former life.
        back = Site(ends_session)
        async with back.open(port):
            back.sessions = ["s0"]
            assert (await tools[0].call({"a": 2}, emit=print)).text == '{"a": 2}'
            assert back.sessions == ["s0", "s2"]
            await opening.__aexit__(None, None, None)

    asyncio.run(main())


# The guard


def reached(
    config: ServerConfig, guard: Guard, site: Site | None = None, **limits: Any
) -> tuple[list[str], str]:
    """The names of its tools, or why they could not be had."""

    async def main() -> tuple[list[str], str]:
        async with McpServers(McpConfig((config,)), McpSettings(**limits), {}, guard=guard) as some:
            names = [tool.definition.name for tool in await some.tools()]
            return names, some.problems.get(config.name, "")

    return asyncio.run(main())


def resolving(*answers: str) -> tuple[Guard, list[str]]:
    """A guard that finds these addresses, one at a time, and what it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(f"{host}:{port}")
        return [answers[min(len(asked), len(answers)) - 1]]

    return Guard(resolve=resolve), asked


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:8080/mcp", "127.0.0.1 is not on the public internet"),
        ("http://[::1]:8080/mcp", "::1 is not on the public internet"),
        ("http://2130706433/mcp", "is neither a name nor an address"),
        ("http://user:pw@mcp.example/mcp", "with a user name or password"),
        ("http://mcp.example:25/mcp", "port 25 is not opened"),
        ("http://mcp.example/mcp", "mcp.example is not on the public internet"),
    ],
)
def test_a_server_that_a_client_names_is_reached_as_any_page_is(url: str, why: str) -> None:
    guard, _ = resolving("10.0.0.7")
    names, problem = reached(ServerConfig(name="x", url=url, foreign=True), guard)
    assert names == []
    assert why in problem


def test_each_connection_goes_to_an_address_that_was_checked(monkeypatch) -> None:
    async def main() -> tuple[list[str], list[str], list[str], str]:
        site = Site(says)
        async with site.open() as url:
            port = url.split(":")[2].split("/")[0]
            guard, asked = resolving("127.0.0.1")
            policy = GuardPolicy(allow=("127.0.0.1",), ports=(int(port),))
            allowed = Guard(policy, resolve=guard._resolve)
            named = ServerConfig(name="x", url=f"http://mcp.example:{port}/mcp", foreign=True)
            async with McpServers(McpConfig((named,)), None, {}, guard=allowed) as servers:
                tools = await servers.tools()
                output = await tools[0].call({"a": 1}, emit=print)
            hosts = [headers["Host"] for headers in site.headers]
            return asked, hosts, [f"mcp.example:{port}"], output.text

    asked, hosts, expected, text = asyncio.run(main())
    assert set(asked) == set(expected)
    assert set(hosts) == set(expected)
    assert text == '{"a": 1}'


def test_a_name_that_leads_inside_later_is_not_followed() -> None:
    async def main() -> tuple[str, int]:
        site = Site(says)
        async with site.open() as url:
            port = url.split(":")[2].split("/")[0]
            answers = ["127.0.0.1"]

            async def resolve(host: str, port: int) -> list[str]:
                return answers

            policy = GuardPolicy(allow=("127.0.0.1",), ports=(int(port),))
            guard = Guard(policy, resolve=resolve)
            named = ServerConfig(name="x", url=f"http://mcp.example:{port}/mcp", foreign=True)
            async with McpServers(McpConfig((named,)), None, {}, guard=guard) as servers:
                tools = await servers.tools()
                answers[:] = ["10.0.0.7"]
                output = await tools[0].call({"a": 1}, emit=print)
            return output.text, site.calls

    text, calls = asyncio.run(main())
    assert "mcp.example is not on the public internet" in text
    assert calls == 0


def test_a_redirect_to_the_inside_is_not_followed() -> None:
    async def main() -> tuple[list[str], str, int]:
        asked = 0

        async def inside(request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            return web.json_response({})

        async def away(request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{target}/mcp")

        runners = []
        for handler in (inside, away):
            app = web.Application()
            app.router.add_route("*", "/mcp", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
            if handler is inside:
                target = runner.addresses[0][1]
        url = f"http://127.0.0.1:{runners[1].addresses[0][1]}/mcp"
        guard = Guard(GuardPolicy(allow=(url.split("/")[2],)))
        named = ServerConfig(name="x", url=url, headers={"Authorization": "k"}, foreign=True)
        try:
            async with McpServers(McpConfig((named,)), None, {}, guard=guard) as servers:
                names = [tool.name for tool in await servers.tools()]
                return names, servers.problems["x"], asked
        finally:
            for runner in runners:
                await runner.cleanup()

    names, problem, asked = asyncio.run(main())
    assert (names, asked) == ([], 0)
    assert "edirect" in problem


def test_the_operators_own_servers_are_reached_wherever_they_are() -> None:
    output, _ = call_it(says)
    assert output.text == '{"a": 1}'
