"""A turn's time limits, its end before its end, and engines that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from tests.turn.turning import asked, refused, scripted, turn

from antiphon.api.errors import ApiError
from antiphon.api.turn import PartDelta, TurnEnd, TurnEvent
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Reading,
    Usage,
)
from antiphon.errors import EngineError
from antiphon.settings.model import Settings, TurnSettings
from antiphon.store.memory import MemoryStore
from antiphon.turn.engine import TurnRunner
from antiphon.vocab.control import CALL, RETURN

HEADER = "<|channel|>final<|message|>"
DONE = Finish(FinishReason.STOP, RETURN, Usage(prompt_tokens=1, completion_tokens=2))


class SmallEngine:
    """Sends what a function yields, and knows whether it was told to stop."""

    name = "small engine"

    def __init__(
        self,
        send: Callable[[], AsyncGenerator[Sequence[Chunk], None]],
        reading: Reading = "marked",
    ) -> None:
        self.capabilities = Capabilities(reading=reading, prompt_ids=True)
        self.stopped = asyncio.Event()
        self._send = send

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        try:
            async for chunks in self._send():
                yield chunks
        finally:
            self.stopped.set()

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def header_then_silence() -> AsyncGenerator[Sequence[Chunk], None]:
    yield (Chunk(text=HEADER + "x"),)
    await asyncio.Event().wait()


async def endless() -> AsyncGenerator[Sequence[Chunk], None]:
    yield (Chunk(text=HEADER),)
    number = 0
    while True:
        await asyncio.sleep(0)
        number += 1
        yield (Chunk(text=f"{number} "),)


async def alive_for_ever() -> AsyncGenerator[Sequence[Chunk], None]:
    while True:
        await asyncio.sleep(0)
        yield ()


def run_on(engine: SmallEngine, **limits: float) -> AsyncGenerator[Sequence[TurnEvent], None]:
    settings = Settings(turn=TurnSettings(**limits))  # type: ignore[arg-type]
    runner = TurnRunner(engine, settings=settings, store=MemoryStore(), new_id=lambda: "id")
    return runner.run(asked())


async def collect(
    batches: AsyncGenerator[Sequence[TurnEvent], None], seen: list[TurnEvent]
) -> None:
    async for batch in batches:
        seen += batch


def test_a_silent_engine_is_given_up_and_told() -> None:
    async def run() -> None:
        engine = SmallEngine(header_then_silence)
        seen: list[TurnEvent] = []
        with pytest.raises(ApiError) as raised:
            await collect(run_on(engine, idle_seconds=0.01), seen)
        assert (raised.value.status, raised.value.code) == (504, "engine_timeout")
        assert engine.stopped.is_set()
        assert any(isinstance(event, PartDelta) for event in seen)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    asyncio.run(run())


def test_an_engine_has_more_time_to_read_its_prompt_than_between_tokens() -> None:
    gate = asyncio.Event()

    async def reads_then_hangs() -> AsyncGenerator[Sequence[Chunk], None]:
        yield ()
        await gate.wait()
        yield (Chunk(text=HEADER + "a"),)
        await asyncio.Event().wait()

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.1, gate.set)
        seen: list[TurnEvent] = []
        turn = run_on(
            SmallEngine(reads_then_hangs), idle_seconds=0.01, prompt_tokens_per_second=0.001
        )
        with pytest.raises(ApiError, match=r"nothing for 0\.01 s") as raised:
            await collect(turn, seen)
        assert raised.value.code == "engine_timeout"
        assert any(isinstance(event, PartDelta) for event in seen)

    asyncio.run(run())


def test_an_engine_that_never_begins_is_given_up_by_the_length_of_its_prompt() -> None:
    async def never() -> AsyncGenerator[Sequence[Chunk], None]:
        yield ()
        await asyncio.Event().wait()

    async def run() -> None:
        engine = SmallEngine(never)
        with pytest.raises(ApiError) as raised:
            await collect(run_on(engine, idle_seconds=0.01, prompt_tokens_per_second=10_000.0), [])
        assert (raised.value.status, raised.value.code) == (504, "engine_timeout")
        assert engine.stopped.is_set()

    asyncio.run(run())


@pytest.mark.parametrize("send", [endless, alive_for_ever, header_then_silence])
def test_a_turn_that_takes_too_long_is_ended(
    send: Callable[[], AsyncGenerator[Sequence[Chunk], None]],
) -> None:
    async def run() -> None:
        engine = SmallEngine(send)
        with pytest.raises(ApiError) as raised:
            async for _ in run_on(engine, seconds=0.02, idle_seconds=5.0):
                pass
        assert (raised.value.status, raised.value.code) == (504, "turn_timeout")
        assert engine.stopped.is_set()

    asyncio.run(run())


def test_a_slow_client_is_not_the_engines_silence() -> None:
    async def two_words() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk(text=HEADER + "a"),)
        yield (Chunk(text="b", finish=DONE),)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ends: list[TurnEnd] = []
        async for batch in run_on(SmallEngine(two_words), idle_seconds=0.001):
            ends += [event for event in batch if isinstance(event, TurnEnd)]
            later = loop.create_future()
            loop.call_later(0.003, later.set_result, None)
            await later
        assert [end.finish_reason for end in ends] == ["stop"]

    asyncio.run(run())


def test_closing_the_turn_stops_the_engine() -> None:
    async def run() -> None:
        engine = SmallEngine(endless)
        batches = run_on(engine)
        async for batch in batches:
            if any(isinstance(event, PartDelta) for event in batch):
                break
        await batches.aclose()
        assert engine.stopped.is_set()

    asyncio.run(run())


def test_cancelling_the_task_stops_the_engine() -> None:
    async def run() -> None:
        engine = SmallEngine(header_then_silence)
        started = asyncio.Event()

        async def consume() -> None:
            async for _ in run_on(engine):
                started.set()

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.stopped.is_set()

    asyncio.run(run())


def test_an_engine_that_goes_on_after_its_stop_token_is_stopped() -> None:
    async def run_on_and_on() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk(text=HEADER + "a<|return|>"),)
        while True:
            yield (Chunk(text="<|start|>user<|message|>more"),)

    async def run() -> None:
        engine = SmallEngine(run_on_and_on)
        events = [event async for batch in run_on(engine) for event in batch]
        assert isinstance(events[-1], TurnEnd)
        assert [m.text for m in events[-1].messages] == ["a"]
        assert engine.stopped.is_set()

    asyncio.run(run())


def test_an_engine_that_ends_without_saying_so_has_failed() -> None:
    async def half() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk(text=HEADER + "a"),)

    async def run() -> None:
        with pytest.raises(ApiError) as raised:
            async for _ in run_on(SmallEngine(half)):
                pass
        assert (raised.value.status, raised.value.type) == (502, "engine_error")

    asyncio.run(run())


def test_an_engines_error_reaches_the_client_in_its_own_shape() -> None:
    async def broken() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk(text=HEADER + "a"),)
        raise EngineError("the engine is on fire")

    async def run() -> None:
        with pytest.raises(ApiError, match="on fire") as raised:
            async for _ in run_on(SmallEngine(broken)):
                pass
        assert raised.value.status == 502

    asyncio.run(run())


def test_an_engine_that_hangs_after_its_end_does_not_spoil_the_turn() -> None:
    async def hangs() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk(text=HEADER + "a", finish=DONE),)
        await asyncio.Event().wait()

    async def run() -> None:
        engine = SmallEngine(hangs)
        events = [e async for batch in run_on(engine, idle_seconds=0.01) for e in batch]
        assert isinstance(events[-1], TurnEnd)
        assert engine.stopped.is_set()

    asyncio.run(run())


def test_a_stop_token_that_the_engine_only_names_ends_a_call() -> None:
    async def unsaid() -> AsyncGenerator[Sequence[Chunk], None]:
        finish = Finish(FinishReason.STOP, CALL, Usage(prompt_tokens=1, completion_tokens=9))
        yield (Chunk(text=HEADER + "a"),)
        yield (Chunk(finish=finish),)

    async def run() -> None:
        events = [e async for batch in run_on(SmallEngine(unsaid)) for e in batch]
        end = events[-1]
        assert isinstance(end, TurnEnd)
        assert (end.finish_reason, end.usage.completion_tokens) == ("stop", 9)

    asyncio.run(run())


def test_hybrid_text_that_spells_a_control_token_stays_text() -> None:
    from antiphon.vocab.control import CHANNEL, MESSAGE

    async def spelt() -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk((CHANNEL,), "<|channel|>"), Chunk((17196,), "final"))
        yield (Chunk((MESSAGE,), "<|message|>"), Chunk((1,), "<|end|>", exact=False))
        yield (Chunk((RETURN,), "<|return|>"), Chunk(finish=DONE))

    async def run() -> None:
        engine = SmallEngine(spelt, "hybrid")
        events = [e async for batch in run_on(engine) for e in batch]
        assert [e.text for e in events if isinstance(e, PartDelta)] == ["<|end|>"]

    asyncio.run(run())


def test_stop_strings_beyond_the_limit_are_refused() -> None:
    assert refused(HEADER, asked(stop=("x" * 10_000,))).param == "stop"
    assert refused(HEADER, asked(stop=("",))).param == "stop"


def test_a_refused_prompt_is_the_clients_error() -> None:
    engine = scripted(HEADER, context_length=30)
    engine.given = {"grammar": None, "context_length": None}
    error = refused(engine, asked())
    assert (error.status, error.type) == (400, "invalid_request_error")


def test_an_observer_sees_the_raw_side() -> None:
    seen: list[object] = []

    class Observer:
        def prompted(self, prompt: Sequence[int], reading: Reading, *, grammar: bool) -> None:
            seen.append((len(prompt) > 0, reading, grammar))

        def received(self, chunks: Sequence[Chunk]) -> None:
            seen.extend([token for chunk in chunks for token in chunk.tokens])

        def decided(self, what: str, why: str) -> None:
            seen.append(what)

    engine = scripted("<|channel|>analysis<|message|><|return|>", "x<|return|>")
    runner = TurnRunner(
        engine,
        settings=Settings(),
        store=MemoryStore(),
        new_id=lambda: "id",
        observer=Observer(),
    )
    turn(engine, runner=runner)
    assert seen[0] == (True, "ids", False)
    assert seen.count((True, "ids", False)) == 2
    assert "silent-turn" in seen
    assert seen.count(RETURN) == 2
