"""A run may be cancelled anywhere: it ends at once, and the dialogue can go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.agent.agenting import (
    CALL,
    FINAL,
    OSLO,
    RAIN,
    THOUGHT,
    Made,
    agent_of,
    of,
    prompts,
    said,
)

from antiphon.agent.agent import Agent
from antiphon.agent.approval import Decision
from antiphon.agent.events import (
    AgentEvent,
    Answer,
    ApprovalAsked,
    CallInput,
    RunEnded,
    Thinking,
    ToolStarted,
)
from antiphon.agent.transcript import INTERRUPTED
from antiphon.tools.protocol import Emit

BOTH = CALL + '{"city":"Oslo"}{"city":"Rome"}<|call|>'


def cancelled(agent: Agent, when: Callable[[AgentEvent], bool]) -> list[AgentEvent]:
    """Run it; cancel the task at the first event that ``when`` is true of."""
    events: list[AgentEvent] = []

    async def run() -> None:
        def emit(event: AgentEvent) -> None:
            events.append(event)
            if when(event):
                task.cancel()

        task = asyncio.ensure_future(agent.run("How is it?", emit))
        with pytest.raises(asyncio.CancelledError):
            await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "nothing goes on behind it"

    asyncio.run(run())
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "cancelled"
    return events


def whole(agent: Agent) -> None:
    """The dialogue goes on: the next question is answered."""
    calls = [e.call_id for e in agent.dialogue.entries if e.is_call]
    results = [e.call_id for e in agent.dialogue.entries if e.is_result]
    assert calls == results
    end = asyncio.run(agent.run("And now?", lambda event: None))
    assert (end.reason, end.answer) == ("answer", "Rain.")


def test_while_it_thinks() -> None:
    agent = agent_of(THOUGHT + RAIN, RAIN)
    cancelled(agent, lambda event: isinstance(event, Thinking))
    assert said(agent)[0] == ("user", "How is it?")
    whole(agent)


def test_while_it_answers_what_was_said_is_kept() -> None:
    agent = agent_of(f"{FINAL}One two three.<|return|>", RAIN)
    events = cancelled(agent, lambda event: isinstance(event, Answer) and "two" in event.text)
    assert said(agent)[1] == ("assistant (final)", "One two")
    assert events[-1].answer == "One two"  # type: ignore[union-attr]
    whole(agent)
    assert "<|channel|>final<|message|>One two<|end|>" in prompts(agent)[1]


def test_while_it_writes_a_call_the_call_is_not_made() -> None:
    tool = Made()
    agent = agent_of(THOUGHT + OSLO, RAIN, tools=[tool])
    cancelled(agent, lambda event: isinstance(event, CallInput))
    assert tool.calls == []
    assert said(agent)[1:] == [("assistant (analysis)", "Hm.")]
    whole(agent)


def test_while_tools_work_results_that_are_there_are_kept() -> None:
    stopped: list[str] = []

    async def work(given: dict[str, str], emit: Emit) -> str:
        if given["city"] == "Oslo":
            return "cold"
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(given["city"])
        return ""

    agent = agent_of(BOTH, RAIN, tools=[Made(does=work)])
    started = 0

    def second(event: AgentEvent) -> bool:
        nonlocal started
        started += isinstance(event, ToolStarted)
        return started == 2 and isinstance(event, ToolStarted)

    cancelled(agent, second)
    assert stopped in ([], ["Rome"])
    results = [text for who, text in said(agent) if who.startswith("functions")]
    assert results[1] == INTERRUPTED
    whole(agent)


def test_while_a_person_is_asked() -> None:
    gone: list[bool] = []

    async def ask(asked: ApprovalAsked) -> Decision:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append(True)
        return Decision(allowed=True)

    tool = Made(approval="ask")
    agent = agent_of(OSLO, RAIN, tools=[tool], ask=ask)

    async def run() -> None:
        asked = asyncio.Event()
        emit = lambda event: asked.set() if isinstance(event, ApprovalAsked) else None  # noqa: E731
        task = asyncio.ensure_future(agent.run("How is it?", emit))
        await asked.wait()
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert (gone, tool.calls) == ([True], [])
    whole(agent)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_at_any_event(at: int) -> None:
    agent = agent_of(THOUGHT + BOTH, THOUGHT + RAIN, RAIN, tools=[Made()])
    seen = 0

    def then(event: AgentEvent) -> bool:
        nonlocal seen
        seen += 1
        return seen == at + 1

    events: list[AgentEvent] = []

    async def run() -> None:
        def emit(event: AgentEvent) -> None:
            events.append(event)
            if then(event):
                task.cancel()

        task = asyncio.ensure_future(agent.run("How is it?", emit))
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert len(of(events, RunEnded)) == 1
    calls = [e.call_id for e in agent.dialogue.entries if e.is_call]
    results = [e.call_id for e in agent.dialogue.entries if e.is_result]
    assert calls == results
    end = asyncio.run(agent.run("And now?", lambda event: None))
    assert end.reason == "answer"
