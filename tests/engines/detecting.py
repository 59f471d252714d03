"""Engines for the tests of detection: fakes that also honour grammars, and servers of nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from tests.fakes.lemonade import FakeLemonade
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.openai import FakeMlxLm, FakeTransformersServe
from tests.fakes.sglang import FakeSglang
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import FakeEngine, ids_of

from antiphon.engines.detect import ModelReport, ProbeReport, probe

__all__ = [
    "ConstrainedLemonade",
    "ConstrainedLlama",
    "ConstrainedSglang",
    "ConstrainedVllm",
    "NamedMlx",
    "NamedTransformers",
    "handler_server",
    "only",
    "probed",
    "raw_server",
]

FORCED = ids_of("<|channel|>quartz")


def probed(engine: FakeEngine, **options: Any) -> ProbeReport:
    """A probe's report of this fake."""

    async def run() -> ProbeReport:
        async with engine:
            return await probe(engine.url, **options)

    return asyncio.run(run())


def only(report: ProbeReport) -> ModelReport:
    """The one model of a report."""
    (model,) = report.models
    return model


class ConstrainedVllm(FakeVllm):
    """It says what a structural tag forces it to."""

    async def completion(self, request: web.Request) -> web.StreamResponse:
        if "structured_outputs" in await self.read(request):
            self.script = FORCED
        return await super().completion(request)


class ConstrainedSglang(FakeSglang):
    async def generate(self, request: web.Request) -> web.StreamResponse:
        if "structural_tag" in (await self.read(request))["sampling_params"]:
            self.script = FORCED
        return await super().generate(request)


class ConstrainedLlama(FakeLlamaServer):
    async def completion(self, request: web.Request) -> web.StreamResponse:
        if "grammar" in await self.read(request):
            self.script = FORCED
        return await super().completion(request)


class ConstrainedLemonade(FakeLemonade):
    async def openai_completion(self, request: web.Request) -> web.StreamResponse:
        if "grammar" in await self.read(request):
            self.script = FORCED
        return await super().openai_completion(request)


class NamedMlx(FakeMlxLm):
    """With the header of Python's own HTTP server, on which mlx-lm's is built."""

    async def models(self, request: web.Request) -> web.Response:
        answer = await super().models(request)
        answer.headers["Server"] = "BaseHTTP/0.6 Python/3.12.4"
        return answer


class NamedTransformers(FakeTransformersServe):
    """With what FastAPI and transformers serve add: request ids, an OpenAPI document."""

    async def health(self, request: web.Request) -> web.Response:
        answer = await super().health(request)
        answer.headers["X-Request-Id"] = "6f1c0f7e"
        return answer

    def routes(self) -> list[web.RouteDef]:
        async def document(request: web.Request) -> web.Response:
            return web.json_response({"info": {"title": "FastAPI"}, "paths": {}})

        return [*super().routes(), web.get("/openapi.json", document)]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def handler_server(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server that answers every request with this handler."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    """The URL of a server that sends these bytes to whoever asks, then closes or holds."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await release.wait()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        release.set()
        server.close()
        await server.wait_closed()
