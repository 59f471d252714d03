"""Prompts for the scripted engine, and its answers read back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.codec.grammar.plan import AUTO, ToolChoice, plan
from antiphon.codec.parse import parse
from antiphon.codec.render import render
from antiphon.engines.protocol import Chunk, CompletionRequest
from antiphon.engines.scripted import ScriptedEngine
from antiphon.model.content import DeveloperContent, ResponseFormat, SystemContent
from antiphon.model.message import Message, Role
from antiphon.model.tools import Tool, functions

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "Get the current weather for a city.", CITY)
TIME = Tool("get_time", "Get the current local time in a city.", CITY)
NOTE = Tool(
    "save_note",
    "Save a note with a title and a body, stored verbatim.",
    {
        "type": "object",
        "properties": {"title": {"type": "string"}, "body": {"type": "string"}},
        "required": ["title", "body"],
    },
)


def conversation(
    *said: Message | str,
    tools: Sequence[Tool] = (),
    effort: str = "medium",
    instructions: str | None = None,
    schema: dict[str, Any] | None = None,
) -> list[Message]:
    formats = () if schema is None else (ResponseFormat(name="answer", schema=schema),)
    developer = DeveloperContent(instructions, functions(*tools) if tools else None, formats)
    return [
        Message.system(SystemContent.default(effort)),
        Message.developer(developer),
        *[Message.user(m) if isinstance(m, str) else m for m in said],
    ]


def collect(engine: ScriptedEngine, request: CompletionRequest) -> list[Chunk]:
    async def run() -> list[Chunk]:
        return [chunk async for chunks in engine.complete(request) for chunk in chunks]

    return asyncio.run(run())


def reply(
    *said: Message | str,
    tools: Sequence[Tool] = (),
    choice: ToolChoice | None = AUTO,
    parallel: bool = True,
    response: dict[str, Any] | None = None,
    prefill: Sequence[int] = (),
    **more: Any,
) -> list[Message]:
    """What a fresh engine says next. ``choice=None``: the engine gets no grammar."""
    asked = {key: more.pop(key) for key in ("max_tokens", "seed") if key in more}
    grammar = None
    if choice is not None:
        bound = plan(tools, choice, parallel=parallel, response=response)
        grammar = msgspec.json.encode(bound).decode()
    prompt = [*render(conversation(*said, tools=tools, **more)), *prefill]
    request = CompletionRequest(prompt=prompt, grammar=grammar, **asked)
    chunks = collect(ScriptedEngine(), request)
    tokens = [token for chunk in chunks for token in chunk.tokens]
    return parse([*prefill, *tokens], role=Role.ASSISTANT).messages


def final(messages: Sequence[Message]) -> str:
    """The answer, which is the last message."""
    assert messages[-1].channel == "final"
    return messages[-1].text


def calls(messages: Sequence[Message]) -> list[tuple[str, Any]]:
    """Recipients and arguments."""
    return [(m.recipient, json.loads(m.text)) for m in messages if m.recipient]
