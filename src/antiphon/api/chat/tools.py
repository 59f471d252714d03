"""The tools of a Chat Completions request: ``tools`` and the deprecated ``functions``."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.chat.wire import ABSENT, CustomTool, FunctionTool, WireTool
from antiphon.api.toolset import (
    CUSTOM_PARAMETERS,
    Offered,
    Toolset,
    check_name,
    input_grammar,
    make_toolset,
)
from antiphon.api.turn import InputGrammar
from antiphon.errors import MessageError

__all__ = ["CUSTOM_PARAMETERS", "Toolset", "read_tools"]

MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_TOOLSETS: Final = 64
"""So many tool lists of at most so many bytes are kept: agents repeat theirs."""

_TOOLS: Final = msgspec.json.Decoder(list[WireTool] | None)
_FUNCTIONS: Final = msgspec.json.Decoder(list[FunctionTool] | None)
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
    offered: dict[str, Offered] = {}

    def offer(tool: FunctionTool | CustomTool, where: str) -> None:
        check_name(tool.name, f"{where}.name")
        if tool.name in offered:
            ignored.append(where)
        else:
            offered[tool.name] = _offered(tool, where)

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
    size = len(raw_tools) + len(raw_functions)
    return make_toolset(list(offered.values()), ignored=ignored, deprecated=not tools, size=size)


_known = lru_cache(maxsize=KNOWN_TOOLSETS)(_read)


def _offered(tool: FunctionTool | CustomTool, where: str) -> Offered:
    if isinstance(tool, CustomTool):
        return Offered(
            name=tool.name,
            where=where,
            description=tool.description,
            custom=True,
            grammar=_grammar(tool, where),
        )
    return Offered(
        name=tool.name,
        where=where,
        description=tool.description,
        parameters=tool.parameters,
        strict=bool(tool.strict),
    )


def _grammar(tool: CustomTool, where: str) -> InputGrammar | None:
    if tool.format is None or tool.format.type == "text":
        return None
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
    return input_grammar(syntax, definition, f"{field}.grammar")


def _present(tool: FunctionTool | CustomTool | None, field: str) -> FunctionTool | CustomTool:
    if tool is None:
        raise MessageError(f"{field}: is missing", field=field)
    return tool
