"""A pool: who serves, what happens when an engine fails, and what everybody is told about it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from antiphon.engines.breaker import Breaker
from antiphon.engines.common import Hybrid, common_reading
from antiphon.engines.pool import Member, Pool
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Reading,
    TokenLogprob,
    Usage,
)
from antiphon.errors import EngineError
from antiphon.vocab.control import CHANNEL, MESSAGE, RETURN

T = TypeVar("T")
DONE = Chunk(finish=Finish(FinishReason.STOP, RETURN, Usage(prompt_tokens=1, completion_tokens=2)))
CAN = Capabilities(
    reading="ids",
    prompt_ids=True,
    grammar="gbnf",
    sampling=frozenset({"temperature", "top_k"}),
    logprobs=20,
    cache_salt=True,
    context_length=8192,
)


def failing(status: int = 502, *, cause: BaseException | None = None) -> EngineError:
    error = EngineError("out of luck")
    error.status_hint = status
    error.__cause__ = cause
    return error


class Fake:
    """An engine that says its name. ``fails`` are raised by the next requests, ``after`` chunks;
    while ``gate`` is given, it waits there after its first chunk.
    """

    def __init__(self, name: str, capabilities: Capabilities = CAN) -> None:
        self.name = name
        self.capabilities = capabilities
        self.fails: list[EngineError | None] = []
        self.after = 0
        self.gate: asyncio.Event | None = None
        self.asked = 0
        self.left = 0
        self.closed = 0

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.asked += 1
        failure = self.fails.pop(0) if self.fails else None
        try:
            yield ()
            for count, chunk in enumerate((Chunk((1,), self.name), Chunk((2,), "."), DONE)):
                if failure is not None and count == self.after:
                    raise failure
                yield (chunk,)
                if self.gate is not None:
                    await self.gate.wait()
        except (GeneratorExit, asyncio.CancelledError):
            self.left += 1
            raise

    async def aclose(self) -> None:
        self.closed += 1


async def ask(pool: Pool, **request: Any) -> str:
    given = CompletionRequest(prompt=[1], **request)
    return "".join([c.text async for chunks in pool.complete(given) for c in chunks])


def within(body: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        async with asyncio.timeout(20):
            return await body()

    return asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    """Let the others run until this is so."""
    for _ in range(10_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never became so")


async def first_piece(pool: Pool, **request: Any) -> AsyncGenerator[Sequence[Chunk], None]:
    """A completion that has said something and goes on."""
    stream = pool.complete(CompletionRequest(prompt=[1], **request))
    async for chunks in stream:
        if chunks:
            return stream
    raise AssertionError("it said nothing")


# Who serves.


def test_requests_one_after_another_take_turns() -> None:
    async def body() -> list[str]:
        pool = Pool([Member(Fake("a")), Member(Fake("b")), Member(Fake("c"))])
        return [await ask(pool) for _ in range(6)]

    assert within(body) == ["a.", "b.", "c."] * 2


def test_requests_at_a_time_are_shared_by_weight() -> None:
    async def body() -> dict[str, int]:
        a, b = Fake("a"), Fake("b")
        a.gate = b.gate = asyncio.Event()
        pool = Pool([Member(a, weight=3.0), Member(b, weight=1.0)])
        streams = [await first_piece(pool) for _ in range(8)]
        busy = {health.name: health.busy for health in pool.health()}
        for stream in streams:
            await stream.aclose()
        assert [health.busy for health in pool.health()] == [0, 0]
        assert (a.left, b.left) == (6, 2)
        return busy

    assert within(body) == {"a": 6, "b": 2}


def test_a_conversation_stays_with_the_engine_that_served_it() -> None:
    async def body() -> None:
        pool = Pool([Member(Fake("a")), Member(Fake("b"))])
        first = await ask(pool, affinity="x")
        other = await ask(pool, affinity="y")
        assert {first, other} == {"a.", "b."}
        for _ in range(5):
            assert await ask(pool, affinity="x") == first
            assert await ask(pool, affinity="y") == other

    within(body)


def test_a_conversation_moves_when_its_engine_fails_or_is_full_and_stays_where_it_went() -> None:
    async def body() -> None:
        a, b = Fake("a"), Fake("b")
        pool = Pool([Member(a, concurrent=1), Member(b)])
        assert await ask(pool, affinity="x") == "a."
        a.fails = [failing()]
        assert await ask(pool, affinity="x") == "b."
        assert await ask(pool, affinity="x") == "b."
        assert await ask(pool, affinity="z") == "a."
        a.gate = asyncio.Event()
        held = await first_piece(pool, affinity="z")
        assert await ask(pool, affinity="z") == "b."
        await held.aclose()

    within(body)


def test_no_more_conversations_are_remembered_than_was_said() -> None:
    async def body() -> None:
        pool = Pool([Member(Fake("a")), Member(Fake("b"))], affinities=2)
        for name in ("x", "y", "z"):
            await ask(pool, affinity=name)
        # x was served by a, and is forgotten: the next in turn is b.
        assert await ask(pool, affinity="x") == "b."

    within(body)


def test_full_engines_are_waited_for_in_order() -> None:
    async def body() -> list[int]:
        engine = Fake("a")
        engine.gate = asyncio.Event()
        pool = Pool([Member(engine, concurrent=2)])
        done: list[int] = []

        async def one(number: int) -> None:
            await ask(pool)
            done.append(number)

        tasks = [asyncio.create_task(one(i)) for i in range(7)]
        await until(lambda: engine.asked == 2)
        assert pool.health()[0].busy == 2
        engine.gate.set()
        await asyncio.gather(*tasks)
        assert pool.health()[0].busy == 0
        return done

    assert within(body) == list(range(7))


def test_one_who_gives_up_waiting_does_not_keep_the_place_from_the_next() -> None:
    async def body() -> str:
        engine = Fake("a")
        engine.gate = asyncio.Event()
        pool = Pool([Member(engine, concurrent=1)])
        held = await first_piece(pool)
        impatient = asyncio.create_task(ask(pool))
        patient = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        engine.gate.set()
        await held.aclose()  # wakes the impatient, who is cancelled before it runs
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        return await patient

    assert within(body) == "a."


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"wait_seconds": 0.01}, "no place became free"), ({"waiting": 0}, "every engine is full")],
)
def test_waiting_has_its_limits(limits: dict[str, Any], said: str) -> None:
    async def body() -> None:
        engine = Fake("a")
        engine.gate = asyncio.Event()
        pool = Pool([Member(engine, concurrent=1)], **limits)
        held = await first_piece(pool)
        with pytest.raises(EngineError, match=said) as refused:
            await ask(pool)
        assert refused.value.status_hint == 503
        await held.aclose()
        engine.gate = None
        assert await ask(pool) == "a."

    within(body)


# What happens when an engine fails.


def test_a_failure_before_the_first_token_is_mended_by_another_engine() -> None:
    async def body() -> None:
        a, b = Fake("a"), Fake("b")
        a.fails = [failing()]
        pool = Pool([Member(a), Member(b)])
        assert await ask(pool) == "b."
        assert (a.asked, b.asked) == (1, 1)
        assert [(h.failed, h.served) for h in pool.health()] == [(1, 0), (0, 1)]
        assert pool.health()[0].last_error == "out of luck"

    within(body)


def test_a_failure_after_the_first_token_is_the_clients_to_see() -> None:
    async def body() -> None:
        a, b = Fake("a"), Fake("b")
        a.fails, a.after = [failing()], 1
        pool = Pool([Member(a), Member(b)])
        with pytest.raises(EngineError, match="out of luck"):
            await ask(pool)
        assert b.asked == 0
        assert [h.busy for h in pool.health()] == [0, 0]

    within(body)


def test_when_every_engine_fails_the_last_error_is_raised_and_each_was_asked_once() -> None:
    async def body() -> None:
        engines = [Fake(name) for name in "abc"]
        for engine in engines:
            engine.fails = [failing(504)] * 2
        pool = Pool([Member(engine) for engine in engines])
        with pytest.raises(EngineError) as failed:
            await ask(pool)
        assert failed.value.status_hint == 504
        assert [engine.asked for engine in engines] == [1, 1, 1]

    within(body)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_the_request_is_no_failure_and_not_tried_elsewhere(status: int) -> None:
    async def body() -> None:
        a, b = Fake("a"), Fake("b")
        a.fails = [failing(status)] * 20
        pool = Pool([Member(a), Member(b)], failures=1)
        with pytest.raises(EngineError):
            await ask(pool)
        assert b.asked == 0
        assert [(h.state, h.failed, h.failures) for h in pool.health()] == [("closed", 0, 0)] * 2

    within(body)


def test_a_busy_engine_is_no_failed_one_but_another_is_asked() -> None:
    async def body() -> None:
        a, b = Fake("a"), Fake("b")
        a.fails = [failing(429)]
        pool = Pool([Member(a), Member(b)], failures=1)
        assert await ask(pool) == "b."
        assert pool.health()[0].state == "closed"

    within(body)


@pytest.mark.parametrize(
    "cause", [OSError(errno.ECONNRESET, "reset"), OSError(errno.EPIPE, "pipe")]
)
def test_a_dropped_connection_is_tried_once_more_on_the_same_engine(cause: Exception) -> None:
    async def body() -> None:
        engine = Fake("a")
        engine.fails = [failing(cause=cause)]
        pool = Pool([Member(engine)], failures=1)
        assert await ask(pool) == "a."
        assert pool.health()[0].failed == 0
        engine.fails = [failing(cause=cause), failing(cause=cause)]
        with pytest.raises(EngineError):
            await ask(pool)
        assert engine.asked == 4

    within(body)


def test_a_refused_connection_is_not_taken_for_a_dropped_one() -> None:
    async def body() -> None:
        engine = Fake("a")
        engine.fails = [failing(cause=OSError(errno.ECONNREFUSED, "refused"))]
        with pytest.raises(EngineError):
            await ask(Pool([Member(engine)]))
        assert engine.asked == 1

    within(body)


def test_an_engine_that_keeps_failing_is_left_alone_then_tried_then_trusted() -> None:
    async def body() -> None:
        now = 0.0
        a = Fake("a")
        a.fails = [failing()] * 4
        pool = Pool([Member(a)], failures=3, open_seconds=5, clock=lambda: now)
        for _ in range(3):
            with pytest.raises(EngineError, match="out of luck"):
                await ask(pool)
        assert pool.health()[0].state == "open"
        assert not pool.available
        with pytest.raises(EngineError, match=r"no engine is available.*out of luck") as refused:
            await ask(pool)
        assert (refused.value.status_hint, refused.value.retry_after) == (503, 5)
        assert a.asked == 3
        now = 5.0
        assert pool.health()[0].state == "half-open"
        with pytest.raises(EngineError):
            await ask(pool)
        assert pool.health()[0].retry_seconds == 10  # twice as long
        now = 15.0
        assert await ask(pool) == "a."
        assert (pool.health()[0].state, pool.health()[0].failures) == ("closed", 0)

    within(body)


def test_half_open_one_request_tries_while_others_go_elsewhere() -> None:
    async def body() -> None:
        now = 0.0
        a, b = Fake("a"), Fake("b")
        a.fails = [failing()]
        pool = Pool([Member(a), Member(b)], failures=1, open_seconds=1, clock=lambda: now)
        assert await ask(pool) == "b."
        now = 1.0
        trial = pool.complete(CompletionRequest(prompt=[1]))
        assert await anext(trial) == ()  # nothing but a sign of life yet
        assert a.asked == 2
        assert [await ask(pool) for _ in range(3)] == ["b."] * 3
        await anext(trial)
        assert pool.health()[0].state == "closed"
        assert await ask(pool) == "b."
        await trial.aclose()

    within(body)


def test_a_trial_that_is_abandoned_leaves_room_for_another() -> None:
    async def body() -> None:
        now = 0.0
        a = Fake("a")
        a.fails = [failing()]
        pool = Pool([Member(a)], failures=1, open_seconds=1, clock=lambda: now)
        with pytest.raises(EngineError):
            await ask(pool)
        now = 1.0
        trial = pool.complete(CompletionRequest(prompt=[1]))
        await anext(trial)
        await trial.aclose()
        assert await ask(pool) == "a."

    within(body)


def test_one_that_always_dies_in_the_middle_is_left_alone_too() -> None:
    async def body() -> None:
        engine = Fake("a")
        engine.fails, engine.after = [failing()] * 9, 1
        pool = Pool([Member(engine)], failures=3)
        for _ in range(3):
            with pytest.raises(EngineError):
                await ask(pool)
        assert pool.health()[0].state == "open"

    within(body)


def test_a_check_brings_an_engine_back_before_its_time() -> None:
    async def body() -> None:
        up = False

        async def check() -> bool:
            return up

        a = Fake("a")
        a.fails = [failing()]
        pool = Pool([Member(a, check=check)], failures=1, open_seconds=1e9)
        with pytest.raises(EngineError):
            await ask(pool)
        await pool.check()
        assert pool.health()[0].state == "open"
        up = True
        watching = asyncio.create_task(pool.watch(0))
        await until(lambda: pool.available)
        watching.cancel()
        assert await ask(pool) == "a."

    within(body)


def test_going_away_reaches_the_engine_and_counts_as_nothing() -> None:
    async def body() -> None:
        engine = Fake("a")
        engine.gate = asyncio.Event()
        pool = Pool([Member(engine)], failures=1)
        await (await first_piece(pool)).aclose()
        assert engine.left == 1
        task = asyncio.create_task(ask(pool))
        await until(lambda: engine.asked == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        health = pool.health()[0]
        assert (engine.left, health.busy, health.failed, health.state) == (2, 0, 0, "closed")

    within(body)


def test_empty_sequences_are_handed_on_as_signs_of_life() -> None:
    async def body() -> list[Sequence[Chunk]]:
        pool = Pool([Member(Fake("a"))])
        return [chunks async for chunks in pool.complete(CompletionRequest(prompt=[1]))]

    assert within(body)[0] == ()


# What they can do together.


def test_its_capabilities_are_what_every_engine_has() -> None:
    other = Capabilities(
        reading="hybrid",
        prompt_ids=True,
        grammar="structural_tag",
        sampling=frozenset({"temperature", "seed"}),
        logprobs=5,
        context_length=4096,
    )
    pool = Pool([Member(Fake("a")), Member(Fake("b", other))])
    assert pool.capabilities == Capabilities(
        reading="hybrid",
        prompt_ids=True,
        grammar=None,
        sampling=frozenset({"temperature"}),
        logprobs=5,
        context_length=4096,
    )
    assert Pool([Member(Fake("a")), Member(Fake("b"))]).capabilities == CAN
    assert pool.name == "a + b"


@pytest.mark.parametrize(
    ("readings", "common"),
    [
        (["ids"], "ids"),
        (["stripped", "stripped"], "stripped"),
        (["ids", "hybrid"], "hybrid"),
        (["ids", "marked"], "marked"),
        (["hybrid", "marked", "ids"], "marked"),
        (["hybrid", "stripped"], "hybrid"),
    ],
)
def test_the_best_reading_they_have_in_common(readings: list[Reading], common: Reading) -> None:
    assert common_reading(readings) == common


def test_one_whose_text_is_stripped_is_left_out_beside_better_ones() -> None:
    async def body() -> None:
        stripped = Fake("s", Capabilities())
        pool = Pool([Member(stripped), Member(Fake("a"))])
        assert pool.capabilities == CAN
        assert [await ask(pool) for _ in range(3)] == ["a."] * 3
        assert [h.used for h in pool.health()] == [False, True]
        await pool.aclose()
        assert stripped.closed == 1

    within(body)


def test_chunks_with_all_ids_are_cut_up_beside_engines_that_withhold_some() -> None:
    emoji = "👋".encode()
    from antiphon.vocab.tokenizer import default_tokenizer

    ids = default_tokenizer().encode("👋")
    assert len(ids) > 1
    assert emoji
    likely = tuple(TokenLogprob(token, b"", -0.5) for token in (CHANNEL, 17196, MESSAGE, ids[0]))
    chunks = [
        Chunk((CHANNEL, 17196, MESSAGE, ids[0]), "<|channel|>final<|message|>", logprobs=likely),
        Chunk(tuple(ids[1:]), "👋"),
        Chunk((RETURN,), "<|return|>", finish=DONE.finish),
    ]
    pieces = Hybrid().convert(chunks)
    assert [(piece.tokens, piece.text) for piece in pieces] == [
        ((CHANNEL,), "<|channel|>"),
        ((17196,), "final"),
        ((MESSAGE,), "<|message|>"),
        ((ids[0],), ""),
        (tuple(ids[1:]), "👋"),
        ((RETURN,), "<|return|>"),
    ]
    assert [tuple(p.token for p in piece.logprobs) for piece in pieces[:4]] == [
        (CHANNEL,), (17196,), (MESSAGE,), (ids[0],)
    ]  # fmt: skip
    assert [piece.finish for piece in pieces] == [None] * 5 + [DONE.finish]


def test_text_cut_off_by_a_control_token_or_by_the_end_is_not_lost() -> None:
    from antiphon.vocab.tokenizer import default_tokenizer

    half = default_tokenizer().encode("👋")[0]
    pieces = Hybrid().convert([Chunk((half, CHANNEL), "")])
    assert "".join([piece.text for piece in pieces]) == "\ufffd<|channel|>"
    pieces = Hybrid().convert([Chunk((half,), ""), DONE])
    assert "".join([piece.text for piece in pieces]) == "\ufffd"
    assert pieces[-1].finish == DONE.finish


def test_mixed_engines_give_hybrid_chunks() -> None:
    async def body() -> list[Chunk]:
        class Wide(Fake):
            async def complete(
                self, request: CompletionRequest
            ) -> AsyncGenerator[Sequence[Chunk], None]:
                yield (Chunk((CHANNEL, 17196), "<|channel|>final"), DONE)

        hybrid = Capabilities(reading="hybrid", prompt_ids=True)
        pool = Pool([Member(Wide("a")), Member(Fake("b", hybrid))])
        request = CompletionRequest(prompt=[1])
        return [c async for chunks in pool.complete(request) for c in chunks]

    assert [chunk.tokens for chunk in within(body)] == [(CHANNEL,), (17196,), ()]


def test_a_pool_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one member or more"):
        Pool([])
    with pytest.raises(ValueError, match="positive"):
        Pool([Member(Fake("a"), weight=0.0)])


# The breaker alone.


def test_what_began_before_it_opened_cannot_close_it() -> None:
    breaker = Breaker(failures=1, seconds=5, clock=lambda: 0.0)
    assert breaker.admit()
    assert breaker.admit()
    breaker.failed()
    assert breaker.state == "open"
    breaker.succeeded()
    assert breaker.state == "open"
    assert not breaker.admit()


def test_it_is_never_open_longer_than_the_limit() -> None:
    now = 0.0
    breaker = Breaker(failures=1, seconds=5, longest=12, clock=lambda: now)
    lengths = []
    for _ in range(5):
        assert breaker.admit()
        breaker.failed()
        lengths.append(breaker.opens_in)
        now += breaker.opens_in
    assert lengths == [5, 10, 12, 12, 12]
