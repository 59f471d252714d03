"""A sink takes events where they arrive; the turn is the same with it and without."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codec.reading import encode
from tests.turn.test_turn_properties import REQUESTS, SCRIPTS
from tests.turn.turning import READINGS, LimitedEngine, Told, asked, told, turn

from antiphon.api.errors import ApiError
from antiphon.api.turn import PartDelta, TurnEvent, TurnRequest
from antiphon.engines.protocol import Chunk, CompletionRequest, Reading, says_something
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore
from antiphon.turn.engine import TurnRunner
from antiphon.turn.pushing import EventSink
from antiphon.vocab.control import RETURN

ANSWER = "<|channel|>final<|message|>one two three four five<|return|>"


class PushingEngine(LimitedEngine):
    """Pushes what it may; ``pushed`` and ``given_on`` count the batches that went either way."""

    pushed = given_on = 0

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        begun = False
        async for chunks in super().complete(request):
            left: Sequence[Chunk] | None = chunks
            if request.push is not None and begun and not chunks[-1].finish:
                self.pushed += 1
                left = request.push(chunks)
            if left is not None:
                self.given_on += 1
                yield left
            begun = begun or says_something(chunks)


def played(
    engine: LimitedEngine,
    request: TurnRequest,
    sink: Callable[[list[TurnEvent]], EventSink],
) -> list[TurnEvent]:
    """The turn's events in the order in which they came, by either way."""
    events: list[TurnEvent] = []
    ids = itertools.count(1)
    runner = TurnRunner(
        engine, settings=Settings(), store=MemoryStore(), new_id=lambda: f"call_{next(ids)}"
    )

    async def run() -> None:
        async with aclosing(runner.run(request, sink=sink(events))) as batches:
            async for batch in batches:
                events.extend(batch)

    asyncio.run(run())
    return events


def taking(answers: Iterator[bool]) -> Callable[[list[TurnEvent]], EventSink]:
    """A sink that takes everything, and asks for a wake-up when the next of these is False."""

    def make(events: list[TurnEvent]) -> EventSink:
        def sink(batch: Sequence[TurnEvent]) -> bool:
            events.extend(batch)
            return next(answers)

        return sink

    return make


def outcome(work: Callable[[], Told]) -> tuple[object, ...]:
    try:
        result = work()
    except ApiError as error:
        return (error.status, error.code)
    return (result.parts, result.codes, result.end)


@given(
    st.lists(SCRIPTS, min_size=1, max_size=3),
    REQUESTS,
    st.sampled_from(READINGS),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.lists(st.booleans(), min_size=1, max_size=20),
)
@settings(deadline=None, max_examples=150)
def test_a_turn_is_the_same_with_a_sink(
    scripts: list[list[int]],
    request: TurnRequest,
    reading: Reading,
    sizes: list[int],
    answers: list[bool],
) -> None:
    def engine(kind: type[LimitedEngine]) -> LimitedEngine:
        made = kind([*scripts, [RETURN], [RETURN]], reading=reading, chunking=tuple(sizes))
        made.given = {"grammar": None}
        return made

    plain = outcome(lambda: turn(engine(LimitedEngine), request))
    sink = taking(itertools.cycle(answers))
    assert outcome(lambda: told(played(engine(PushingEngine), request, sink))) == plain


def saying(script: str) -> PushingEngine:
    engine = PushingEngine([encode(script)], reading="ids")
    engine.given = {"grammar": None}
    return engine


def text_of(events: Sequence[TurnEvent]) -> str:
    return "".join([event.text for event in events if isinstance(event, PartDelta)])


def test_nobody_is_woken_for_a_token() -> None:
    engine = saying(ANSWER)
    events = played(engine, asked(), taking(itertools.repeat(True)))
    assert text_of(events) == "one two three four five"
    assert engine.pushed > 5
    assert engine.given_on == 3  # what it began with, a word that it is over, and the finish


@pytest.mark.parametrize(
    "fault", [ApiError("no", status=418, code="teapot"), RuntimeError("a bug"), OSError("gone")]
)
def test_what_goes_wrong_in_a_sink_is_raised_where_the_turn_runs(fault: Exception) -> None:
    def sink(_: Sequence[TurnEvent]) -> bool:
        raise fault

    with pytest.raises(type(fault)) as raised:
        played(saying(ANSWER), asked(), lambda _: sink)
    assert raised.value is fault


def test_a_stop_string_ends_the_engines_work_at_once() -> None:
    engine = saying(ANSWER)
    events = played(engine, asked(stop=("three",)), taking(itertools.repeat(True)))
    assert text_of(events) == "one two "
    assert engine.pushed == len(["final", "<|message|>", "one", " two", " three"])
