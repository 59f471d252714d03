"""``tool_choice`` of a Responses request → which tools may be called."""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.errors import ApiError
from antiphon.api.responses.conversation import flat_name
from antiphon.api.responses.served import NO_SERVED_TOOLS, ServedTools
from antiphon.api.responses.tools import ResponseTools
from antiphon.codec.grammar.plan import AUTO, NONE, REQUIRED, ToolChoice, ToolMode
from antiphon.errors import MessageError

__all__ = ["HOSTED", "read_choice"]

MAX_ALLOWED: Final = 1024
"""Most entries of ``allowed_tools``."""

HOSTED: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Types of tools that run on OpenAI's servers, or in a way of their own. They are passed over."""

_MODES: Final = {"none": NONE, "auto": AUTO, "required": REQUIRED, "any": REQUIRED}


class _Tool(msgspec.Struct):
    type: str = "function"
    name: str | None = None
    namespace: str | None = None
    server_label: str | None = None


class _Choice(_Tool):
    mode: str = "auto"
    tools: list[_Tool] | None = None


_CHOICE: Final = msgspec.json.Decoder(str | _Choice | None)


def read_choice(
    raw: bytes,
    tools: ResponseTools,
    ignored: list[str],
    served: ServedTools = NO_SERVED_TOOLS,
) -> ToolChoice:
    """Raises MessageError for what is not a choice or not offered, ApiError for hosted tools."""
    choice = decode_field(_CHOICE, raw, "tool_choice")
    if choice is None:
        return AUTO
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is None:
            raise MessageError(
                f"tool_choice: expected none, auto, required or an object, got {choice[:60]!r}",
                field="tool_choice",
            )
        if mode is REQUIRED and not tools.tools and not served.spaces:
            raise MessageError(
                "tool_choice: a call is required, but no tool is offered that can be called here",
                field="tool_choice",
            )
        return mode
    if choice.type == "allowed_tools":
        return _allowed(choice, tools, ignored, served)
    if choice.type in HOSTED:
        if names := _served(choice, tools, served):
            return ToolChoice(ToolMode.REQUIRED, names)
        raise ApiError(
            f"tool_choice.type: a tool of type {choice.type!r} cannot be called here",
            param="tool_choice.type",
            code="unsupported_parameter",
        )
    return ToolChoice(ToolMode.REQUIRED, (_offered(choice, tools, "tool_choice"),))


def _allowed(
    choice: _Choice, tools: ResponseTools, ignored: list[str], served: ServedTools
) -> ToolChoice:
    if choice.mode not in ("auto", "required"):
        raise MessageError(
            f"tool_choice.mode: expected auto or required, got {choice.mode[:60]!r}",
            field="tool_choice.mode",
        )
    if choice.tools is None or not 0 < len(choice.tools) <= MAX_ALLOWED:
        raise MessageError(
            f"tool_choice.tools: expected 1 to {MAX_ALLOWED} tools, got {len(choice.tools or ())}",
            field="tool_choice.tools",
        )
    names: list[str] = []
    for i, tool in enumerate(choice.tools):
        where = f"tool_choice.tools[{i}]"
        if tool.type in HOSTED and (found := _served(tool, tools, served)):
            names += found
        elif tool.type in HOSTED:
            ignored.append(f"{where}.type={tool.type}")
        elif tool.type == "namespace":
            names += _inside(tool, tools, where)
        else:
            names.append(_offered(tool, tools, where))
    if names:
        return ToolChoice(ToolMode(choice.mode), tuple(dict.fromkeys(names)))
    if choice.mode == "required":
        raise MessageError(
            "tool_choice: a call is required, but no tool is allowed that can be called here",
            field="tool_choice",
        )
    return NONE


def _served(tool: _Tool, tools: ResponseTools, served: ServedTools) -> tuple[str, ...]:
    """The recipients of a tool that the server itself runs; none if it runs no such tool."""
    label = tool.server_label
    names = served.choices.get(tool.type if label is None else f"{tool.type}/{label}", ())
    if tool.name is not None:
        wanted = flat_name(tool.name, label)
        names = tuple([name for name in names if name == wanted])
    aliases = tools.tools.names
    return tuple([aliases.recipient(name) if name in aliases.aliases else name for name in names])


def _inside(tool: _Tool, tools: ResponseTools, where: str) -> list[str]:
    """All tools of a namespace."""
    flats = [flat for flat, (space, _) in tools.namespaced.items() if space == tool.name]
    if not flats:
        raise _missing(tool.name or "", f"{where}.name")
    return [tools.tools.names.recipient(flat) for flat in flats]


def _offered(tool: _Tool, tools: ResponseTools, where: str) -> str:
    if tool.type not in ("function", "custom"):
        raise MessageError(
            f"{where}.type: expected function, custom or allowed_tools, got {tool.type[:60]!r}",
            field=f"{where}.type",
        )
    if tool.name is None:
        raise MessageError(f"{where}.name: is missing", field=f"{where}.name")
    names = tools.tools.names
    name = flat_name(tool.name, tool.namespace)
    if name not in names.aliases:
        bare = tools.bare.get(tool.name) if tool.namespace is None else None
        if bare is None:
            raise _missing(name, f"{where}.name")
        name = bare
    return names.recipient(name)


def _missing(name: str, field: str) -> MessageError:
    return MessageError(
        f"{field}: {name[:60]!r} is not among the tools that are offered", field=field
    )
