"""What the scripted engine does beyond the contract."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.engines.protocol import Chunk, CompletionRequest
from antiphon.engines.scripted import ScriptedEngine
from antiphon.errors import EngineError
from antiphon.vocab.control import CALL, RETURN


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
