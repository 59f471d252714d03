"""``tool_choice`` and the deprecated ``function_call`` → which tools may be called."""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.chat.tools import Toolset
from antiphon.api.responses.served import NO_SERVED_TOOLS, ServedTools
from antiphon.codec.grammar.plan import AUTO, NONE, REQUIRED, ToolChoice, ToolMode
from antiphon.errors import MessageError

__all__ = ["read_choice"]

MAX_ALLOWED: Final = 1024
"""Most entries of ``allowed_tools``."""

_MODES: Final = {"none": NONE, "auto": AUTO, "required": REQUIRED, "any": REQUIRED}


class _Named(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None
    custom: _Named | None = None
    name: str | None = None


class _Allowed(msgspec.Struct):
    mode: str = "auto"
    tools: list[_Tool] = []


class _Choice(_Tool):
    allowed_tools: _Allowed | None = None
    mode: str = "auto"
    tools: list[_Tool] | None = None


_CHOICE: Final = msgspec.json.Decoder(str | _Choice | None)
_FUNCTION_CALL: Final = msgspec.json.Decoder(str | _Named | None)


def read_choice(
    tool_choice: bytes,
    function_call: bytes,
    tools: Toolset,
    served: ServedTools = NO_SERVED_TOOLS,
) -> ToolChoice:
    """Raises MessageError for what is not a choice, or not one of the tools."""
    choice = decode_field(_CHOICE, tool_choice, "tool_choice")
    if isinstance(choice, str):
        return _mode(choice, tools, "tool_choice", served)
    if choice is not None:
        return _structured(choice, tools, served)
    old = decode_field(_FUNCTION_CALL, function_call, "function_call")
    if isinstance(old, str):
        return _mode(old, tools, "function_call", served)
    if old is not None:
        names = (_offered(old.name, tools, "function_call.name"),)
        return ToolChoice(ToolMode.REQUIRED, names)
    return AUTO


def _mode(word: str, tools: Toolset, field: str, served: ServedTools) -> ToolChoice:
    choice = _MODES.get(word)
    if choice is None:
        raise MessageError(
            f"{field}: expected none, auto, required or an object, got {word[:60]!r}", field=field
        )
    if choice is REQUIRED and not tools and not served.spaces:
        raise MessageError(f"{field}: a call is required, but no tool is offered", field=field)
    return choice


def _structured(choice: _Choice, tools: Toolset, served: ServedTools) -> ToolChoice:
    field = "tool_choice"
    if choice.type != "allowed_tools":
        if choice.type in served.choices:
            return ToolChoice(ToolMode.REQUIRED, served.choices[choice.type])
        return ToolChoice(ToolMode.REQUIRED, (_name(choice, tools, field),))
    allowed, where = choice.allowed_tools, "tool_choice.allowed_tools"
    if allowed is None:
        if choice.tools is None:
            raise MessageError(f"{where}: is missing", field=where)
        allowed, where = _Allowed(choice.mode, choice.tools), field
    if allowed.mode not in ("auto", "required"):
        raise MessageError(
            f"{where}.mode: expected auto or required, got {allowed.mode[:60]!r}",
            field=f"{where}.mode",
        )
    if not 0 < len(allowed.tools) <= MAX_ALLOWED:
        raise MessageError(
            f"{where}.tools: expected 1 to {MAX_ALLOWED} tools, got {len(allowed.tools)}",
            field=f"{where}.tools",
        )
    names: list[str] = []
    for i, tool in enumerate(allowed.tools):
        names += served.choices.get(tool.type) or [_name(tool, tools, f"{where}.tools[{i}]")]
    return ToolChoice(ToolMode(allowed.mode), tuple(dict.fromkeys(names)))


def _name(tool: _Tool, tools: Toolset, field: str) -> str:
    if tool.type not in ("function", "custom"):
        raise MessageError(
            f"{field}.type: expected function, custom or allowed_tools, got {tool.type[:60]!r}",
            field=f"{field}.type",
        )
    inner = tool.function if tool.type == "function" else tool.custom
    if inner is not None:
        return _offered(inner.name, tools, f"{field}.{tool.type}.name")
    if tool.name is not None:
        return _offered(tool.name, tools, f"{field}.name")
    raise MessageError(f"{field}.{tool.type}: is missing", field=f"{field}.{tool.type}")


def _offered(name: str, tools: Toolset, field: str) -> str:
    if name not in tools.names.aliases:
        raise MessageError(
            f"{field}: {name[:60]!r} is not among the tools that are offered", field=field
        )
    return tools.names.recipient(name)
