"""``antiphon demo``: a first conversation, end to end, with the tiny model.

Everything is real: the conversation is rendered to tokens, llama.cpp's server turns them into
tokens, and the parser turns those into events as they arrive.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final, TextIO

import click

from antiphon.cli.demo_view import JsonView, PlainView, TerminalView, View
from antiphon.codec.events import Event
from antiphon.codec.parse import fold
from antiphon.codec.render import Renderer
from antiphon.codec.stream import Parser
from antiphon.engines.protocol import CompletionRequest, Engine, Usage
from antiphon.engines.tiny.weather import WEATHER
from antiphon.errors import EngineError
from antiphon.model.content import DeveloperContent, SystemContent
from antiphon.model.message import Conversation, Message, Role
from antiphon.model.tools import functions
from antiphon.vocab.control import CONTROL_NAMES

__all__ = ["demo", "run_demo"]

QUESTIONS: Final = ("What is 2 + 2?", "What is the weather like in Paris?")
DATE: Final = "2026-11-21"
"""The conversation's date is fixed, so that every run shows the same."""
MAX_TOKENS: Final = 400
MAX_CALLS: Final = 3
"""Tool calls the model may make for one question."""

_WEATHER_RECIPIENT: Final = f"functions.{WEATHER.name}"


@click.command()
@click.option(
    "--effort",
    type=click.Choice(["low", "medium", "high"]),
    default="medium",
    show_default=True,
    help="How much the model thinks before it answers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every step as a line of JSON.")
def demo(effort: str, as_json: bool) -> None:
    """Talk to the built-in tiny model, live.

    The first run builds the model (69 MB in your cache folder; ANTIPHON_CACHE overrides where).
    The tiny model is there to test with: it knows a few dozen questions and nothing else.
    """
    if as_json:
        view: View = JsonView(sys.stdout)
    else:
        view = _view_for(sys.stdout)
    run_demo(view, effort=effort)


def _view_for(out: TextIO) -> View:
    return TerminalView(out) if out.isatty() else PlainView(out)


def run_demo(view: View, *, effort: str = "medium") -> None:
    """Build the model if need be, start its server, ask the questions and show the answers.

    Raises EngineError or MissingExtraError; the server is gone in every case.
    """
    from antiphon.engines.tiny.model import MODEL_NAME, tiny_server

    begin = time.monotonic()
    with view.preparing():
        server = tiny_server(view.progress)
        view.progress("starting llama.cpp's server", 0.0)
        server.start()
    with server:
        view.ready(MODEL_NAME, server.url, time.monotonic() - begin)
        usages = asyncio.run(_converse(server.url, view, effort))
    _summarise(view, usages)


async def _converse(url: str, view: View, effort: str) -> list[Usage]:
    from antiphon.engines.llama_server.client import LlamaServerEngine

    system = Message.system(SystemContent.default(effort, date=DATE))
    developer = Message.developer(DeveloperContent(tools=functions(WEATHER)))
    openings = ((system,), (system, developer))
    usages: list[Usage] = []
    async with LlamaServerEngine(url) as engine:
        for opening, question in zip(openings, QUESTIONS, strict=True):
            view.said("user", question)
            usages += await _answer(engine, view, [*opening, Message.user(question)])
    return usages


async def _answer(engine: Engine, view: View, messages: list[Message]) -> list[Usage]:
    """Let the model speak until it stops calling tools."""
    renderer = Renderer(dialect="reference")
    usages: list[Usage] = []
    for _ in range(MAX_CALLS + 1):
        prompt = renderer.for_completion(Conversation.from_messages(messages))
        said, usage = await _turn(engine, view, prompt)
        usages.append(usage)
        messages += said
        call = said[-1] if said and said[-1].recipient else None
        if call is None:
            return usages
        result = _call_tool(call)
        view.said(f"tool {result.name}", result.text)
        messages.append(result)
    raise EngineError(f"the model called tools more than {MAX_CALLS} times for one question")


async def _turn(engine: Engine, view: View, prompt: list[int]) -> tuple[list[Message], Usage]:
    """One completion, shown as it arrives."""
    parser = Parser(role=Role.ASSISTANT, tools=[_WEATHER_RECIPIENT], input="hybrid")
    events: list[Event] = []

    def take(some: list[Event]) -> None:
        events.extend(some)
        for event in some:
            view.event(event)

    usage = None
    request = CompletionRequest(prompt=prompt, max_tokens=MAX_TOKENS, temperature=0.0)
    async for chunks in engine.complete(request):
        for chunk in chunks:
            control = chunk.tokens and chunk.tokens[0] in CONTROL_NAMES
            take(list(parser.feed(chunk.tokens if control else chunk.text)))
            if chunk.finish is not None:
                usage = chunk.finish.usage
    take(list(parser.eof()))
    if usage is None:
        raise EngineError(f"{engine.name} did not say how it finished")
    return fold(events).messages, usage


def _call_tool(call: Message) -> Message:
    """The weather, which is always the same."""
    try:
        location = json.loads(call.text)["location"]
    except (ValueError, KeyError, TypeError):
        location = None
    if call.recipient != _WEATHER_RECIPIENT or not isinstance(location, str):
        raise EngineError(f"the model made a call nobody can answer: {call.recipient} {call.text}")
    return Message.tool(_WEATHER_RECIPIENT, json.dumps({"temperature": 20, "sunny": True}))


def _summarise(view: View, usages: list[Usage]) -> None:
    tokens = sum(usage.completion_tokens for usage in usages)
    seconds = sum(usage.completion_seconds for usage in usages)
    prompt = sum(usage.prompt_tokens for usage in usages)
    speed = tokens / seconds if seconds else 0.0
    view.summary(
        f"{tokens} tokens in {len(usages)} turns at {speed:.0f} tokens/s, "
        f"from prompts of {prompt} tokens",
        {
            "turns": len(usages),
            "completion_tokens": tokens,
            "prompt_tokens": prompt,
            "tokens_per_second": round(speed, 1),
        },
    )
