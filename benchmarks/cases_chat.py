"""OpenAI's Chat Completions JSON → prompt tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Final

from bench import Bench, Case, NotBuiltError, Row, ratio_row
from timing import Work, compare
from workloads import text, tool_schemas

from antiphon.codec.render import Renderer
from antiphon.model.message import Conversation

__all__ = ["CASES"]

GROUP: Final = "Chat JSON to tokens"
DATE: Final = "2026-01-31"


def chat_request(turns: int, words: int, tools: int, seed: int) -> dict[str, Any]:
    """A request as a client sends it: instructions, tools, and a chat in which they are called."""
    rng = Random(f"chat {seed}")
    schemas = tool_schemas(tools, seed)
    messages: list[dict[str, Any]] = [{"role": "system", "content": text("ascii", words, seed)}]
    for turn in range(turns):
        at = seed * 1000 + turn * 10
        messages.append({"role": "user", "content": text("ascii", words, at)})
        if turn == turns - 1:
            break
        if schemas:
            name = rng.choice(schemas)["name"]
            arguments = f'{{"city": "{text("ascii", 1, at).strip()}", "days": {rng.randrange(14)}}}'
            call = {
                "id": f"call_{turn}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            messages += [
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": text("ascii", words, at + 1),
                    "tool_calls": [call],
                },
                {
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": text("ascii", 3 * words, at + 2),
                },
            ]
        messages.append({"role": "assistant", "content": text("ascii", 2 * words, at + 3)})
    request: dict[str, Any] = {"model": "gpt-oss-20b", "messages": messages}
    if schemas:
        request["tools"] = [{"type": "function", "function": schema} for schema in schemas]
    return {**request, "reasoning_effort": "medium", "temperature": 1.0, "stream": True}


def _reference(bench: Bench) -> Callable[[bytes], list[int]]:
    """What a program on the reference library does: json.loads, its objects, its renderer."""
    library, encoding = bench.library, bench.encoding
    message_of = library.Message.from_role_and_content
    role = library.Role

    def tokens(body: bytes) -> list[int]:
        request = json.loads(body)
        system = (
            library.SystemContent.new()
            .with_reasoning_effort(
                library.ReasoningEffort(request["reasoning_effort"].capitalize())
            )
            .with_conversation_start_date(DATE)
        )
        messages = [message_of(role.SYSTEM, system)]
        first, *rest = request["messages"]
        developer = library.DeveloperContent.new().with_instructions(first["content"])
        if offered := request.get("tools"):
            functions = [
                library.ToolDescription.new(
                    tool["function"]["name"],
                    tool["function"]["description"],
                    parameters=tool["function"]["parameters"],
                )
                for tool in offered
            ]
            developer = developer.with_function_tools(functions)
        messages.append(message_of(role.DEVELOPER, developer))
        names: dict[str, str] = {}
        for message in rest:
            if message["role"] == "user":
                messages.append(message_of(role.USER, message["content"]))
            elif message["role"] == "tool":
                author = library.Author.new(role.TOOL, names[message["tool_call_id"]])
                result = library.Message.from_author_and_content(author, message["content"])
                messages.append(result.with_channel("commentary").with_recipient("assistant"))
            else:
                _assistant(library, message, messages, names)
        conversation = library.Conversation.from_messages(messages)
        ids: list[int] = encoding.render_conversation_for_completion(conversation, role.ASSISTANT)
        return ids

    return tokens


def _assistant(
    library: Any, message: dict[str, Any], messages: list[Any], names: dict[str, str]
) -> None:
    def said(content: str, channel: str) -> Any:
        made = library.Message.from_role_and_content(library.Role.ASSISTANT, content)
        return made.with_channel(channel)

    if reasoning := message.get("reasoning_content"):
        messages.append(said(reasoning, "analysis"))
    for call in message.get("tool_calls", ()):
        function = call["function"]
        names[call["id"]] = f"functions.{function['name']}"
        made = said(function["arguments"], "commentary").with_recipient(names[call["id"]])
        messages.append(made.with_content_type("<|constrain|>json"))
    if content := message.get("content"):
        messages.append(said(content, "final"))


def _chat(turns: int, words: int, tools: int, target: float) -> Callable[[Bench, str], Row]:
    def run(bench: Bench, work: str) -> Row:
        try:
            from antiphon.api.chat.conversation import decode_request
        except ImportError as error:
            raise NotBuiltError(str(error)) from error
        size = min(turns, 6) if bench.settings.quick else turns
        request = chat_request(size, words, tools, 1)
        theirs = _reference(bench)
        renderer = Renderer(dialect="reference")
        numbers = count(100_000)
        body = b""
        parsed = Conversation()

        def new_texts() -> None:
            nonlocal body, parsed
            body = _numbered(request, next(numbers))
            parsed = decode_request(body, date=DATE)

        def ours() -> list[int]:
            return renderer.for_completion(decode_request(body, date=DATE))

        new_texts()
        expected = theirs(body)
        assert ours() == expected, "the outputs differ"
        units = len(expected)
        measured = compare(
            bench.settings,
            Work(ours, units, new_texts),
            Work(lambda: theirs(body), units),
            Work(lambda: renderer.for_completion(parsed), units, new_texts),
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            limit="rendering alone",
            note=(
                f"{units:,} tokens, {tools} tools; one renderer, as in a server: it knows the"
                " instructions and the tools, the texts of the chat are new for every call"
            ),
        )

    return run


def _numbered(request: dict[str, Any], number: int) -> bytes:
    """The request with a six-digit number before each text of the chat: new, and as long."""
    first, *rest = request["messages"]
    chat = [
        {
            k: f"{number} {v}" if k in ("content", "reasoning_content") and v else v
            for k, v in message.items()
        }
        for message in rest
    ]
    return json.dumps({**request, "messages": [first, *chat]}, ensure_ascii=False).encode()


CASES: Final = [
    Case(
        GROUP,
        f"a request of {size} tokens",
        _chat(turns, words, tools, target),
        f"at least {target:g}x",
    )
    for size, turns, words, tools, target in (
        ("179", 1, 56, 0, 30),
        ("2.9k", 5, 60, 8, 15),
        ("50k", 150, 45, 12, 6.5),
    )
]
