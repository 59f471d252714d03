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
from typing import Final, TypeVar

import msgspec

from antiphon.api.chat.wire import (
    Assistant,
    Call,
    CalledFunction,
    CustomTool,
    Developer,
    Function,
    FunctionTool,
    Part,
    PromptRequest,
    ResponseFormatParameter,
    System,
    WireContent,
    WireMessage,
    WireTool,
)
from antiphon.api.chat.wire import Tool as ToolResult
from antiphon.api.toolset import MAX_NAME_CHARS
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

__all__ = [
    "ASSISTANT",
    "EFFORTS",
    "MAX_NAME_CHARS",
    "TEXT_PARTS",
    "PromptRequest",
    "Translation",
    "conversation",
    "decode_field",
    "decode_request",
    "joined",
    "texts",
]

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
ASSISTANT: Final = Author(Role.ASSISTANT)
_USER: Final = Author(Role.USER)
_DEVELOPER: Final = Author(Role.DEVELOPER)
_NO_DEVELOPER: Final = DeveloperContent()
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
"""Types of content parts that are text; ``refusal`` has its text in another field."""
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
        instructions.append(joined(message.content, start))
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
    Translation(out).translate(wire, start)
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


class Translation:
    """Turns of a chat → messages, one after the other. A subclass may read more into them."""

    __slots__ = ("out", "recipients")

    def __init__(self, out: list[Message]) -> None:
        self.out: Final = out
        self.recipients: Final[dict[str, str]] = {}
        """Client's call id → whom the call was addressed to; the latest call counts."""

    def translate(self, wire: Sequence[WireMessage], start: int) -> None:
        """Append the messages that those from ``start`` on make."""
        out = self.out
        for i in range(start, len(wire)):
            message = wire[i]
            if isinstance(message, Assistant):
                self.assistant(message, i)
            elif isinstance(message, ToolResult):
                name = self._called(message, i)
                out.append(_result(name, self.contents(message.content, i)))
            elif isinstance(message, Function):
                name = self.qualified(message.name, f"messages[{i}].name")
                out.append(_result(name, self.contents(message.content, i)))
            elif isinstance(message, System | Developer):
                self.instructions(message, i)
            else:
                author = _USER
                if message.name is not None:
                    check_header("user", message.name, None, None, None, where=f"messages[{i}].")
                    author = Author(Role.USER, message.name)
                out.append(Message(author, self.contents(message.content, i)))

    def instructions(self, message: System | Developer, at: int) -> None:
        """Instructions in the middle of a conversation."""
        text = joined(message.content, at)
        self.out.append(Message(_DEVELOPER, (DeveloperContent(text),)))

    def assistant(self, message: Assistant, at: int) -> None:
        """A turn of the model: reasoning, text, calls."""
        out = self.out
        before = len(out)
        reasoning = message.reasoning or message.reasoning_content or message.thinking
        if reasoning:
            out.append(Message(ASSISTANT, (TextContent(reasoning),), "analysis"))
        calls = message.tool_calls
        content = message.content if message.content is not None else message.refusal
        parts = self.contents(content, at)
        said = parts[0].text if len(parts) == 1 else any(part.text for part in parts)
        if calls or message.function_call is not None:
            if said:
                out.append(Message(ASSISTANT, parts, "commentary"))
            for j, call in enumerate(calls or ()):
                self.call(call, f"messages[{at}].tool_calls[{j}]")
            if message.function_call is not None:
                self.function_call(message.function_call, f"messages[{at}].function_call", None)
        elif said or len(out) == before:
            out.append(Message(ASSISTANT, parts, "final"))

    def call(self, call: Call, where: str) -> None:
        """One entry of ``tool_calls``."""
        if call.function is not None:
            self.function_call(call.function, f"{where}.function", call.id)
        elif call.custom is not None:
            arguments = _ENCODE({"input": call.custom.input}).decode()
            recipient = self.qualified(call.custom.name, f"{where}.custom.name")
            self.add_call(recipient, arguments, call.id)
        else:
            raise MessageError(f"{where}.function: is missing", field=f"{where}.function")

    def function_call(self, function: CalledFunction, where: str, call_id: str | None) -> None:
        """A call with JSON arguments."""
        arguments = function.arguments
        if not isinstance(arguments, str):
            arguments = _ENCODE(arguments).decode()
        self.add_call(self.qualified(function.name, f"{where}.name"), arguments, call_id)

    def add_call(self, recipient: str, arguments: str, call_id: str | None) -> None:
        """Append a call."""
        if call_id is not None:
            self.recipients[call_id] = recipient
        content = (TextContent(arguments),)
        self.out.append(Message(ASSISTANT, content, "commentary", recipient, CONSTRAIN_JSON))

    def _called(self, message: ToolResult, at: int) -> str:
        name = self.recipients.get(message.tool_call_id or "")
        if name is not None:
            return name
        if message.name:
            return self.qualified(message.name, f"messages[{at}].name")
        return self.unknown_call(message.tool_call_id or "")

    def unknown_call(self, call_id: str) -> str:
        """Whom a call was addressed to of which only the id is known."""
        made = _NOT_NAME.sub("_", call_id)[:MAX_NAME_CHARS]
        return f"{FUNCTIONS}.{made or 'unknown'}"

    def qualified(self, name: str, where: str) -> str:
        """The recipient that a tool's name means. Raises MessageError for what cannot be one."""
        return _qualified(name, where)

    def contents(self, content: WireContent | None, at: int) -> tuple[TextContent, ...]:
        """The text of a message. Raises MessageError for parts that are not text."""
        if isinstance(content, str):
            return (TextContent(content),)
        if content is None:
            return (TextContent(""),)
        return tuple([TextContent(text) for text in texts(content, at)]) or (TextContent(""),)


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


def joined(content: WireContent, at: int) -> str:
    """The text of a message as one string. Raises MessageError for parts that are not text."""
    return content if isinstance(content, str) else "".join(texts(content, at))


def texts(parts: Sequence[Part], at: int) -> list[str]:
    """The text of each part. Raises MessageError for parts that are not text."""
    found = []
    for j, part in enumerate(parts):
        text = part.refusal if part.type == "refusal" else part.text
        field = f"messages[{at}].content[{j}]"
        if part.type not in TEXT_PARTS and part.type != "refusal":
            raise MessageError(
                f"{field}.type: {part.type[:60]!r} is not supported; gpt-oss reads text only",
                field=f"{field}.type",
            )
        if text is None:
            field += ".refusal" if part.type == "refusal" else ".text"
            raise MessageError(f"{field}: is missing", field=field)
        found.append(text)
    return found


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


def decode_field(decoder: msgspec.json.Decoder[_T], raw: bytes, name: str) -> _T:
    """Decode a field that was left as it is. Raises MessageError naming what is wrong in it."""
    try:
        return decode_as(decoder, raw)
    except MessageError as error:
        field = f"{name}{'' if (error.field or '[')[0] == '[' else '.'}{error.field or ''}"
        message = str(error).removeprefix(f"{error.field}: ")
        raise MessageError(f"{field}: {message}", field=field) from error


def _tools(raw_tools: bytes, raw_functions: bytes) -> dict[str, ToolNamespace] | None:
    tools = []
    for i, tool in enumerate(decode_field(_TOOLS, raw_tools, "tools") or ()):
        if tool.type == "function":
            if tool.function is None:
                raise MessageError(f"tools[{i}].function: is missing", field=f"tools[{i}].function")
            tools.append(_tool(tool.function, f"tools[{i}].function"))
        elif tool.type == "custom":
            if tool.custom is None:
                raise MessageError(f"tools[{i}].custom: is missing", field=f"tools[{i}].custom")
            tools.append(_tool(tool.custom, f"tools[{i}].custom"))
    for i, function in enumerate(decode_field(_FUNCTIONS, raw_functions, "functions") or ()):
        tools.append(_tool(function, f"functions[{i}]"))
    return {FUNCTIONS: ToolNamespace(FUNCTIONS, None, tuple(tools))} if tools else None


def _tool(tool: FunctionTool | CustomTool, where: str) -> Tool:
    _qualified(tool.name, f"{where}.name")
    parameters = _CUSTOM_PARAMETERS if isinstance(tool, CustomTool) else tool.parameters
    return Tool(tool.name, tool.description or "", parameters)


def _response_formats(raw: bytes) -> tuple[ResponseFormat, ...]:
    wanted = decode_field(_RESPONSE_FORMAT, raw, "response_format")
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
