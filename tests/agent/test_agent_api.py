"""The agent through an OpenAI endpoint on a real socket: our gateway, in front of a scripted model.

The gateway forgets reasoning here, so what the model is shown again is what the agent sent back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence

import pytest

pytest.importorskip("starlette")

from tests.agent.agenting import CALL, FINAL, OSLO, RAIN, THOUGHT, Clock, Made, of
from tests.codec.reading import encode
from tests.gateway.serving import Gateway

from antiphon.agent.agent import Agent
from antiphon.agent.connect import open_api
from antiphon.agent.dialogue import Dialogue
from antiphon.agent.events import AgentEvent, CallMade, PartBecame, RunEnded, ToolEnded
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.errors import EngineError
from antiphon.settings.model import AgentSettings, MemorySettings, Settings
from antiphon.tools.protocol import Tool
from antiphon.vocab.table import token_bytes


class Script:
    """Says one script after the other; notes the prompts as marked text."""

    name = "script"
    running = 0

    def __init__(self, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.prompts: list[str] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(reading="ids", prompt_ids=True, context_length=131_072)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.prompts.append(_text(request.prompt))
        ids = encode(self.scripts.pop(0))
        for token in ids:
            yield (Chunk((token,), _text([token])),)
        usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=len(ids))
        yield (Chunk(finish=Finish(FinishReason.STOP, ids[-1], usage)),)

    async def aclose(self) -> None:
        pass


def _text(tokens: Sequence[int]) -> str:
    return b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace")


def through(
    gateway: Gateway, tools: Sequence[Tool], *, path: str = "", name: str | None = "m"
) -> tuple[RunEnded, list[AgentEvent], Agent]:
    events: list[AgentEvent] = []
    ids = itertools.count(1)

    async def run() -> tuple[RunEnded, Agent]:
        url = f"http://127.0.0.1:{gateway.port}{path}"
        model = open_api(Settings(), url, name, new_id=lambda: f"x{next(ids)}")
        async with model as opened:
            agent = Agent(
                Dialogue(opened, tools),
                settings=AgentSettings(),
                clock=Clock(),
                new_id=lambda: f"made{next(ids)}",
            )
            return await agent.run("How is it?", events.append), agent

    end, agent = asyncio.run(run())
    return end, events, agent


FORGETFUL = Settings(memory=MemorySettings(enabled=False))


@pytest.mark.parametrize("path", ["", "/v1", "/v1/chat/completions"])
def test_a_tool_loop_over_http_sends_its_reasoning_back(path: str) -> None:
    engine = Script(THOUGHT + OSLO, RAIN)
    tool = Made()
    with Gateway(engine, FORGETFUL) as gateway:
        end, _, _ = through(gateway, [tool], path=path)
    assert (end.reason, end.answer, end.calls) == ("answer", "Rain.", 1)
    assert tool.calls == [{"city": "Oslo"}]
    assert end.usage.completion_tokens > 10
    assert engine.prompts[1].endswith(
        f"<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant{OSLO}"
        "<|start|>functions.weather to=assistant<|channel|>commentary<|message|>wet<|end|>"
        "<|start|>assistant"
    )


def test_parallel_calls_keep_their_ids() -> None:
    engine = Script(CALL + '{"city":"Oslo"}{"city":"Rome"}<|call|>', RAIN)
    with Gateway(engine, FORGETFUL) as gateway:
        end, events, _ = through(gateway, [Made()])
    assert (end.reason, end.calls) == ("answer", 2)
    made = [call.call_id for call in of(events, CallMade)]
    assert made == [done.call_id for done in of(events, ToolEnded)]
    assert len(set(made)) == 2


def test_words_beside_a_call_are_a_preamble() -> None:
    script = f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{OSLO}"
    engine = Script(script, RAIN)
    with Gateway(engine, FORGETFUL) as gateway:
        end, events, _ = through(gateway, [Made()])
    assert end.answer == "Rain."
    assert of(events, PartBecame)
    assert "<|channel|>commentary<|message|>I look.<|end|>" in engine.prompts[1]


def test_the_built_ins_are_functions_there() -> None:
    python = Made("python", parameters=None)
    header = "<|channel|>commentary to=functions.use_python <|constrain|>json<|message|>"
    engine = Script(header + '{"input":"print(1)"}<|call|>', RAIN)
    with Gateway(engine, FORGETFUL) as gateway:
        end, _, _ = through(gateway, [python])
    assert (end.reason, python.calls) == ("answer", ["print(1)"])


def test_the_only_model_that_is_listed_is_taken() -> None:
    with Gateway(Script(FINAL + "Hi.<|return|>"), FORGETFUL) as gateway:
        end, _, agent = through(gateway, [], name=None)
    assert (end.answer, agent.dialogue.model.name) == ("Hi.", "m")


def test_a_model_that_is_not_there_ends_the_run_with_the_endpoints_words() -> None:
    with Gateway(Script(), FORGETFUL) as gateway:
        end, _, _ = through(gateway, [], name="nothing")
    assert end.reason == "error"
    assert "nothing" in end.detail


def test_an_endpoint_that_is_not_there_is_one_clear_error() -> None:
    async def run() -> None:
        async with open_api(Settings(), "http://127.0.0.1:9", None, new_id=str):
            raise AssertionError

    with pytest.raises(EngineError, match=r"cannot ask http://127\.0\.0\.1:9 for its models"):
        asyncio.run(run())
