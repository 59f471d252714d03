"""How the tests of the turn engine run a turn, and write down what came of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from tests.codec.reading import encode

from antiphon.api.errors import ApiError
from antiphon.api.turn import (
    PartDelta,
    PartEnd,
    PartStart,
    Recovered,
    TurnEnd,
    TurnEvent,
    TurnRequest,
)
from antiphon.engines.protocol import Capabilities, Engine, Reading
from antiphon.engines.scripted import ScriptedEngine
from antiphon.model.content import DeveloperContent, SystemContent
from antiphon.model.message import Conversation, Message
from antiphon.model.tools import Tool, functions
from antiphon.settings.model import Settings, TurnSettings
from antiphon.store.memory import MemoryStore
from antiphon.store.protocol import StateStore
from antiphon.turn.engine import TurnRunner

READINGS: tuple[Reading, ...] = ("ids", "hybrid", "marked", "stripped")
WEATHER = Tool(
    "get_weather",
    "The weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CALL = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"


class Part(NamedTuple):
    """A part as the tests write it down."""

    kind: str
    text: str
    name: str | None = None
    complete: bool = True


class Told(NamedTuple):
    """A turn as the tests write it down."""

    parts: list[Part]
    codes: list[str]
    end: TurnEnd
    events: list[TurnEvent]


class LimitedEngine(ScriptedEngine):
    """The scripted engine with other capabilities."""

    given: Mapping[str, Any] = MappingProxyType({})

    @property
    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(super().capabilities, **self.given)


def scripted(*scripts: str, reading: Reading = "ids", **given: Any) -> LimitedEngine:
    """An engine that writes these, in marked text, one after the other; no grammar."""
    changes = {"grammar": None, **given.pop("changes", {})}
    engine = LimitedEngine([encode(script) for script in scripts], reading=reading, **given)
    engine.given = changes
    return engine


def asked(*messages: Message, **given: Any) -> TurnRequest:
    """A request: a system message, these, and what else is given. Tools are offered if given."""
    tools = given.pop("tools", ())
    if tools:
        given["tools"] = functions(*tools)
        messages = (Message.developer(DeveloperContent(None, given["tools"])), *messages)
    said = messages or (Message.user("Hello"),)
    system = Message.system(SystemContent.default())
    return TurnRequest(conversation=Conversation((system, *said)), model="gpt-oss", **given)


def weather(**given: Any) -> TurnRequest:
    """A request that offers the weather."""
    return asked(Message.user("How is the weather?"), tools=(WEATHER,), **given)


def turn(
    engine: Engine | str,
    request: TurnRequest | None = None,
    *,
    settings: Settings | None = None,
    store: StateStore | None = None,
    runner: TurnRunner | None = None,
    **limits: Any,
) -> Told:
    """Run one turn to its end."""
    if isinstance(engine, str):
        engine = scripted(engine)
    settings = settings or Settings(turn=TurnSettings(**limits))
    ids = itertools.count(1)
    runner = runner or TurnRunner(
        engine,
        settings=settings,
        store=store or MemoryStore(),
        new_id=lambda: f"call_{next(ids)}",
    )

    async def run() -> list[TurnEvent]:
        return [event async for batch in runner.run(request or asked()) for event in batch]

    return told(asyncio.run(run()))


def told(events: Sequence[TurnEvent]) -> Told:
    """The parts of the events; checks their grammar."""
    parts: list[Part] = []
    codes: list[str] = []
    open_part: PartStart | None = None
    texts: list[str] = []
    *before, end = events
    assert isinstance(end, TurnEnd)
    for event in before:
        if isinstance(event, PartStart):
            assert open_part is None
            open_part, texts = event, []
        elif isinstance(event, PartDelta):
            assert open_part is not None
            assert event.text
            texts.append(event.text)
        elif isinstance(event, PartEnd):
            assert open_part is not None
            assert event.text == "".join(texts)
            if event.arguments is not None:
                assert event.arguments.json == event.text
            parts.append(Part(open_part.kind.value, event.text, open_part.name, event.complete))
            open_part = None
        else:
            assert isinstance(event, Recovered)
            assert open_part is None
            codes.append(event.diagnostic.code)
    assert open_part is None
    return Told(parts, codes, end, list(events))


def refused(engine: Engine | str, request: TurnRequest | None = None, **given: Any) -> ApiError:
    """The error that a turn ends with."""
    try:
        result = turn(engine, request, **given)
    except ApiError as error:
        return error
    raise AssertionError(f"no error: {result}")


def texts(parts: Iterable[Part]) -> list[str]:
    return [part.text for part in parts]
