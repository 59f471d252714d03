"""The part of a Chat Completions request that becomes the prompt, as it comes over the wire.

Unknown fields are ignored: sampling parameters and the like are read elsewhere. Field names that
other servers and clients use for reasoning are accepted beside OpenAI's.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = [
    "ABSENT",
    "Assistant",
    "Call",
    "CalledFunction",
    "CustomCall",
    "CustomFormat",
    "CustomGrammar",
    "CustomTool",
    "Developer",
    "File",
    "Function",
    "FunctionTool",
    "JsonSchema",
    "Part",
    "PromptRequest",
    "Reasoning",
    "ResponseFormatParameter",
    "System",
    "Tool",
    "User",
    "WireContent",
    "WireMessage",
    "WireTool",
]


ABSENT: Final = msgspec.Raw(b"null")
"""A field that is not there is one that is null."""


class File(msgspec.Struct, gc=False):
    """A file in a content part: its bytes as base64 or as a ``data:`` URL, or an id."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class Part(msgspec.Struct, gc=False):
    """One part of a content list."""

    type: str
    text: str | None = None
    refusal: str | None = None
    file: File | None = None


WireContent = str | list[Part]


class System(msgspec.Struct, tag_field="role", tag="system"):
    """Instructions; the name that clients use most."""

    content: WireContent


class Developer(msgspec.Struct, tag_field="role", tag="developer"):
    """Instructions; the newer name."""

    content: WireContent


class User(msgspec.Struct, tag_field="role", tag="user"):
    """What a person says. ``name`` tells several apart."""

    content: WireContent
    name: str | None = None


class CalledFunction(msgspec.Struct):
    """``arguments`` is JSON text; some clients send the object itself."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class CustomCall(msgspec.Struct):
    """A call with free text instead of JSON."""

    name: str
    input: str = ""


class Call(msgspec.Struct):
    """A tool call: ``function`` or ``custom``."""

    id: str | None = None
    function: CalledFunction | None = None
    custom: CustomCall | None = None


class Assistant(msgspec.Struct, tag_field="role", tag="assistant"):
    """A turn of the model: reasoning under any of its names, text, calls."""

    content: WireContent | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    thinking: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: CalledFunction | None = None
    audio: Any = None


class Tool(msgspec.Struct, tag_field="role", tag="tool"):
    """The result of the call ``tool_call_id``."""

    content: WireContent | None = None
    tool_call_id: str | None = None
    name: str | None = None


class Function(msgspec.Struct, tag_field="role", tag="function"):
    """The result of the deprecated ``function_call``."""

    name: str
    content: WireContent | None = None


WireMessage = System | Developer | User | Assistant | Tool | Function


class FunctionTool(msgspec.Struct):
    """A function on offer. ``parameters`` is its JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CustomGrammar(msgspec.Struct):
    """What a custom tool's text must match. ``syntax`` is ``lark`` or ``regex``."""

    definition: str
    syntax: str


class CustomFormat(msgspec.Struct):
    """``text``, or ``grammar``. Some clients leave out the object around the grammar."""

    type: str = "text"
    grammar: CustomGrammar | None = None
    definition: str | None = None
    syntax: str | None = None


class CustomTool(msgspec.Struct):
    """A tool on offer that takes free text."""

    name: str
    description: str | None = None
    format: CustomFormat | None = None


class WireTool(msgspec.Struct):
    """One entry of ``tools``. Types other than function and custom are passed over."""

    type: str = "function"
    function: FunctionTool | None = None
    custom: CustomTool | None = None


class JsonSchema(msgspec.Struct):
    """The schema of a structured answer."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormatParameter(msgspec.Struct):
    """``json_schema``; other types do not show in the prompt."""

    type: str
    json_schema: JsonSchema | None = None


class Reasoning(msgspec.Struct):
    """OpenRouter's and the Responses API's way to say the effort."""

    effort: str | None = None


class PromptRequest(msgspec.Struct):
    """What of a request the prompt is made of.

    What rarely changes from one request to the next is left as it is, to be looked up rather than
    decoded: ``tools`` (a list of WireTool), ``functions`` (a list of FunctionTool) and
    ``response_format`` (a ResponseFormatParameter).
    """

    messages: list[WireMessage]
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
