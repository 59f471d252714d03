"""The tools of a request: ``tools`` and the deprecated ``functions`` → what the prompt offers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import MAX_NAME_CHARS, decode_field
from antiphon.api.chat.wire import ABSENT, CustomTool, FunctionTool, WireTool
from antiphon.api.toolnames import ToolNames
from antiphon.codec.grammar.limits import check_schema
from antiphon.codec.grammar.plan import MAX_CALLS
from antiphon.errors import MessageError, SchemaError
from antiphon.model.tools import FUNCTIONS, Tool, ToolNamespace

__all__ = ["CUSTOM_PARAMETERS", "Toolset", "read_tools"]

MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_TOOLSETS: Final = 64
"""So many tool lists of at most so many bytes are kept: agents repeat theirs."""
MAX_DESCRIPTION_CHARS: Final = 1 << 17
"""Longest description of one tool."""

CUSTOM_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""A custom tool takes free text. gpt-oss knows only functions, so the text is their one string."""

_TOOLS: Final = msgspec.json.Decoder(list[WireTool] | None)
_FUNCTIONS: Final = msgspec.json.Decoder(list[FunctionTool] | None)


class Toolset(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a request offers. Recipients are ``functions.ALIAS``. Equal only to itself."""

    names: ToolNames = ToolNames()
    namespaces: Mapping[str, ToolNamespace] = {}
    strict: frozenset[str] = frozenset()
    """Recipients whose arguments must match."""
    custom: frozenset[str] = frozenset()
    """Recipients that take free text."""
    deprecated: bool = False
    """Whether all of them came as ``functions``."""
    ignored: tuple[str, ...] = ()
    """What was passed over: a path, and for a type the type."""
    size: int = 0
    """Bytes of JSON that it was read from."""

    def __bool__(self) -> bool:
        return bool(self.namespaces)


_EMPTY: Final = Toolset()


def read_tools(tools: bytes, functions: bytes = b"null") -> Toolset:
    """Read both lists. Raises MessageError naming the field that is wrong.

    Tools that only OpenAI's servers have (``web_search`` and the like) are passed over, and a name
    that is offered again as well.
    """
    if tools == functions == bytes(ABSENT):
        return _EMPTY
    read = _known if len(tools) + len(functions) <= MAX_KNOWN_BYTES else _read
    return read(tools, functions)


def _read(raw_tools: bytes, raw_functions: bytes) -> Toolset:
    ignored: list[str] = []
    offered: dict[str, tuple[FunctionTool | CustomTool, str]] = {}

    def offer(tool: FunctionTool | CustomTool, where: str) -> None:
        _check_name(tool.name, f"{where}.name")
        if tool.name in offered:
            ignored.append(where)
        else:
            offered[tool.name] = (tool, where)

    tools = decode_field(_TOOLS, raw_tools, "tools") or []
    for i, tool in enumerate(tools):
        if tool.type == "function":
            offer(_present(tool.function, f"tools[{i}].function"), f"tools[{i}].function")
        elif tool.type == "custom":
            offer(_present(tool.custom, f"tools[{i}].custom"), f"tools[{i}].custom")
        else:
            ignored.append(f"tools[{i}].type={tool.type[:40]}")
    functions = decode_field(_FUNCTIONS, raw_functions, "functions") or []
    for i, function in enumerate(functions):
        offer(function, f"functions[{i}]")
    if len(offered) > MAX_CALLS:
        raise MessageError(
            f"tools: {len(offered)} tools are offered, the limit is {MAX_CALLS}", field="tools"
        )
    size = len(raw_tools) + len(raw_functions)
    return _toolset(offered, ignored, deprecated=not tools, size=size)


_known = lru_cache(maxsize=KNOWN_TOOLSETS)(_read)


def _toolset(
    offered: dict[str, tuple[FunctionTool | CustomTool, str]],
    ignored: list[str],
    *,
    deprecated: bool,
    size: int,
) -> Toolset:
    names = ToolNames(offered)
    strict: set[str] = set()
    custom: set[str] = set()
    made: list[Tool] = []
    for name, (tool, where) in offered.items():
        recipient = names.recipient(name)
        description = tool.description or ""
        parameters: dict[str, Any] | None
        if isinstance(tool, CustomTool):
            custom.add(recipient)
            parameters = CUSTOM_PARAMETERS
            description += _format(tool, where, ignored)
        else:
            parameters = tool.parameters
            _check_parameters(parameters, f"{where}.parameters")
            if tool.strict:
                strict.add(recipient)
        if len(description) > MAX_DESCRIPTION_CHARS:
            field = f"{where}.description"
            raise MessageError(
                f"{field}: has {len(description)} characters, the limit is {MAX_DESCRIPTION_CHARS}",
                field=field,
            )
        made.append(Tool(names.alias(name), description, parameters))
    return Toolset(
        names=names,
        namespaces={FUNCTIONS: ToolNamespace(FUNCTIONS, None, tuple(made))} if made else {},
        strict=frozenset(strict),
        custom=frozenset(custom),
        deprecated=deprecated and bool(made),
        ignored=tuple(ignored),
        size=size,
    )


def _format(tool: CustomTool, where: str, ignored: list[str]) -> str:
    """What the prompt says of a custom tool's grammar. That nothing enforces it is reported."""
    if tool.format is None or tool.format.type == "text":
        return ""
    field = f"{where}.format"
    if tool.format.type != "grammar":
        raise MessageError(
            f"{field}.type: expected text or grammar, got {tool.format.type[:60]!r}",
            field=f"{field}.type",
        )
    inner = tool.format.grammar
    definition = inner.definition if inner is not None else tool.format.definition
    syntax = inner.syntax if inner is not None else tool.format.syntax
    if definition is None or syntax is None:
        raise MessageError(f"{field}.grammar: is missing", field=f"{field}.grammar")
    if syntax not in ("lark", "regex"):
        raise MessageError(
            f"{field}.grammar.syntax: expected lark or regex, got {syntax[:60]!r}",
            field=f"{field}.grammar.syntax",
        )
    ignored.append(field)
    what = "Lark grammar" if syntax == "lark" else "regular expression"
    return f"\n\nThe input must match this {what}:\n{definition}"


def _check_parameters(parameters: dict[str, Any] | None, field: str) -> None:
    if parameters is None:
        return
    try:
        check_schema(parameters, field)
    except SchemaError as error:
        raise MessageError(str(error), field=field) from error


def _check_name(name: str, field: str) -> None:
    if not name:
        raise MessageError(f"{field}: must not be empty", field=field)
    if len(name) > MAX_NAME_CHARS:
        raise MessageError(
            f"{field}: has {len(name)} characters, the limit is {MAX_NAME_CHARS}", field=field
        )


def _present(tool: FunctionTool | CustomTool | None, field: str) -> FunctionTool | CustomTool:
    if tool is None:
        raise MessageError(f"{field}: is missing", field=field)
    return tool
