"""What `antiphon.engines.protocol` promises, over every engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from antiphon.engines.protocol import Chunk, CompletionRequest, Engine, FinishReason
from antiphon.engines.scripted import ScriptedEngine
from antiphon.errors import EngineError
from antiphon.vocab.control import CALL, RETURN
from antiphon.vocab.table import token_bytes
from tests.engines.chunks import tokens_of

CASES = {
    case["name"]: case
    for case in json.loads(
        (Path(__file__).parents[1] / "golden" / "tiny_model.json").read_text(encoding="utf-8")
    )
}
ANSWER, TOOL_CALL, EMOJI = (
    CASES[name] for name in ("add-medium", "weather-medium", "repeat-medium-2")
)
CONTEXT_LENGTH = 4096

T = TypeVar("T")


class Case(NamedTuple):
    """An engine that is about to give these completions, in this order, to greedy requests."""

    make: Callable[[Sequence[Sequence[int]]], Engine]


@pytest.fixture(
    params=["scripted", "scripted in threes", "llama.cpp"],
)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "llama.cpp":
        pytest.importorskip("aiohttp")
        from antiphon.engines.llama_server.client import LlamaServerEngine

        url = request.getfixturevalue("llama_server")
        return Case(lambda scripts: LlamaServerEngine(url))
    chunking = (1,) if request.param == "scripted" else (2, 3)
    return Case(
        lambda scripts: ScriptedEngine(scripts, chunking=chunking, context_length=CONTEXT_LENGTH)
    )


def use(case: Case, scripts: Sequence[Sequence[int]], body: Callable[[Engine], Awaitable[T]]) -> T:
    async def run() -> T:
        engine = case.make(scripts)
        try:
            return await body(engine)
        finally:
            await engine.aclose()

    return asyncio.run(run())


async def collect(engine: Engine, **request: Any) -> list[Chunk]:
    greedy = CompletionRequest(**{"temperature": 0.0, "max_tokens": 400, **request})
    return [chunk async for chunks in engine.complete(greedy) for chunk in chunks]


def complete(case: Case, script: dict[str, Any], **request: Any) -> list[Chunk]:
    return use(
        case,
        [script["completion"]],
        lambda engine: collect(engine, prompt=script["prompt"], **request),
    )


@pytest.mark.parametrize("script", [ANSWER, TOOL_CALL, EMOJI], ids=lambda s: s["name"])
def test_the_chunks_hold_every_token_in_order(case: Case, script: dict[str, Any]) -> None:
    assert tokens_of(complete(case, script)) == script["completion"]


@pytest.mark.parametrize("script", [ANSWER, TOOL_CALL, EMOJI], ids=lambda s: s["name"])
def test_the_texts_are_what_the_tokens_spell(case: Case, script: dict[str, Any]) -> None:
    chunks = complete(case, script)
    spelled = b"".join([token_bytes(token) or b"" for token in script["completion"]])
    assert "".join([chunk.text for chunk in chunks]) == spelled.decode()


def test_the_last_chunk_and_only_it_tells_the_finish(case: Case) -> None:
    *others, last = complete(case, ANSWER)
    assert all(chunk.finish is None for chunk in others)
    assert last.finish is not None
    assert last.finish.usage.prompt_tokens == len(ANSWER["prompt"])
    assert last.finish.usage.completion_tokens == len(ANSWER["completion"])


@pytest.mark.parametrize(("script", "stop"), [(ANSWER, RETURN), (TOOL_CALL, CALL)])
def test_the_stop_token_tells_an_answer_from_a_call(
    case: Case, script: dict[str, Any], stop: int
) -> None:
    finish = complete(case, script)[-1].finish
    assert finish is not None
    assert (finish.reason, finish.stop_token) == (FinishReason.STOP, stop)


def test_the_limit_ends_a_completion_with_no_stop_token(case: Case) -> None:
    chunks = complete(case, ANSWER, max_tokens=5)
    assert tokens_of(chunks) == ANSWER["completion"][:5]
    finish = chunks[-1].finish
    assert finish is not None
    assert (finish.reason, finish.stop_token) == (FinishReason.LENGTH, None)
    assert finish.usage.completion_tokens == 5


@pytest.mark.parametrize("prompt", [[201_088], [2**31], [-1], [1, 10**9, 2]])
def test_an_id_out_of_range_is_the_callers_mistake(case: Case, prompt: list[int]) -> None:
    with pytest.raises(EngineError) as refused:
        use(case, [[RETURN]], lambda engine: collect(engine, prompt=prompt))
    assert refused.value.status_hint == 400


def test_a_prompt_that_is_too_long_is_the_callers_mistake(case: Case) -> None:
    with pytest.raises(EngineError, match=str(CONTEXT_LENGTH)) as refused:
        use(case, [[RETURN]], lambda engine: collect(engine, prompt=[1] * (CONTEXT_LENGTH + 1)))
    assert refused.value.status_hint == 400


def test_an_empty_prompt_is_the_callers_mistake(case: Case) -> None:
    with pytest.raises(EngineError) as refused:
        use(case, [[RETURN]], lambda engine: collect(engine, prompt=[]))
    assert refused.value.status_hint == 400


def test_a_completion_left_half_way_does_not_disturb_the_next(case: Case) -> None:
    async def body(engine: Engine) -> list[Chunk]:
        left = engine.complete(CompletionRequest(prompt=TOOL_CALL["prompt"], temperature=0.0))
        await anext(left)
        await left.aclose()
        return await collect(engine, prompt=ANSWER["prompt"])

    chunks = use(case, [TOOL_CALL["completion"], ANSWER["completion"]], body)
    assert tokens_of(chunks) == ANSWER["completion"]


def test_completions_at_the_same_time_do_not_mix(case: Case) -> None:
    async def body(engine: Engine) -> list[list[Chunk]]:
        return await asyncio.gather(
            *[collect(engine, prompt=script["prompt"]) for script in (ANSWER, TOOL_CALL)]
        )

    both = use(case, [ANSWER["completion"], TOOL_CALL["completion"]], body)
    assert [tokens_of(chunks) for chunks in both] == [ANSWER["completion"], TOOL_CALL["completion"]]


def test_it_can_be_closed_twice_and_has_a_name(case: Case) -> None:
    async def body(engine: Engine) -> str:
        await engine.aclose()
        return engine.name

    assert use(case, [], body)
