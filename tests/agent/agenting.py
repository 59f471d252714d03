"""How the tests of the agent run one: on the scripted engine, with small tools of their own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from tests.turn.turning import LimitedEngine, scripted

from antiphon.agent.agent import Agent
from antiphon.agent.approval import Ask, Policy
from antiphon.agent.connect import pick
from antiphon.agent.dialogue import Dialogue
from antiphon.agent.events import AgentEvent, RunEnded
from antiphon.agent.journal import Journal
from antiphon.agent.model import AgentModel
from antiphon.agent.transcript import Entry
from antiphon.api.turn import Sampling
from antiphon.engines.protocol import Engine, Reading
from antiphon.engines.served import ModelCard, Served
from antiphon.settings.model import AgentSettings, ModelSettings, Settings
from antiphon.tools.protocol import Approval, Emit, Need, Tool, ToolOutput

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
CALL = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
OSLO = CALL + '{"city":"Oslo"}<|call|>'
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
RAIN = FINAL + "Rain.<|return|>"


class Made:
    """A tool that notes what it was called with."""

    def __init__(
        self,
        name: str = "weather",
        does: Callable[[Any, Emit], Awaitable[ToolOutput | str]] | None = None,
        *,
        parameters: Mapping[str, Any] | None = CITY,
        approval: Approval = "always",
    ) -> None:
        self.name = name
        self.description = f"The tool {name}."
        self.parameters = parameters
        self.approval = approval
        self.calls: list[Any] = []
        self._does = does

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        return Need(self.approval, f"use {self.name}")

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        self.calls.append(arguments)
        if self._does is None:
            return ToolOutput("wet")
        made = await self._does(arguments, emit)
        return ToolOutput(made) if isinstance(made, str) else made

    async def aclose(self) -> None:
        pass


class OneModel:
    """A catalog of one model."""

    def __init__(self, engine: Engine) -> None:
        self._served = Served(
            name="gpt-oss",
            engine=engine,
            gpt_oss=True,
            reasons=(),
            passthrough=None,
            context_length=None,
            settings=ModelSettings(),
        )

    def list(self) -> tuple[ModelCard, ...]:
        return (ModelCard(id="gpt-oss", created=0, gpt_oss=True),)

    def find(self, name: str | None) -> Served:
        return self._served


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def model_of(engine: Engine, settings: Settings | None = None) -> AgentModel:
    """The model that the agent's own wiring makes of an engine."""
    ids = itertools.count(1)
    model = pick(OneModel(engine), settings or Settings(), None, lambda: f"call_{next(ids)}")  # type: ignore[arg-type]
    return msgspec.structs.replace(model, sampling=Sampling())


def agent_of(
    *scripts: str,
    tools: Sequence[Tool] = (),
    reading: Reading = "ids",
    engine: Engine | None = None,
    ask: Ask | None = None,
    policy: Policy | None = None,
    journal: Journal | None = None,
    entries: Sequence[Entry] = (),
    settings: Settings | None = None,
    model: AgentModel | None = None,
    **limits: Any,
) -> Agent:
    """An agent whose model says these, one after the other."""
    ids = itertools.count(1)
    engine = engine or scripted(*scripts, reading=reading)
    return Agent(
        Dialogue(model or model_of(engine, settings), tools, entries=entries, journal=journal),
        settings=AgentSettings(**limits),
        clock=Clock(),
        new_id=lambda: f"made_{next(ids)}",
        ask=ask,
        policy=policy,
    )


def ran(agent: Agent, text: str | None = "How is it?") -> tuple[RunEnded, list[AgentEvent]]:
    """Run it once."""
    events: list[AgentEvent] = []
    end = asyncio.run(agent.run(text, events.append))
    assert events[-1] is end
    return end, events


def kinds(events: Sequence[AgentEvent]) -> list[str]:
    """The events' names, repetitions left out."""
    names = [str(event.__struct_config__.tag) for event in events]
    return [name for name, _ in itertools.groupby(names)]


def of(events: Sequence[AgentEvent], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def prompts(agent: Agent) -> list[str]:
    """What the engine was sent, as marked text."""
    from antiphon.vocab.table import token_bytes

    engine = agent.dialogue.model.runner._engine  # type: ignore[attr-defined]
    assert isinstance(engine, LimitedEngine)
    return [
        b"".join([token_bytes(token) or b"" for token in request.prompt]).decode()
        for request in engine.requests
    ]


def said(agent: Agent) -> list[tuple[str, str]]:
    """The dialogue: who to whom, and what."""
    out = []
    for message in [entry.message for entry in agent.dialogue.entries]:
        who = message.name or message.role.value
        who += f" to {message.recipient}" if message.recipient else ""
        who += f" ({message.channel})" if message.channel else ""
        out.append((who, message.text))
    return out
