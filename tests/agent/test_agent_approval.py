"""Who decides whether a call is made, and what the model is told if it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.agent.agenting import CALL, OSLO, RAIN, Made, agent_of, of, ran

from antiphon.agent.approval import Decision, Policy
from antiphon.agent.events import ApprovalAsked, ApprovalGiven, RunEnded, ToolEnded
from antiphon.settings.model import AgentSettings
from antiphon.tools.protocol import Approval, Emit, Need

BOTH = CALL + '{"city":"Oslo"}{"city":"Rome"}<|call|>'


class Person:
    """Answers what is asked."""

    def __init__(self, *answers: Decision) -> None:
        self.answers = list(answers)
        self.asked: list[ApprovalAsked] = []

    async def __call__(self, asked: ApprovalAsked) -> Decision:
        self.asked.append(asked)
        await asyncio.sleep(0)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("need", "said", "holds"),
    [
        ("always", None, "always"),
        ("ask", None, "ask"),
        ("never", None, "never"),
        ("ask", "always", "always"),
        ("always", "ask", "ask"),
        ("always", "never", "never"),
        ("never", "always", "never"),
        ("never", "ask", "never"),
    ],
)
def test_the_policy_is_stronger_than_the_tools_own_word_but_for_a_never(
    need: Approval, said: Approval | None, holds: Approval
) -> None:
    for name in ("t", "*"):
        policy = Policy(**{said: [name]}) if said else Policy()
        assert policy.decide("t", Need(need, "")) == holds


def test_of_two_words_on_one_tool_the_stricter_holds_and_its_name_is_stronger_than_all() -> None:
    settings = AgentSettings(always=("a", "b", "*"), ask=("b", "c"), never=("c",))
    policy = Policy.of(settings)
    held = {name: policy.decide(name, Need("ask", "")) for name in "abcd"}
    assert held == {"a": "always", "b": "ask", "c": "never", "d": "always"}


def test_never_asking_makes_what_would_be_asked_about_and_refuses_the_rest() -> None:
    for settings in (
        AgentSettings(ask=("a",), never=("b",)),
        AgentSettings(never=("*", "b"), ask=("a",)),
    ):
        policy = Policy.of(settings)
        policy.never_ask()
        held = {name: policy.decide(name, Need("ask", "")) for name in "abc"}
        assert held == {
            "a": "always",
            "b": "never",
            "c": "never" if "*" in settings.never else "always",
        }


def test_a_call_is_made_when_a_person_agrees() -> None:
    person = Person(Decision(allowed=True))
    tool = Made(approval="ask")
    end, events = ran(agent_of(OSLO, RAIN, tools=[tool], ask=person))
    assert (end.reason, end.refused, tool.calls) == ("answer", 0, [{"city": "Oslo"}])
    (asked,) = of(events, ApprovalAsked)
    assert (asked.tool, asked.summary, asked.arguments) == (
        "weather",
        "use weather",
        '{"city":"Oslo"}',
    )
    (given,) = of(events, ApprovalGiven)
    assert (given.call_id, given.allowed, given.by) == (asked.call_id, True, "person")


def test_a_refusal_and_its_reason_come_back_to_the_model() -> None:
    person = Person(Decision(allowed=False, reason="not that city"))
    tool = Made(approval="ask")
    end, events = ran(agent_of(OSLO, RAIN, tools=[tool], ask=person))
    assert (end.reason, end.refused, tool.calls) == ("answer", 1, [])
    (told,) = of(events, ToolEnded)
    assert (told.refused, told.text) == (True, "The user refused the call: not that city")


def test_without_anybody_to_ask_a_call_that_needs_it_is_refused() -> None:
    tool = Made(approval="ask")
    end, events = ran(agent_of(OSLO, RAIN, tools=[tool]))
    assert (end.reason, end.refused, tool.calls) == ("answer", 1, [])
    assert of(events, ApprovalGiven)[0].by == "nobody"
    assert "nobody can be asked" in of(events, ToolEnded)[0].text


def test_a_call_that_is_never_allowed_is_refused_without_asking() -> None:
    person = Person()
    tool = Made(approval="never")
    end, events = ran(agent_of(OSLO, RAIN, tools=[tool], ask=person, always=("*",)))
    assert (end.refused, tool.calls, person.asked) == (1, [], [])
    assert "use weather" in of(events, ToolEnded)[0].text


def test_people_are_asked_about_one_call_after_the_other() -> None:
    asking = 0

    async def one_at_a_time(asked: ApprovalAsked) -> Decision:
        nonlocal asking
        asking += 1
        assert asking == 1
        await asyncio.sleep(0)
        asking -= 1
        return Decision(allowed=True)

    header = "<|channel|>commentary to=functions.note <|constrain|>json<|message|>"
    two = f"{header}one<|end|><|start|>assistant{header}two<|call|>"
    tool = Made("note", parameters=None, approval="ask")
    end, events = ran(agent_of(two, RAIN, tools=[tool], ask=one_at_a_time))
    assert (end.reason, end.calls) == ("answer", 2)
    assert [asked.arguments for asked in of(events, ApprovalAsked)] == ["one", "two"]


def test_after_a_question_the_time_goes_on() -> None:
    async def hangs(given: object, emit: Emit) -> str:
        await asyncio.Event().wait()
        return ""

    person = Person(Decision(allowed=True))
    tool = Made(does=hangs, approval="ask")
    end, _ = ran(agent_of(OSLO, RAIN, tools=[tool], ask=person, seconds=0.2))
    assert end.reason == "time"


def test_always_is_remembered_also_for_calls_that_wait_already() -> None:
    person = Person(Decision(allowed=True, remember=True))
    tool = Made(approval="ask")
    agent = agent_of(BOTH, OSLO, RAIN, tools=[tool], ask=person)
    end, _ = ran(agent)
    assert (end.calls, end.refused, len(person.asked), len(tool.calls)) == (3, 0, 1, 3)


def test_never_is_remembered() -> None:
    person = Person(Decision(allowed=False, remember=True))
    agent = agent_of(OSLO, OSLO, RAIN, tools=[Made(approval="ask")], ask=person)
    end, _ = ran(agent)
    assert (end.refused, len(person.asked)) == (2, 1)


def test_no_approval_is_asked_for_a_call_that_cannot_be_made() -> None:
    person = Person()
    ran(agent_of(CALL + '{"town":1}<|call|>', RAIN, tools=[Made(approval="ask")], ask=person))
    assert person.asked == []


def test_a_tool_whose_need_raises_is_asked_about() -> None:
    class Broken(Made):
        def need(self, arguments: Mapping[str, Any] | str) -> Need:
            raise KeyError("x")

    person = Person(Decision(allowed=True))
    end, _ = ran(agent_of(OSLO, RAIN, tools=[Broken()], ask=person))
    assert (end.reason, len(person.asked)) == ("answer", 1)


def test_the_time_a_person_takes_does_not_count() -> None:
    async def run() -> RunEnded:
        loop = asyncio.get_running_loop()
        seconds = 5.0

        async def slow(asked: ApprovalAsked) -> Decision:
            # Long thinking, as the loop's clock sees it.
            began = loop.time()
            loop.time = lambda: began + 60.0  # type: ignore[method-assign]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return Decision(allowed=True)

        agent = agent_of(OSLO, RAIN, tools=[Made(approval="ask")], ask=slow, seconds=seconds)
        return await agent.run("How is it?", lambda event: None)

    assert asyncio.run(run()).reason == "answer"
