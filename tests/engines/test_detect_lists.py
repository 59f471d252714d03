"""Engines with several models, discovery, the cache, and the real llama.cpp server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from tests.engines.detecting import handler_server, only, probed
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenai
from tests.fakes.vllm import FakeVllm

from antiphon.engines.connect import connect
from antiphon.engines.detect import ProbeCache, ProbeReport, discover, probe
from antiphon.engines.detect.dialects import PROMPT_IDS
from antiphon.engines.detect.trial import untried
from antiphon.engines.protocol import Chunk, CompletionRequest

ROUTER = {
    "/health": {"status": "ok"},
    "/props": {"role": "router"},
    "/v1/models": {
        "data": [
            {"id": "ggml-org/gpt-oss-20b-GGUF", "status": {"value": "loaded"}},
            {"id": "gpt-oss-120b", "status": {"value": "unloaded"}},
            {"id": "qwen3-4b", "status": {"value": "unloaded"}},
        ]
    },
}
LOADED = {
    "default_generation_settings": {"n_ctx": 16_384},
    "chat_template": "<|start|><|channel|><|message|>",
    "model_path": "/models/gpt-oss-20b.gguf",
    "total_slots": 4,
}


def probe_router(**options: Any) -> tuple[ProbeReport, list[tuple[str, str | None]]]:
    """llama.cpp's router with one loaded model, and every model it was made to work with."""
    worked: list[tuple[str, str | None]] = []

    async def router(request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and (name := request.query.get("model")):
            worked.append((request.path, name))
            assert request.query["autoload"] == "false"
            return web.json_response(LOADED)
        if request.method == "GET" and request.path in ROUTER:
            return web.json_response(ROUTER[request.path])
        if request.method == "GET":
            return web.Response(status=404)
        body = await request.json()
        worked.append((request.path, body["model"]))
        if request.path == "/tokenize":
            return web.json_response({"tokens": [200005]})
        if request.path == "/completion":
            return web.json_response({"content": "", "tokens": [200005, 35644], "stop": True})
        return web.Response(status=404)

    async def run() -> ProbeReport:
        async with handler_server(router) as url:
            return await probe(url, **options)

    return asyncio.run(run()), worked


def test_a_router_is_asked_about_loaded_models_only() -> None:
    report, worked = probe_router()
    loaded, unloaded, other = report.models
    assert report.kind.value == "llama.cpp"
    assert (loaded.loaded, loaded.reading.value) == (True, "hybrid")
    assert loaded.context_length.value == 16_384
    assert (unloaded.loaded, unloaded.gpt_oss.value) == (False, True)
    assert unloaded.reading.reason.endswith("it is not loaded, so it was not tried")
    assert not other.gpt_oss.value
    assert {name for _, name in worked} == {"ggml-org/gpt-oss-20b-GGUF"}


def test_a_model_that_is_named_is_tried_though_it_must_be_loaded() -> None:
    report, worked = probe_router(models=["gpt-oss-120b"])
    model = only(report)
    assert (model.id, model.reading.value) == ("gpt-oss-120b", "hybrid")
    assert model.reading.reason.startswith("the answer has 200005")
    assert ("/completion", "gpt-oss-120b") in worked


@pytest.mark.parametrize(("version", "reading"), [("0.30.4", "stripped"), ("0.12.9", "marked")])
def test_an_ollama_model_that_is_not_loaded_is_known_by_the_version(
    version: str, reading: str
) -> None:
    class Idle(FakeOllama):
        def routes(self) -> list[web.RouteDef]:
            async def none(request: web.Request) -> web.Response:
                return web.json_response({"models": []})

            others = [route for route in super().routes() if route.path != "/api/ps"]
            return [*others, web.get("/api/ps", none)]

        async def version(self, request: web.Request) -> web.Response:
            return web.json_response({"version": version})

    engine = Idle()
    model = only(probed(engine))
    assert engine.completions == []
    assert (model.loaded, model.reading.value) == (False, reading)
    assert model.context_length.value is None
    assert model.context_length.reason == "Ollama chooses when it loads the model, at most 131072"


# The cache.


def test_a_trial_is_made_once_for_a_url_and_a_model() -> None:
    async def run() -> tuple[FakeVllm, list[ProbeReport]]:
        cache = ProbeCache()
        async with FakeVllm() as engine:
            return engine, [await probe(engine.url, cache=cache) for _ in range(3)]

    engine, reports = asyncio.run(run())
    assert reports[0] == reports[1] == reports[2]
    assert len(engine.completions) == 2  # one raw, one under a grammar


def test_a_new_version_is_tried_anew() -> None:
    async def run() -> FakeVllm:
        cache = ProbeCache()
        async with FakeVllm() as engine:
            await probe(engine.url, cache=cache)
            engine.version = "0.27.0"
            await probe(engine.url, cache=cache)
            return engine

    assert len(asyncio.run(run()).completions) == 4


def test_what_was_only_assumed_is_not_kept() -> None:
    from tests.fakes.wire import Faults

    async def run() -> list[ProbeReport]:
        cache = ProbeCache()
        async with FakeVllm(faults=Faults(status=503)) as engine:
            first = await probe(engine.url, cache=cache)
            assert len(cache) == 0
            engine.faults = Faults()
            return [first, await probe(engine.url, cache=cache)]

    first, second = asyncio.run(run())
    assert only(first).reading.reason.startswith("usual for vllm")
    assert only(second).reading.reason.startswith("the answer has the ids")


def test_the_cache_forgets_by_age_by_stamp_and_by_number() -> None:
    now = 0.0
    cache = ProbeCache(seconds=10, entries=2, clock=lambda: now)
    tried = untried("vllm", "because")
    cache.put("u", "a", "1", tried)
    assert cache.get("u", "a", "1") is tried
    assert cache.get("u", "a", "2") is None
    now = 10.0
    assert cache.get("u", "a", "1") is None
    assert cache.get_old("u", "a", "1") is tried
    assert cache.get_old("u", "a", "2") is None
    for name in ("a", "b", "c"):
        cache.put("u", name, "1", tried)
    assert [name for name in "abc" if cache.get("u", name, "1")] == ["b", "c"]
    cache.forget("u")
    assert len(cache) == 0


def test_an_engine_too_busy_to_be_tried_again_stays_what_it_was() -> None:
    from tests.fakes.wire import Faults

    async def run() -> list[ProbeReport]:
        now = 0.0
        cache = ProbeCache(seconds=10, clock=lambda: now)
        async with FakeOpenai() as engine:
            first = await probe(engine.url, cache=cache)
            now = 10.0
            engine.faults = Faults(status=503)
            return [first, await probe(engine.url, cache=cache)]

    first, second = asyncio.run(run())
    assert first == second
    assert only(first).usable


# Discovery.


def test_discovery_finds_engines_usable_ones_first_and_never_ourselves() -> None:
    async def ours(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers={"antiphon": "0.3"})

    async def run() -> tuple[list[ProbeReport], list[str]]:
        async with (
            FakeVllm(gpt_oss=False) as other,
            handler_server(ours) as gateway,
            FakeOllama() as ollama,
            FakeVllm() as skipped,
        ):
            urls = [other.url, gateway, ollama.url, skipped.url]
            ports = [int(url.rpartition(":")[2]) for url in urls]
            found = await discover(ports=[*ports, 1, ports[0]], skip=[skipped.url])
            return found, [ollama.url, other.url]

    found, expected = asyncio.run(run())
    assert [report.url for report in found] == expected
    assert [report.kind.value for report in found] == ["ollama", "vllm"]


# The real thing.


def test_the_real_llama_server_is_found_out(llama_server: str) -> None:
    report = asyncio.run(probe(llama_server))
    assert report.kind.value == "llama.cpp"
    model = only(report)
    assert model.gpt_oss.value
    assert model.evidence[0].sign == "tokenizer"
    assert model.reading.value == "hybrid"
    assert model.prompt_ids.value
    assert model.grammar.value == "gbnf"
    assert "took hold" in model.grammar.reason
    assert model.logprobs.value == 20
    assert model.context_length.value == 4096


def test_the_real_llama_server_spoken_to_by_openais_routes_alone(llama_server: str) -> None:
    """As it is behind a proxy that only hands ``/v1`` on."""
    report = asyncio.run(probe(llama_server, kind="openai"))
    model = only(report)
    assert (model.dialect, model.reading.value, model.grammar.value) == (
        "lemonade",
        "marked",
        "gbnf",
    )


@pytest.mark.parametrize("kind", [None, "openai"])
def test_the_real_llama_server_is_connected_to(llama_server: str, kind: Any) -> None:
    async def run() -> list[Chunk]:
        report = await probe(llama_server, kind=kind)
        engine = connect(report, only(report))
        try:
            request = CompletionRequest(prompt=PROMPT_IDS, max_tokens=4, temperature=0.0)
            return [c async for chunks in engine.complete(request) for c in chunks]
        finally:
            await engine.aclose()

    text = "".join([chunk.text for chunk in asyncio.run(run())])
    assert text == "<|channel|>final<|message|>Hello"
