"""What `antiphon.engines.protocol` promises, over every engine."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.engines.adapters import ADAPTERS, Adapter
from tests.engines.chunks import parsed, text_of, tokens_of
from tests.fakes.wire import ids_of

from antiphon.codec.parse import parse
from antiphon.engines.protocol import Chunk, CompletionRequest, Engine, FinishReason
from antiphon.engines.scripted import ScriptedEngine
from antiphon.errors import EngineError
from antiphon.model.message import Message, Role
from antiphon.vocab.control import CALL, RETURN, is_control
from antiphon.vocab.table import token_bytes

CASES = {
    case["name"]: case
    for case in json.loads(
        (Path(__file__).parents[1] / "golden" / "tiny_model.json").read_text(encoding="utf-8")
    )
}
ANSWER, TOOL_CALL, EMOJI = (
    CASES[name] for name in ("add-medium", "weather-medium", "repeat-medium-2")
)
TOOLS = ["functions.get_current_weather"]
CONTEXT_LENGTH = 4096

T = TypeVar("T")
Scripts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Case:
    """An engine that is about to give these completions to greedy requests.

    ``tells_stop``: `Finish.stop_token` is told. ``counts``: usage is the engine's own and exact.
    ``verbatim``: what comes is what the model said, and not what another parser made of it.
    """

    start: Callable[[Scripts], AbstractAsyncContextManager[Engine]]
    tells_stop: bool = True
    counts: bool = True
    verbatim: bool = True


def by_question(scripts: Scripts) -> Callable[[list[int]], Sequence[int]]:
    """The completion of the conversation that asks the prompt's question, else the next script."""
    rest = deque(scripts)
    known = {
        case["conversation"]["messages"][-1]["content"][0]["text"]: case["completion"]
        for case in (ANSWER, TOOL_CALL, EMOJI)
    }

    def choose(prompt: list[int]) -> Sequence[int]:
        text = b"".join([token_bytes(token) or b"" for token in prompt]).decode()
        found = [completion for question, completion in known.items() if question in text]
        return found[0] if found else rest.popleft()

    return choose


def over_a_fake(adapter: Adapter) -> Case:
    @asynccontextmanager
    async def start(scripts: Scripts) -> AsyncIterator[Engine]:
        async with adapter.fake(by_question(scripts), context_length=CONTEXT_LENGTH) as fake:
            yield adapter.engine(fake, context_length=CONTEXT_LENGTH)

    return Case(start, adapter.tells_stop, adapter.counts, adapter.verbatim)


def over_a_pool(*adapters: Adapter) -> Case:
    """Several engines as one: what each of them promises, they promise together."""

    @asynccontextmanager
    async def start(scripts: Scripts) -> AsyncIterator[Engine]:
        from antiphon.engines.pool import Member, Pool

        script = by_question(scripts)
        async with AsyncExitStack() as fakes:
            members = []
            for adapter in adapters:
                fake = adapter.fake(script, context_length=CONTEXT_LENGTH)
                engine = adapter.engine(
                    await fakes.enter_async_context(fake), context_length=CONTEXT_LENGTH
                )
                members.append(Member(engine))
            yield Pool(members)

    return Case(start)


def scripted(chunking: Sequence[int]) -> Case:
    @asynccontextmanager
    async def start(scripts: Scripts) -> AsyncIterator[Engine]:
        yield ScriptedEngine(scripts, chunking=chunking, context_length=CONTEXT_LENGTH)

    return Case(start)


@pytest.fixture(
    params=[
        "scripted",
        "scripted in threes",
        "llama.cpp",
        "pool",
        "mixed pool",
        *[f"fake {name}" for name in ADAPTERS],
    ]
)
def case(request: pytest.FixtureRequest) -> Case:
    name: str = request.param
    if name == "llama.cpp":
        pytest.importorskip("aiohttp")
        from antiphon.engines.llama_server.client import LlamaServerEngine

        url = request.getfixturevalue("llama_server")

        @asynccontextmanager
        async def start(scripts: Scripts) -> AsyncIterator[Engine]:
            yield LlamaServerEngine(url)

        return Case(start)
    if name.endswith("pool"):
        names = ("vllm", "vllm") if name == "pool" else ("vllm in threes", "llama.cpp")
        return over_a_pool(*[ADAPTERS[name] for name in names])
    if name.startswith("scripted"):
        return scripted((1,) if name == "scripted" else (2, 3))
    return over_a_fake(ADAPTERS[name.removeprefix("fake ")])


def use(case: Case, scripts: Scripts, body: Callable[[Engine], Awaitable[T]]) -> T:
    async def run() -> T:
        async with case.start(scripts) as engine:
            try:
                return await body(engine)
            finally:
                await engine.aclose()

    return asyncio.run(run())


async def collect(engine: Engine, **request: Any) -> list[Chunk]:
    greedy = CompletionRequest(**{"temperature": 0.0, "max_tokens": 400, **request})
    async with aclosing(engine.complete(greedy)) as generator:
        return [chunk async for chunks in generator for chunk in chunks]


def complete(case: Case, script: dict[str, Any], **request: Any) -> list[Chunk]:
    return use(
        case,
        [script["completion"]],
        lambda engine: collect(engine, prompt=script["prompt"], **request),
    )


def capabilities(case: Case) -> Any:
    async def body(engine: Engine) -> Any:
        return engine.capabilities

    return use(case, [], body)


def expected_tokens(case: Case, completion: Sequence[int]) -> list[int]:
    """What of the completion comes at all."""
    reading = capabilities(case).reading
    kept = list(completion)
    if reading == "stripped":
        return [token for token in kept if not is_control(token)]
    if not case.tells_stop and kept[-1] in (RETURN, CALL):
        return kept[:-1]
    return kept


def came(case: Case, chunks: Sequence[Chunk]) -> list[int]:
    """The tokens that came, however they did."""
    if capabilities(case).reading in ("ids", "hybrid"):
        return tokens_of(chunks)
    return ids_of(text_of(chunks))


def spelled(tokens: Sequence[int]) -> str:
    return b"".join([token_bytes(token) or b"" for token in tokens]).decode()


def seen(messages: Sequence[Message]) -> list[tuple[Any, ...]]:
    """What a reader of the messages goes by."""
    return [
        (
            message.channel,
            message.recipient,
            json.loads(message.text) if message.recipient else message.text,
        )
        for message in messages
    ]


@pytest.mark.parametrize("script", [ANSWER, TOOL_CALL, EMOJI], ids=lambda s: s["name"])
def test_the_chunks_hold_every_token_in_order(case: Case, script: dict[str, Any]) -> None:
    if not case.verbatim:
        pytest.skip("another parser has read it before")
    chunks = complete(case, script)
    if capabilities(case).reading == "stripped":
        # Words that a control token stood between are glued, and no tokens any more.
        assert text_of(chunks) == spelled(expected_tokens(case, script["completion"]))
    else:
        assert came(case, chunks) == expected_tokens(case, script["completion"])


@pytest.mark.parametrize("takes", ["all", "none", "some"])
def test_what_is_pushed_is_what_would_be_given(case: Case, takes: str) -> None:
    arrived: list[Chunk] = []

    def push(chunks: Sequence[Chunk]) -> Sequence[Chunk] | None:
        assert chunks
        assert not any(chunk.finish for chunk in chunks)
        if takes == "none" or (takes == "some" and len(arrived) % 3 == 0):
            return chunks
        arrived.extend(chunks)
        return () if len(arrived) % 4 == 0 else None

    async def body(engine: Engine) -> None:
        request = CompletionRequest(
            prompt=EMOJI["prompt"], temperature=0.0, max_tokens=400, push=push
        )
        async with aclosing(engine.complete(request)) as generator:
            async for chunks in generator:
                arrived.extend(chunks)

    use(case, [EMOJI["completion"]], body)
    plain = complete(case, EMOJI)
    assert text_of(arrived) == text_of(plain)
    assert tokens_of(arrived) == tokens_of(plain)
    assert arrived[-1].finish is not None


@pytest.mark.parametrize("script", [ANSWER, TOOL_CALL, EMOJI], ids=lambda s: s["name"])
def test_the_chunks_read_as_the_messages_the_tokens_are(case: Case, script: dict[str, Any]) -> None:
    chunks = complete(case, script)
    read = parsed(chunks, capabilities(case).reading, TOOLS)
    meant = parse(script["completion"], role=Role.ASSISTANT, tools=TOOLS)
    assert seen(read.messages) == seen(meant.messages)
    assert read.diagnostics == [] or capabilities(case).reading == "stripped"


@pytest.mark.parametrize("script", [ANSWER, TOOL_CALL, EMOJI], ids=lambda s: s["name"])
def test_the_texts_are_what_the_tokens_spell(case: Case, script: dict[str, Any]) -> None:
    if not case.verbatim:
        pytest.skip("another parser has read it before")
    chunks = complete(case, script)
    assert text_of(chunks) == spelled(expected_tokens(case, script["completion"]))


def test_the_last_chunk_and_only_it_tells_the_finish(case: Case) -> None:
    *others, last = complete(case, ANSWER)
    assert all(chunk.finish is None for chunk in others)
    assert last.finish is not None
    usage = last.finish.usage
    if case.counts:
        assert usage.prompt_tokens == len(ANSWER["prompt"])
        assert usage.completion_tokens == len(ANSWER["completion"])
    else:
        assert usage.prompt_tokens > 0
        assert 0 < usage.completion_tokens <= len(ANSWER["completion"])


@pytest.mark.parametrize(("script", "stop"), [(ANSWER, RETURN), (TOOL_CALL, CALL)])
def test_the_stop_token_tells_an_answer_from_a_call(
    case: Case, script: dict[str, Any], stop: int
) -> None:
    finish = complete(case, script)[-1].finish
    assert finish is not None
    told = stop if case.tells_stop else None
    assert (finish.reason, finish.stop_token) == (FinishReason.STOP, told)


def test_the_limit_ends_a_completion_with_no_stop_token(case: Case) -> None:
    chunks = complete(case, ANSWER, max_tokens=5)
    if case.verbatim:
        kept = expected_tokens(case, ANSWER["completion"][:5])
        assert text_of(chunks) == spelled(kept)
    finish = chunks[-1].finish
    assert finish is not None
    assert (finish.reason, finish.stop_token) == (FinishReason.LENGTH, None)
    assert finish.usage.completion_tokens == 5 or not case.counts


@pytest.mark.parametrize("prompt", [[201_088], [2**31], [-1], [1, 10**9, 2]])
def test_an_id_out_of_range_is_the_callers_mistake(case: Case, prompt: list[int]) -> None:
    with pytest.raises(EngineError) as refused:
        use(case, [[RETURN]], lambda engine: collect(engine, prompt=prompt))
    assert refused.value.status_hint == 400


def test_a_prompt_that_is_too_long_is_the_callers_mistake(case: Case) -> None:
    words = ids_of(" the" * (CONTEXT_LENGTH + 1))
    with pytest.raises(EngineError, match=str(CONTEXT_LENGTH)) as refused:
        use(case, [[RETURN]], lambda engine: collect(engine, prompt=words))
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
    assert seen(parsed(chunks, capabilities(case).reading, TOOLS).messages) == seen(
        parse(ANSWER["completion"], role=Role.ASSISTANT).messages
    )


def test_completions_at_the_same_time_do_not_mix(case: Case) -> None:
    async def body(engine: Engine) -> list[list[Chunk]]:
        return await asyncio.gather(
            *[collect(engine, prompt=script["prompt"]) for script in (ANSWER, TOOL_CALL)]
        )

    both = use(case, [ANSWER["completion"], TOOL_CALL["completion"]], body)
    reading = capabilities(case).reading
    assert [seen(parsed(chunks, reading, TOOLS).messages) for chunks in both] == [
        seen(parse(script["completion"], role=Role.ASSISTANT).messages)
        for script in (ANSWER, TOOL_CALL)
    ]


def test_it_can_be_closed_twice_and_has_a_name(case: Case) -> None:
    async def body(engine: Engine) -> str:
        await engine.aclose()
        return engine.name

    assert use(case, [], body)
