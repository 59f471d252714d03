"""What the scripted engine does beyond the contract."""

from __future__ import annotations

import asyncio
from math import exp

import pytest

from antiphon.codec.render import render
from antiphon.engines.protocol import Chunk, CompletionRequest, Reading
from antiphon.engines.scripted import ScriptedEngine
from antiphon.errors import EngineError
from antiphon.model.message import Message
from antiphon.vocab.control import CALL, RETURN
from antiphon.vocab.table import token_bytes


def complete(engine: ScriptedEngine) -> list[Chunk]:
    async def run() -> list[Chunk]:
        return [
            chunk
            async for chunks in engine.complete(CompletionRequest(prompt=[1]))
            for chunk in chunks
        ]

    return asyncio.run(run())


def test_the_chunking_is_kept_and_its_last_number_goes_on() -> None:
    engine = ScriptedEngine([[*range(10), RETURN]], chunking=(1, 4, 3))
    sizes = [len(chunk.tokens) for chunk in complete(engine)]
    assert sizes == [1, 4, 3, 3, 0]


def test_a_script_ends_at_its_first_stop_token() -> None:
    chunks = complete(ScriptedEngine([[1, CALL, 2, RETURN]], chunking=(9,)))
    assert chunks[0].tokens == (1, CALL)


def test_an_unfinished_character_at_the_end_is_a_replacement_character() -> None:
    first_byte_of_an_emoji = 172
    chunks = complete(ScriptedEngine([[first_byte_of_an_emoji]]))
    assert [chunk.text for chunk in chunks] == ["", "\ufffd"]


def test_requests_are_kept_and_scripts_run_out() -> None:
    engine = ScriptedEngine([[RETURN]])
    complete(engine)
    with pytest.raises(EngineError, match="no script left"):
        complete(engine)
    assert [request.prompt for request in engine.requests] == [[1], [1]]


@pytest.mark.parametrize("chunking", [(), (0,), (2, -1)])
def test_a_chunking_that_goes_nowhere_is_refused(chunking: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ScriptedEngine([], chunking=chunking)


PROMPT = render([Message.user("Say exactly: naïve 🎉 <|call|>")])
SAID = "naïve 🎉 <|call|><|return|>"


def ask(engine: ScriptedEngine, **request: object) -> list[Chunk]:
    async def run() -> list[Chunk]:
        asked = CompletionRequest(**{"prompt": PROMPT, **request})  # type: ignore[arg-type]
        return [chunk async for chunks in engine.complete(asked) for chunk in chunks]

    return asyncio.run(run())


def cached(chunks: list[Chunk]) -> int:
    assert chunks[-1].finish is not None
    return chunks[-1].finish.usage.cached_tokens


def test_a_prompt_that_goes_on_from_an_earlier_one_has_its_prefix_cached() -> None:
    engine = ScriptedEngine()
    first = ask(engine)
    produced = [token for chunk in first for token in chunk.tokens]
    longer = [*PROMPT, *produced, 1, 2, 3]
    assert cached(first) == 0
    assert cached(ask(engine)) == len(PROMPT) - 1
    assert cached(ask(engine, prompt=longer)) == len(PROMPT) + len(produced)
    assert cached(ask(engine, prompt=[7, *PROMPT])) == 0


def test_prompts_with_another_salt_share_no_prefix() -> None:
    engine = ScriptedEngine()
    ask(engine, cache_salt="a")
    assert cached(ask(engine, cache_salt="b")) == 0
    assert cached(ask(engine, cache_salt="a")) > 0


def test_log_probabilities_come_with_every_token_and_make_sense() -> None:
    for chunk in ask(ScriptedEngine(chunking=(3,)), logprobs=4)[:-1]:
        assert [chance.token for chance in chunk.logprobs] == list(chunk.tokens)
        for chance in chunk.logprobs:
            assert chance.text == token_bytes(chance.token)
            assert len(chance.top) == 4
            assert (chance.top[0].token, chance.top[0].logprob) == (chance.token, chance.logprob)
            assert sum(exp(other.logprob) for other in chance.top) <= 1
    assert all(not chunk.logprobs for chunk in ask(ScriptedEngine()))


@pytest.mark.parametrize("reading", ["ids", "hybrid", "marked", "stripped"])
def test_what_is_said_can_be_read_in_every_reading(reading: Reading) -> None:
    engine = ScriptedEngine(reading=reading)
    assert engine.capabilities.reading == reading
    chunks = ask(engine)
    text = "".join([chunk.text for chunk in chunks])
    assert text.endswith(SAID.removesuffix("<|return|>") if reading == "stripped" else SAID)
    ids = [token for chunk in chunks for token in chunk.tokens]
    assert (RETURN in ids) is (reading in ("ids", "hybrid"))
