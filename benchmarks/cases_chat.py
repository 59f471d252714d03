"""OpenAI's Chat Completions JSON → prompt tokens, as a server does it.

The reference library has no such reader, so its side is what servers built on it do: `json.loads`,
its own objects made from the fields, `render_conversation_for_completion`.
"""

from __future__ import annotations

import json
from itertools import count
from random import Random
from typing import Any, Final

from bench import Bench, Case, Row, ratio_row
from timing import Work, compare
from workloads import text, tool_schemas

from antiphon.api.chat.conversation import decode_request
from antiphon.codec.render import Renderer

__all__ = ["CASES"]

GROUP: Final = "Chat JSON to tokens"
DATE: Final = "2026-01-31"


def _request(tokens: int, tools: int, turns: int, seed: int) -> dict[str, Any]:
    """A chat of ``turns`` exchanges with about ``tokens`` tokens of text."""
    rng = Random(f"chat {seed}")
    size = max(8, tokens // (turns * (4 if tools else 2)))
    schemas = tool_schemas(tools, seed)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a helpful assistant. Answer briefly."}
    ]
    for turn in range(turns):
        words = seed * 10_000 + turn * 10
        messages.append({"role": "user", "content": text("ascii", size, words)})
        if turn == turns - 1:
            break
        if tools:
            call = {
                "id": f"call_{turn}",
                "type": "function",
                "function": {
                    "name": rng.choice(schemas)["name"],
                    "arguments": json.dumps({"city": text("ascii", 3, words + 1), "days": turn}),
                },
            }
            reasoning = text("ascii", size, words + 2)
            messages += [
                {"role": "assistant", "reasoning": reasoning, "tool_calls": [call]},
                {
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": text("ascii", size, words + 3),
                },
            ]
        messages.append({"role": "assistant", "content": text("ascii", size, words + 4)})
    request: dict[str, Any] = {"model": "gpt-oss-20b", "messages": messages, "temperature": 1.0}
    if tools:
        request["tools"] = [{"type": "function", "function": schema} for schema in schemas]
    return request


def _body(request: dict[str, Any], number: int) -> bytes:
    """The request with a number before each text of the chat, so that no memo knows it."""
    messages = [
        {
            key: f"{number} {value}" if key in ("content", "reasoning") else value
            for key, value in message.items()
        }
        for message in request["messages"][1:]
    ]
    return json.dumps({**request, "messages": [request["messages"][0], *messages]}).encode()


def _reference(bench: Bench, body: bytes) -> list[int]:
    """What a server on the reference library does with a request."""
    lib = bench.library
    request = json.loads(body)
    system = lib.SystemContent.new().with_conversation_start_date(DATE)
    messages = [lib.Message.from_role_and_content(lib.Role.SYSTEM, system)]
    developer = lib.DeveloperContent.new().with_instructions(request["messages"][0]["content"])
    if tools := request.get("tools"):
        described = [
            lib.ToolDescription.new(
                tool["function"]["name"],
                tool["function"]["description"],
                parameters=tool["function"]["parameters"],
            )
            for tool in tools
        ]
        developer = developer.with_function_tools(described)
    messages.append(lib.Message.from_role_and_content(lib.Role.DEVELOPER, developer))
    names: dict[str, str] = {}
    for message in request["messages"][1:]:
        role = message["role"]
        if role == "user":
            messages.append(lib.Message.from_role_and_content(lib.Role.USER, message["content"]))
        elif role == "tool":
            author = lib.Author.new(lib.Role.TOOL, names[message["tool_call_id"]])
            made = lib.Message.from_author_and_content(author, message["content"])
            messages.append(made.with_recipient("assistant").with_channel("commentary"))
        else:
            messages += _reference_turn(lib, message, names)
    conversation = lib.Conversation.from_messages(messages)
    keep = lib.RenderConversationConfig(auto_drop_analysis=False)
    ids: list[int] = bench.encoding.render_conversation_for_completion(
        conversation, lib.Role.ASSISTANT, keep
    )
    return ids


def _reference_turn(lib: Any, message: dict[str, Any], names: dict[str, str]) -> list[Any]:
    made = []

    def add(words: str, channel: str) -> Any:
        made.append(lib.Message.from_role_and_content(lib.Role.ASSISTANT, words))
        return made[-1].with_channel(channel)

    if reasoning := message.get("reasoning"):
        add(reasoning, "analysis")
    for call in message.get("tool_calls", ()):
        name = names[call["id"]] = f"functions.{call['function']['name']}"
        calling = add(call["function"]["arguments"], "commentary")
        calling.with_recipient(name).with_content_type("<|constrain|>json")
    if words := message.get("content"):
        add(words, "final")
    return made


def _chat(tokens: int, tools: int, turns: int, target: float | None) -> Any:
    cold = target is None

    def run(bench: Bench, work: str) -> Row:
        numbers = count(100_000)
        size = min(tokens, 4000) if bench.settings.quick else tokens
        request = _request(size, tools, turns, 1)
        renderer = Renderer(dialect="reference")
        requests = 1 if cold else max(1, 10_000 // tokens)

        def new_bodies() -> list[bytes]:
            return [_body(request, next(numbers)) for _ in range(requests)]

        bodies = same = new_bodies()

        def prepare() -> None:
            nonlocal bodies, renderer
            bodies = new_bodies()
            if cold:
                renderer = Renderer(dialect="reference")
                bench.forget_words()

        def ours() -> None:
            for body in bodies:
                renderer.for_completion(decode_request(body, date=DATE), history="keep")

        def reference() -> None:
            for body in same:
                _reference(bench, body)

        expected = _reference(bench, same[0])
        got = renderer.for_completion(decode_request(same[0], date=DATE), history="keep")
        assert got == expected, "the outputs differ"
        texts = [
            message.get("content") or message.get("reasoning") or ""
            for message in json.loads(same[0])["messages"][1:]
        ]
        encode = bench.tokenizer.encode

        def limit() -> None:
            for body in same:
                json.loads(body)
                for words in texts:
                    encode(words)

        measured = compare(
            bench.settings,
            Work(ours, requests, prepare),
            Work(reference, requests),
            Work(limit, requests, bench.forget_words if cold else None),
        )
        note = f"{len(expected):,} tokens, {len(same[0]):,} bytes, {tools} tools; "
        note += (
            "a fresh renderer and an emptied tokenizer cache for every request"
            if cold
            else "one renderer, as in a server; new texts in every request"
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            unit="ms",
            limit="json.loads and the tokenizer alone",
            note=note,
        )

    return run


_SHAPES: Final = (("179", 16, 1, 1, 30), ("2.9k", 1900, 8, 5, 15), ("50k", 46_000, 8, 60, 6.5))
CASES: Final = [
    *[
        Case(GROUP, f"a request of {name} tokens", _chat(tokens, tools, turns, target))
        for name, tokens, tools, turns, target in _SHAPES
    ],
    *[
        Case(GROUP, f"a request of {name} tokens, all cold", _chat(tokens, tools, turns, None))
        for name, tokens, tools, turns, _ in _SHAPES
    ],
]
