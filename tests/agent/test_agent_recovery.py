"""Every row of the catalogue of malformed output, through the agent on a scripted engine.

The model says what a row says, then answers. Whatever it was: no crash, no control token in what is
shown, the right tool called, every word there, and the next prompt is one the codec can read.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.agent.agenting import Made, agent_of, of
from tests.codec.reading import encode
from tests.codec.recovery_rows import ROWS, Row
from tests.gateway.test_recovery_wire import RowEngine, called, words

from antiphon.agent.events import (
    AgentEvent,
    Answer,
    CallInput,
    CallMade,
    Preamble,
    Thinking,
    ToolEnded,
)
from antiphon.codec.parse import parse
from antiphon.codec.text import find_control
from antiphon.engines.protocol import CompletionRequest, Reading

ANSWER = encode("<|channel|>final<|message|>Done.<|return|>")
ANY = {"type": "object"}


class ThenAnswers(RowEngine):
    """Says the row, then answers."""

    def __init__(self, reading: Reading, row: Row) -> None:
        super().__init__(reading)
        self.ids = encode(row.written)
        self.prompts: list[list[int]] = []

    async def complete(self, request: CompletionRequest):
        self.prompts.append(list(request.prompt))
        if len(self.prompts) > 1:
            self.ids = ANSWER
        async for chunks in super().complete(request):
            yield chunks


@pytest.mark.parametrize("reading", ["ids", "hybrid", "marked"])
@pytest.mark.parametrize("row", ROWS, ids=[f"{row.number}: {row.says}" for row in ROWS])
def test_a_row_is_shown_without_markup_and_its_tool_is_called(row: Row, reading: Reading) -> None:
    names = sorted({*(row.tools or ()), *called(row)})
    tools = [Made(name.removeprefix("functions."), parameters=ANY) for name in names]
    unique = list({tool.name: tool for tool in tools}.values())
    engine = ThenAnswers(reading, row)
    agent = agent_of(engine=engine, tools=unique)
    events: list[AgentEvent] = []
    end = asyncio.run(agent.run("Hi", events.append))
    assert end.reason == "answer", (end, events)

    shown = [e.text for e in events if isinstance(e, Thinking | Preamble | Answer)]
    assert not find_control("".join(shown))
    assert not find_control(end.answer)
    assert not any(find_control(text) for text in shown)
    calls = of(events, CallMade)
    assert not any(find_control(call.tool) or "<|" in call.tool for call in calls)

    got = words(" ".join([*shown, *[f"{call.tool} {call.arguments}" for call in calls]]))
    for message in row.expected:
        if message.author == "assistant":
            text = message.text
            for name in ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"):
                text = text.replace(name, " ")
            assert words(text) <= got, (message, shown, calls)

    offered = {tool.name for tool in unique}
    meant = [name for name in called(row) if name in offered]
    made = [call.tool for call in calls if call.known]
    assert made[: len(meant)] == meant, (made, meant)
    assert len(of(events, ToolEnded)) == len(calls)
    assert all(len(tool.calls) == made.count(tool.name) for tool in unique)

    for prompt in engine.prompts:
        # It ends in a header; a content type nobody knows goes back as the model wrote it.
        known = {"truncated-header", *({"unknown-content-type"} & row.codes)}
        assert {d.code for d in parse(prompt).diagnostics} <= known
    assert not of(events, CallInput) or calls
