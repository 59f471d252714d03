"""Several answers to one request at the same time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from tests.turn.turning import LimitedEngine, asked, scripted

from antiphon.api.errors import ApiError
from antiphon.api.turn import PartDelta, Sampling, TurnEnd, TurnEvent, TurnUsage
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore
from antiphon.turn.choices import run_choices, summed
from antiphon.turn.engine import TurnRunner
from antiphon.turn.prompt import renderer

ANSWER = "<|channel|>final<|message|>one two three four<|return|>"


def runner_on(engine: LimitedEngine) -> TurnRunner:
    return TurnRunner(engine, settings=Settings(), store=MemoryStore(), new_id=lambda: "id")


async def gathered(
    engine: LimitedEngine, n: int, seed: int | None = None
) -> list[tuple[int, TurnEvent]]:
    request = asked(sampling=Sampling(seed=seed))
    async with aclosing(run_choices(runner_on(engine), request, n)) as batches:
        return [(index, event) async for index, batch in batches for event in batch]


def test_choices_run_at_the_same_time_and_keep_their_order() -> None:
    renderer()  # the first prompt of a process is rendered in a thread
    events = asyncio.run(gathered(scripted(*[ANSWER] * 3), 3))
    for i in range(3):
        deltas = [e.text for index, e in events if index == i and isinstance(e, PartDelta)]
        assert deltas == ["one", " two", " three", " four"]
    ends = [index for index, event in events if isinstance(event, TurnEnd)]
    first_end = next(i for i, (_, event) in enumerate(events) if isinstance(event, TurnEnd))
    assert sorted(ends) == [0, 1, 2]
    assert {index for index, _ in events[:first_end]} == {0, 1, 2}


def test_a_seed_counts_up_over_the_choices() -> None:
    engine = scripted(*[ANSWER] * 3)
    asyncio.run(gathered(engine, 3, seed=7))
    assert sorted(request.seed or 0 for request in engine.requests) == [7, 8, 9]


def test_one_choice_needs_no_task() -> None:
    async def run() -> None:
        before = asyncio.all_tasks()
        async with aclosing(run_choices(runner_on(scripted(ANSWER)), asked(), 1)) as batches:
            async for index, _ in batches:
                assert index == 0
                assert asyncio.all_tasks() == before

    asyncio.run(run())


def test_a_choice_that_fails_ends_all_of_them() -> None:
    async def run() -> None:
        with pytest.raises(ApiError):
            await gathered(scripted(ANSWER), 3)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_closing_stops_every_choice() -> None:
    async def run() -> None:
        batches = run_choices(runner_on(scripted(*[ANSWER] * 3)), asked(), 3)
        await batches.__anext__()
        await batches.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_the_prompt_counts_once_and_completions_add_up() -> None:
    usage = TurnUsage(
        prompt_tokens=10, cached_tokens=4, completion_tokens=3, reasoning_tokens=1, completions=1
    )
    assert summed([usage, usage]) == TurnUsage(
        prompt_tokens=10, cached_tokens=4, completion_tokens=6, reasoning_tokens=2, completions=2
    )
    assert summed([]) == TurnUsage(completions=0)
