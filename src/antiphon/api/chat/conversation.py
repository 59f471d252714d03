"""A Chat Completions request → the conversation that is rendered as its prompt.

- The system message is gpt-oss's own: identity, knowledge cutoff, effort, channels. What a client
  calls ``system`` or ``developer`` are instructions, and go into a developer message. All of them
  at the start are one message, which also offers the tools and names the response format.
- An assistant turn becomes its reasoning (analysis), its text and its calls (commentary). Text
  beside calls is a preamble (commentary), else it is the answer (final).
- A tool result carries only the id of its call, so the tool's name is looked up in the calls before
  it; failing that it is the message's ``name``, and failing that it is made from the id.

Nothing here decides which reasoning survives: the renderer's history policy does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from antiphon.api.chat.wire import (
    Assistant,
    Call,
    CalledFunction,
    CustomTool,
    Developer,
    Function,
    FunctionTool,
    PromptRequest,
    ResponseFormatParameter,
    System,
    WireContent,
    WireMessage,
    WireTool,
)
from antiphon.api.chat.wire import Tool as ToolResult
from antiphon.errors import MessageError
from antiphon.model.content import (
    DeveloperContent,
    ReasoningEffort,
    ResponseFormat,
    SystemContent,
    TextContent,
)
from antiphon.model.json import decode_as
from antiphon.model.message import CONSTRAIN_JSON, Author, Conversation, Message, Role
from antiphon.model.tools import FUNCTIONS, Tool, ToolNamespace
from antiphon.model.validate import check_header

__all__ = ["EFFORTS", "PromptRequest", "conversation", "decode_request"]

EFFORTS: Final = {
    "none": ReasoningEffort.LOW,
    "minimal": ReasoningEffort.LOW,
    "low": ReasoningEffort.LOW,
    "medium": ReasoningEffort.MEDIUM,
    "high": ReasoningEffort.HIGH,
    "xhigh": ReasoningEffort.HIGH,
    "max": ReasoningEffort.HIGH,
}
"""OpenAI's efforts → gpt-oss's three: the nearest one it was trained on."""

MAX_NAME_CHARS: Final = 128
"""Longest tool name accepted. OpenAI allows 64."""

MAX_KNOWN_BYTES: Final = 1 << 16
KNOWN_DEVELOPERS: Final = 64
"""So many developer messages of at most so many bytes of JSON are kept: agents repeat theirs."""

_T = TypeVar("_T")

_DECODER: Final = msgspec.json.Decoder(PromptRequest)
_TOOLS: Final = msgspec.json.Decoder(list[WireTool] | None)
_FUNCTIONS: Final = msgspec.json.Decoder(list[FunctionTool] | None)
_RESPONSE_FORMAT: Final = msgspec.json.Decoder(ResponseFormatParameter | None)
_ENCODE: Final = msgspec.json.Encoder().encode
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*\Z")
_FORMAT_NAME: Final = re.compile(rf"[\w.\-]{{1,{MAX_NAME_CHARS}}}\Z")
_NOT_NAME: Final = re.compile(r"[^\w.\-]+")
_ASSISTANT: Final = Author(Role.ASSISTANT)
_USER: Final = Author(Role.USER)
_DEVELOPER: Final = Author(Role.DEVELOPER)
_NO_DEVELOPER: Final = DeveloperContent()
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_CUSTOM_PARAMETERS: Final = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""A custom tool takes free text. gpt-oss knows only functions, so the text is their one string."""


def decode_request(data: bytes | str, *, date: str | None = None) -> Conversation:
    """Read the JSON body of a request. ``date`` is today's, ISO, for the system message.

    Raises MessageError naming the field that is wrong.
    """
    return conversation(decode_as(_DECODER, data), date=date)


def conversation(request: PromptRequest, *, date: str | None = None) -> Conversation:
    """The conversation of a decoded request. Raises MessageError naming the field that is wrong."""
    wire = request.messages
    if not wire:
        raise MessageError("messages: must not be empty", field="messages")
    start = 0
    instructions: list[str] = []
    for message in wire:
        if not isinstance(message, System | Developer):
            break
        instructions.append(_joined(message.content, start))
        start += 1
    out = [_system(_effort(request), date)]
    developer = _developer(
        "\n\n".join(instructions) if instructions else None,
        bytes(request.tools),
        bytes(request.functions),
        bytes(request.response_format),
    )
    if developer is not None:
        out.append(developer)
    _translate(wire, start, out)
    return Conversation(tuple(out))


def _developer(instructions: str | None, *raw: bytes) -> Message | None:
    size = len(instructions or "") + sum(map(len, raw))
    make = _known_developer if size <= MAX_KNOWN_BYTES else _new_developer
    return make(instructions, *raw)


def _new_developer(
    instructions: str | None, tools: bytes, functions: bytes, response_format: bytes
) -> Message | None:
    content = DeveloperContent(
        instructions, _tools(tools, functions), _response_formats(response_format)
    )
    return None if content == _NO_DEVELOPER else Message(_DEVELOPER, (content,))


# The same object each time, which the renderer's memo finds without looking into it.
_known_developer = lru_cache(maxsize=KNOWN_DEVELOPERS)(_new_developer)


@lru_cache(maxsize=64)
def _system(effort: ReasoningEffort, date: str | None) -> Message:
    return Message.system(SystemContent.default(effort, date=date))


def _translate(wire: Sequence[WireMessage], start: int, out: list[Message]) -> None:
    recipients: dict[str, str] = {}
    for i in range(start, len(wire)):
        message = wire[i]
        if isinstance(message, Assistant):
            _assistant(message, i, out, recipients)
        elif isinstance(message, ToolResult):
            out.append(_tool_result(message, i, recipients))
        elif isinstance(message, Function):
            name = _qualified(message.name, f"messages[{i}].name")
            out.append(_result(name, _contents(message.content, i)))
        elif isinstance(message, System | Developer):
            text = _joined(message.content, i)
            out.append(Message(_DEVELOPER, (DeveloperContent(text),)))
        else:
            author = _USER
            if message.name is not None:
                check_header("user", message.name, None, None, None, where=f"messages[{i}].")
                author = Author(Role.USER, message.name)
            out.append(Message(author, _contents(message.content, i)))


def _assistant(message: Assistant, at: int, out: list[Message], recipients: dict[str, str]) -> None:
    before = len(out)
    reasoning = message.reasoning or message.reasoning_content or message.thinking
    if reasoning:
        out.append(Message(_ASSISTANT, (TextContent(reasoning),), "analysis"))
    calls = message.tool_calls
    content = _contents(message.content if message.content is not None else message.refusal, at)
    if calls or message.function_call is not None:
        if any(part.text for part in content):
            out.append(Message(_ASSISTANT, content, "commentary"))
        for j, call in enumerate(calls or ()):
            out.append(_call(call, f"messages[{at}].tool_calls[{j}]", recipients))
        if message.function_call is not None:
            out.append(_function_call(message.function_call, f"messages[{at}].function_call"))
    elif any(part.text for part in content) or len(out) == before:
        out.append(Message(_ASSISTANT, content, "final"))


def _call(call: Call, where: str, recipients: dict[str, str]) -> Message:
    if call.function is not None:
        message = _function_call(call.function, f"{where}.function")
    elif call.custom is not None:
        arguments = _ENCODE({"input": call.custom.input}).decode()
        recipient = _qualified(call.custom.name, f"{where}.custom.name")
        message = Message(
            _ASSISTANT, (TextContent(arguments),), "commentary", recipient, CONSTRAIN_JSON
        )
    else:
        raise MessageError(f"{where}.function: is missing", field=f"{where}.function")
    if call.id is not None and message.recipient is not None:
        recipients[call.id] = message.recipient
    return message


def _function_call(function: CalledFunction, where: str) -> Message:
    arguments = function.arguments
    if not isinstance(arguments, str):
        arguments = _ENCODE(arguments).decode()
    recipient = _qualified(function.name, f"{where}.name")
    return Message(_ASSISTANT, (TextContent(arguments),), "commentary", recipient, CONSTRAIN_JSON)


def _tool_result(message: ToolResult, at: int, recipients: dict[str, str]) -> Message:
    name = recipients.get(message.tool_call_id or "")
    if name is None:
        if message.name:
            name = _qualified(message.name, f"messages[{at}].name")
        else:
            made = _NOT_NAME.sub("_", message.tool_call_id or "")[:MAX_NAME_CHARS]
            name = f"{FUNCTIONS}.{made or 'unknown'}"
    return _result(name, _contents(message.content, at))


def _result(name: str, content: tuple[TextContent, ...]) -> Message:
    return Message(Author(Role.TOOL, name), content, "commentary", "assistant")


@lru_cache(maxsize=4096)
def _checked(name: str) -> str | None:
    """``functions.NAME``, or None if a header cannot carry the name."""
    return f"{FUNCTIONS}.{name}" if len(name) <= MAX_NAME_CHARS and _NAME.match(name) else None


def _qualified(name: str, where: str) -> str:
    qualified = _checked(name)
    if qualified is None:
        raise MessageError(
            f"{where}: {name[:60]!r} is not a tool name (letters, digits, '_', '.', '-', not"
            f" starting with a digit, at most {MAX_NAME_CHARS} characters)",
            field=where,
        )
    return qualified


# Content


def _contents(content: WireContent | None, at: int) -> tuple[TextContent, ...]:
    if isinstance(content, str):
        return (TextContent(content),)
    if content is None:
        return (TextContent(""),)
    return tuple([TextContent(text) for text in _texts(content, at)]) or (TextContent(""),)


def _joined(content: WireContent, at: int) -> str:
    return content if isinstance(content, str) else "".join(_texts(content, at))


def _texts(parts: Sequence[Any], at: int) -> list[str]:
    texts = []
    for j, part in enumerate(parts):
        text = part.refusal if part.type == "refusal" else part.text
        field = f"messages[{at}].content[{j}]"
        if part.type not in _TEXT_PARTS and part.type != "refusal":
            raise MessageError(
                f"{field}.type: {part.type[:60]!r} is not supported; gpt-oss reads text only",
                field=f"{field}.type",
            )
        if text is None:
            field += ".refusal" if part.type == "refusal" else ".text"
            raise MessageError(f"{field}: is missing", field=field)
        texts.append(text)
    return texts


# Settings


def _effort(request: PromptRequest) -> ReasoningEffort:
    field, value = "reasoning_effort", request.reasoning_effort
    if value is None and request.reasoning is not None:
        field, value = "reasoning.effort", request.reasoning.effort
    if value is None:
        return ReasoningEffort.MEDIUM
    effort = EFFORTS.get(value)
    if effort is None:
        raise MessageError(
            f"{field}: expected one of {', '.join(EFFORTS)}, got {value[:60]!r}", field=field
        )
    return effort


def _decoded(decoder: msgspec.json.Decoder[_T], raw: bytes, name: str) -> _T:
    try:
        return decode_as(decoder, raw)
    except MessageError as error:
        field = f"{name}{'' if (error.field or '[')[0] == '[' else '.'}{error.field or ''}"
        message = str(error).removeprefix(f"{error.field}: ")
        raise MessageError(f"{field}: {message}", field=field) from error


def _tools(raw_tools: bytes, raw_functions: bytes) -> dict[str, ToolNamespace] | None:
    tools = []
    for i, tool in enumerate(_decoded(_TOOLS, raw_tools, "tools") or ()):
        if tool.type == "function":
            if tool.function is None:
                raise MessageError(f"tools[{i}].function: is missing", field=f"tools[{i}].function")
            tools.append(_tool(tool.function, f"tools[{i}].function"))
        elif tool.type == "custom":
            if tool.custom is None:
                raise MessageError(f"tools[{i}].custom: is missing", field=f"tools[{i}].custom")
            tools.append(_tool(tool.custom, f"tools[{i}].custom"))
    for i, function in enumerate(_decoded(_FUNCTIONS, raw_functions, "functions") or ()):
        tools.append(_tool(function, f"functions[{i}]"))
    return {FUNCTIONS: ToolNamespace(FUNCTIONS, None, tuple(tools))} if tools else None


def _tool(tool: FunctionTool | CustomTool, where: str) -> Tool:
    _qualified(tool.name, f"{where}.name")
    parameters = _CUSTOM_PARAMETERS if isinstance(tool, CustomTool) else tool.parameters
    return Tool(tool.name, tool.description or "", parameters)


def _response_formats(raw: bytes) -> tuple[ResponseFormat, ...]:
    wanted = _decoded(_RESPONSE_FORMAT, raw, "response_format")
    if wanted is None or wanted.type != "json_schema":
        return ()
    schema = wanted.json_schema
    if schema is None:
        field = "response_format.json_schema"
        raise MessageError(f"{field}: is missing", field=field)
    if not _FORMAT_NAME.match(schema.name):
        field = "response_format.json_schema.name"
        raise MessageError(
            f"{field}: {schema.name[:60]!r} is not a name (letters, digits, '_', '.', '-', at most"
            f" {MAX_NAME_CHARS} characters)",
            field=field,
        )
    return (
        ResponseFormat(
            name=schema.name, schema=schema.schema or {}, description=schema.description
        ),
    )
