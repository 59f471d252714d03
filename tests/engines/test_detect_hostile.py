"""Servers that are not there, break off, lie or talk nonsense: a probe says so, in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from tests.engines.detecting import handler_server, probed, raw_server
from tests.fakes.lemonade import FakeLemonade
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import Faults
from tests.ports import closed_port

from antiphon.engines.detect import KINDS, ProbeReport, probe
from antiphon.engines.detect.asking import MAX_ANSWER_BYTES, Answer, Asker

JSON = "application/json"


def probe_answers(answer: Callable[[web.Request], web.StreamResponse]) -> ProbeReport:
    async def run() -> ProbeReport:
        async def handler(request: web.Request) -> web.StreamResponse:
            return answer(request)

        async with handler_server(handler) as url:
            return await probe(url, timeout=10)

    return asyncio.run(run())


def ask_raw(answer: bytes, *, hold: bool = False, seconds: float = 10) -> Answer:
    async def run() -> Answer:
        async with raw_server(answer, hold=hold) as url, Asker(url, seconds=seconds) as asker:
            return await asker.get("/health")

    return asyncio.run(run())


def test_a_server_that_is_not_there_is_a_report() -> None:
    with closed_port() as port:
        report = asyncio.run(probe(f"http://127.0.0.1:{port}"))
    assert report.kind.value is None
    assert not report.usable
    assert report.error is not None
    assert "does not answer" in report.error


def test_a_server_that_never_answers_costs_the_time_that_was_given() -> None:
    answer = ask_raw(b"", hold=True, seconds=0.05)
    assert answer.status == 0
    assert answer.error == "no answer within 0.05 s" or "no answer within 0.0" in answer.error


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\x00\xff",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n{}",
    ],
)
def test_an_answer_that_is_no_http_is_an_error_and_not_an_exception(answer: bytes) -> None:
    found = ask_raw(answer)
    assert found.data is None
    assert found.error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"data": "\\ud800"}',
        b"\xff\xfe",
        b"NaN",
    ],
    ids=["nothing", "html", "deep list", "deep object", "surrogate", "not utf-8", "nan"],
)
def test_a_body_that_is_no_json_is_an_error_and_not_an_exception(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = ask_raw(head + body)
    assert (answer.status, answer.data) == (200, None)
    assert not answer.ok


def test_an_endless_answer_is_cut_off() -> None:
    async def run() -> Answer:
        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            sent = 0
            try:
                while sent < 100 * MAX_ANSWER_BYTES:
                    await response.write(b" " * 65_536)
                    sent += 65_536
            except ConnectionError:
                pass
            return response

        async with handler_server(endless) as url, Asker(url, seconds=20) as asker:
            return await asker.get("/health")

    answer = asyncio.run(run())
    assert answer.data is None
    assert "larger than" in answer.error


def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    assert probe_answers(answer).kind.value is None
    assert asked
    assert "/elsewhere" not in asked


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5e300,
        "text",
        [],
        [[]],
        [None],
        {},
        {"data": None},
        {"data": [None]},
        {"data": [{}]},
        {"data": [{"id": None}]},
        {"data": [{"id": ["x"]}]},
        {"data": {"id": "x"}},
        {"models": 7},
        {"error": []},
        {"data": [{"id": "gpt-oss", "owned_by": 5, "max_model_len": "many", "status": 3}]},
        {"default_generation_settings": 7, "total_slots": [], "chat_template": {"a": 1}},
        {"model_path": "m", "data": [{"id": "gpt-oss"}], "architectures": 5},
        {"version": "0.30", "models": [{"model": "gpt-oss", "details": 7}]},
        {"all_models_loaded": [3, {"model_name": 3, "backend_url": "http://["}], "data": [{}]},
        {"role": "router", "data": [{"id": "gpt-oss", "status": {"value": "loaded"}}]},
    ],
    ids=repr,
)
def test_the_same_nonsense_from_every_route_never_raises(value: Any) -> None:
    report = probe_answers(lambda request: web.json_response(value))
    assert not any(model.usable and model.loaded for model in report.models)


def test_a_route_that_is_not_there_refutes_what_is_usual() -> None:
    class Chatty(FakeLlamaServer):
        async def completion(self, request: web.Request) -> web.StreamResponse:
            raise web.HTTPNotFound

    report = probed(Chatty())
    (model,) = report.models
    assert model.gpt_oss.value
    assert not model.usable
    assert model.reading.reason.startswith("/completion: status 404")


def test_a_server_that_says_yes_to_everything_is_not_usable() -> None:
    everything = {
        "status": "ok",
        "version": "9",
        "role": "router",
        "total_slots": 4,
        "tokens": [200005],
        "choices": [{"text": 5, "token_ids": "200005", "logprobs": []}],
        "content": ["<|channel|>"],
        "data": [{"id": "gpt-oss", "status": {"value": "loaded"}, "recipe": "llamacpp"}],
        "models": [],
        "all_models_loaded": [],
    }
    report = probe_answers(lambda request: web.json_response(everything))
    assert report.kind.value == "lemonade"
    assert report.models[0].gpt_oss.value
    assert not report.models[0].loaded


def test_thousands_of_models_are_a_bounded_list_of_bounded_names() -> None:
    names = [{"id": f"{'x' * 2000}{i}", "object": "model"} for i in range(1500)]
    models = [{"id": f"m{i}", "object": "model"} for i in range(1500)]
    listed = {"data": models + names}

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            return web.json_response(listed)
        return web.Response(status=404)

    report = probe_answers(answer)
    assert len(report.models) == 1000
    assert max(len(model.id) for model in report.models) <= 512


def test_few_of_many_gpt_oss_models_are_made_to_generate() -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": f"gpt-oss-{i}"} for i in range(100)]})
        asked.append(request.path)
        return web.Response(status=404)

    report = probe_answers(answer)
    assert len(report.models) == 100
    assert 0 < asked.count("/v1/completions") <= 8 * 4


@pytest.mark.parametrize(
    "faults",
    [
        Faults(status=500),
        Faults(status=429),
        Faults(status=500, body="<h1>no</h1>"),
        Faults(die_after=0),
        Faults(die_after=2),
        Faults(garbage=0),
        Faults(error=1),
        Faults(early_end=0),
        Faults(half_frame=0),
        Faults(huge_line=0),
    ],
    ids=str,
)
def test_a_trial_that_fails_falls_back_to_what_is_usual_and_says_why(faults: Faults) -> None:
    report = probed(FakeVllm(faults=faults))
    (model,) = report.models
    assert model.reading.value == "ids"
    assert model.reading.reason.startswith("usual for vllm; /v1/completions: ")
    assert len(model.reading.reason) < 1000


def test_a_trial_that_hangs_ends_with_the_probes_time() -> None:
    report = probed(FakeLlamaServer(faults=Faults(hang=1)), timeout=2.0)
    (model,) = report.models
    assert model.reading.reason.startswith("usual for llama.cpp; /completion: no answer within")


def test_a_backend_elsewhere_is_not_followed() -> None:
    for url in ("http://169.254.169.254/v1", "http://other.example:8001/v1", "file:///etc/passwd"):
        report = probed(FakeLemonade(backend_url=url))
        (model,) = report.models
        assert model.url is None
        assert model.dialect == "lemonade"


def test_a_backend_on_the_same_computer_is_used_and_does_not_get_the_key() -> None:
    async def run() -> tuple[ProbeReport, FakeLlamaServer]:
        async with (
            FakeLlamaServer() as backend,
            FakeLemonade(backend_url=f"{backend.url}/v1", api_key="k") as engine,
        ):
            return await probe(engine.url, api_key="k"), backend

    report, backend = asyncio.run(run())
    (model,) = report.models
    assert (model.url, model.dialect, model.reading.value) == (backend.url, "llama.cpp", "hybrid")
    assert backend.completions
    assert not any("Authorization" in request.headers for request in backend.requests)


def test_what_an_error_says_is_kept_short() -> None:
    body = json.dumps({"error": {"message": "x" * 100_000}}).encode()
    head = b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = ask_raw(head + body)
    assert answer.status == 500
    assert len(answer.error) < 600


KEYS = (
    "data models id model name owned_by status value role router total_slots chat_template tokens"
    " default_generation_settings n_ctx model_path model_alias version all_models_loaded recipe"
    " arch model_loaded model_name backend_url labels state details family model_info choices text"
    " error token_ids content response thinking message meta_info output_ids logprobs max_model_len"
    " general.architecture loaded_context_length architectures checkpoints recipe_options"
).split()
VALUES = (
    None, True, 0, -1, 1e308, 200005, "", "gpt-oss", "loaded", "router", "ok", "llamacpp", "vllm",
    "http://127.0.0.1:1", "<|channel|>", "analysis", "gptoss",
)  # fmt: skip


def some_json(random: Random, depth: int = 4) -> Any:
    kind = random.randrange(4 if depth else 1)
    if kind == 0:
        return random.choice(VALUES)
    size = random.randrange(6)
    if kind == 1:
        return [some_json(random, depth - 1) for _ in range(size)]
    return {random.choice(KEYS): some_json(random, depth - 1) for _ in range(2 * size)}


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_answers_at_random_never_raises(seed: int) -> None:
    random = Random(seed)

    async def run() -> list[ProbeReport]:
        async def handler(request: web.Request) -> web.StreamResponse:
            status = random.choice((200, 200, 200, 404, 401, 503))
            if random.random() < 0.2:
                events = [some_json(random) for _ in range(random.randrange(5))]
                body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
                return web.Response(text=body, content_type="text/event-stream", status=status)
            return web.json_response(some_json(random), status=status)

        async with handler_server(handler) as url:
            return [
                await probe(url, timeout=10, kind=random.choice((None, *KINDS))) for _ in range(40)
            ]

    reports = asyncio.run(run())
    assert len({report.kind.value for report in reports}) > 4
    for report in reports:
        assert json.loads(msgspec.json.encode(report))["url"]
