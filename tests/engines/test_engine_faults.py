"""Every adapter against its engine going wrong: an error or an end, and the next request works."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from tests.engines.adapters import ADAPTERS, Adapter
from tests.engines.chunks import text_of, tokens_of
from tests.fakes.wire import HELLO, FakeEngine, Faults, ids_of

from antiphon.engines.http import HttpEngine
from antiphon.engines.protocol import Chunk, CompletionRequest
from antiphon.errors import EngineError
from antiphon.vocab.control import START

PROMPT = ids_of("<|start|>user<|message|>Hi<|end|><|start|>assistant")
T = TypeVar("T")


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


def against(
    adapter: Adapter,
    faults: Faults,
    body: Callable[[HttpEngine, FakeEngine], Awaitable[T]],
    **options: float,
) -> T:
    async def run() -> T:
        async with (
            adapter.fake(HELLO, faults=faults) as fake,
            adapter.engine(fake, **options) as engine,  # type: ignore[arg-type]
        ):
            return await body(engine, fake)

    return asyncio.run(run())


async def collect(engine: HttpEngine) -> list[Chunk]:
    request = CompletionRequest(prompt=PROMPT)
    return [chunk async for chunks in engine.complete(request) for chunk in chunks]


def fails(adapter: Adapter, faults: Faults, match: str, **options: float) -> EngineError:
    """The completion fails; and, the fault gone, the next one succeeds on the same engine."""

    async def body(engine: HttpEngine, fake: FakeEngine) -> EngineError:
        with pytest.raises(EngineError, match=match) as raised:
            await collect(engine)
        await fake.wait_idle()
        fake.faults = Faults()
        assert (await collect(engine))[-1].finish is not None
        await fake.wait_idle()
        return raised.value

    return against(adapter, faults, body, **options)


def test_a_connection_that_dies_half_way_is_an_error(adapter: Adapter) -> None:
    assert fails(adapter, Faults(die_after=3), "broke off|cannot reach").status_hint == 502


def test_a_connection_that_dies_before_the_first_token_is_an_error(adapter: Adapter) -> None:
    assert fails(adapter, Faults(die_after=0), "broke off|cannot reach").status_hint == 502


def test_an_end_without_the_last_event_is_an_error(adapter: Adapter) -> None:
    error = fails(adapter, Faults(early_end=3), "the stream ended before its last event")
    assert error.status_hint == 502


def test_half_an_event_at_the_end_is_an_error(adapter: Adapter) -> None:
    assert fails(adapter, Faults(half_frame=3), "ended before its last event").status_hint == 502


def test_garbage_is_an_error(adapter: Adapter) -> None:
    assert fails(adapter, Faults(garbage=3), "that is not one").status_hint == 502


def test_an_error_in_the_stream_is_passed_on(adapter: Adapter) -> None:
    error = fails(adapter, Faults(error=3), "gave up: the engine ran out of luck")
    assert error.status_hint == 502


def test_a_line_without_an_end_is_refused_before_it_fills_memory(adapter: Adapter) -> None:
    assert fails(adapter, Faults(huge_line=3), r"(larger|longer) than \d+ bytes").status_hint == 502


def test_silence_ends_by_a_named_limit(adapter: Adapter) -> None:
    error = fails(adapter, Faults(hang=3), r"sent nothing for 0.05 s \(read_timeout\)", **QUICK)
    assert error.status_hint == 502


def test_silence_before_the_first_byte_ends_by_a_named_limit(adapter: Adapter) -> None:
    fails(adapter, Faults(hang_before_headers=True), r"\(read_timeout\)", **QUICK)


QUICK = {"read_timeout": 0.05}


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, 400), (401, 502), (404, 502), (422, 400), (429, 429), (500, 502), (503, 503)],
)
def test_a_refusal_has_the_status_a_client_should_see(
    adapter: Adapter, status: int, hint: int
) -> None:
    error = fails(adapter, Faults(status=status), f"status {status}: the engine refuses on demand")
    assert error.status_hint == hint
    assert error.retry_after is None


def test_when_to_try_again_is_passed_on(adapter: Adapter) -> None:
    faults = Faults(status=429, headers={"Retry-After": "7"})
    assert fails(adapter, faults, "status 429").retry_after == 7.0


def test_a_refusal_in_no_shape_is_shown_in_part(adapter: Adapter) -> None:
    error = fails(adapter, Faults(status=502, body="<h1>Bad Gateway</h1>" + "x" * 10**6), "<h1>Bad")
    assert len(str(error)) < 1000


def test_a_prompt_that_is_too_long_is_told_from_an_engine_that_fails() -> None:
    faults = Faults(status=500, body='{"error":"the prompt exceeds the context length of 4096"}')
    assert fails(ADAPTERS["ollama raw"], faults, "context length").status_hint == 400


def test_going_away_stops_the_engine(adapter: Adapter) -> None:
    async def body(engine: HttpEngine, fake: FakeEngine) -> int:
        generator = engine.complete(CompletionRequest(prompt=PROMPT))
        await anext(generator)
        await generator.aclose()
        async with asyncio.timeout(1):
            await fake.wait_idle()
        return fake.left

    assert against(adapter, Faults(hang=6), body) == 1


def test_cancelling_stops_the_engine(adapter: Adapter) -> None:
    async def body(engine: HttpEngine, fake: FakeEngine) -> int:
        started = asyncio.Event()

        async def endless() -> None:
            async for _ in engine.complete(CompletionRequest(prompt=PROMPT)):
                started.set()

        task = asyncio.create_task(endless())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1):
            await fake.wait_idle()
        return fake.left

    assert against(adapter, Faults(hang=6), body) == 1


def test_cancelling_before_the_first_byte_stops_the_engine(adapter: Adapter) -> None:
    async def body(engine: HttpEngine, fake: FakeEngine) -> int:
        task = asyncio.create_task(collect(engine))
        await fake.wait_busy()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1):
            await fake.wait_idle()
        return fake.left

    assert against(adapter, Faults(hang_before_headers=True), body) == 1


@pytest.mark.slow
def test_twenty_faults_leave_no_task_and_no_connection(adapter: Adapter) -> None:
    kinds = [Faults(die_after=1), Faults(garbage=1), Faults(status=500), Faults(error=2)]

    async def body(engine: HttpEngine, fake: FakeEngine) -> tuple[int, int]:
        for i in range(20):
            fake.faults = kinds[i % len(kinds)]
            with pytest.raises(EngineError):
                await collect(engine)
        await fake.wait_idle()
        await engine.aclose()
        gc.collect()
        ours = [t for t in asyncio.all_tasks() if "antiphon" in repr(t.get_coro())]
        return len(ours), fake.active

    assert against(adapter, Faults(), body) == (0, 0)


def test_a_key_is_sent(adapter: Adapter) -> None:
    async def run(key: str) -> list[Chunk]:
        async with (
            adapter.fake(HELLO, api_key="sesame") as fake,
            adapter.engine(fake, api_key=key) as engine,
        ):
            return await collect(engine)

    assert asyncio.run(run("sesame"))[-1].finish is not None
    with pytest.raises(EngineError, match=r"status 401.*api_key"):
        asyncio.run(run("wrong"))


@pytest.mark.parametrize("name", ["llama.cpp", "mlx-lm"])
def test_an_empty_sequence_says_that_the_engine_reads_the_prompt(name: str) -> None:
    async def run() -> list[Chunk]:
        adapter = ADAPTERS[name]
        comments = {"pings": 3} if name == "llama.cpp" else {"keepalives": 3}
        async with (
            adapter.fake(HELLO, faults=Faults(hang=0), **comments) as fake,
            adapter.engine(fake) as engine,
        ):
            generator = engine.complete(CompletionRequest(prompt=PROMPT))
            first = await anext(generator)
            await generator.aclose()
            return list(first)

    assert asyncio.run(run()) == []


@pytest.mark.parametrize("name", ["llama.cpp", "vllm", "sglang", "sglang incremental"])
def test_a_character_of_several_tokens_is_whole(name: str) -> None:
    script = ids_of("<|channel|>final<|message|>👩‍👩‍👧‍👦 𝔘𝔫𝔦 ❤️‍🔥<|return|>")

    async def run() -> list[Chunk]:
        adapter = ADAPTERS[name]
        async with adapter.fake(script) as fake, adapter.engine(fake) as engine:
            return await collect(engine)

    chunks = asyncio.run(run())
    assert text_of(chunks) == "<|channel|>final<|message|>👩‍👩‍👧‍👦 𝔘𝔫𝔦 ❤️‍🔥<|return|>"
    if name != "llama.cpp":
        assert tokens_of(chunks) == script


def test_a_control_token_after_half_a_character_comes_through_llama_cpp() -> None:
    """Its text completes what a missing byte would have held back for ever."""
    half = ids_of("👋")[:1]
    script = [
        *ids_of("<|channel|>final<|message|>a"),
        *half,
        *ids_of("<|end|><|start|>"),
        *[40] * 3,
    ]

    async def run() -> list[Chunk]:
        adapter = ADAPTERS["llama.cpp"]
        async with adapter.fake(script) as fake, adapter.engine(fake) as engine:
            return await collect(engine)

    chunks = asyncio.run(run())
    exact = [token for chunk in chunks if chunk.exact for token in chunk.tokens]
    assert exact[-5:] == [200_007, START, 40, 40, 40]
    assert "�" in text_of(chunks)
