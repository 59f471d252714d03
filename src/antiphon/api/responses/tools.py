"""The tools of a Responses request → what the prompt offers, and what a response repeats of them.

A namespace is flattened: its tool is offered as the function ``NAMESPACE.NAME``, and a call of it
gets its namespace back. Tools that only OpenAI's servers have are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.responses.conversation import flat_name
from antiphon.api.responses.mcp import SECRET_FIELDS
from antiphon.api.responses.served import NO_SERVED_TOOLS, ServedTools
from antiphon.api.responses.wire import WireTool
from antiphon.api.toolset import Offered, Toolset, check_name, input_grammar, make_toolset
from antiphon.api.turn import InputGrammar
from antiphon.errors import MessageError

__all__ = ["ResponseTools", "read_tools"]

MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_TOOLSETS: Final = 64
"""So many tool lists of at most so many bytes are kept: agents repeat theirs."""

_TOOLS: Final = msgspec.json.Decoder(list[WireTool] | None)
_ECHO: Final = msgspec.json.Decoder(list[dict[str, Any]] | None)
_ENCODE: Final = msgspec.json.Encoder().encode


class ResponseTools(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a request offers."""

    tools: Toolset
    namespaced: Mapping[str, tuple[str, str]] = {}
    """Name in the prompt before aliasing → namespace and name, for tools inside a namespace."""
    bare: Mapping[str, str] = {}
    """A name that only one namespace has → the name in the prompt."""
    served: frozenset[str] = frozenset()
    """The functions among them that the server itself runs, by name."""
    echo: bytes = b"[]"
    """The tools as a response repeats them, as JSON."""


def read_tools(raw: bytes, served: ServedTools = NO_SERVED_TOOLS) -> ResponseTools:
    """The client's tools, with what the server offers besides.

    Raises MessageError naming the field that is wrong.
    """
    secret = any(b'"%b"' % name.encode() in raw for name in SECRET_FIELDS)
    if served is not NO_SERVED_TOOLS or secret or len(raw) > MAX_KNOWN_BYTES:
        return _read(raw, served)
    return _known(raw)


def _read(raw: bytes, served: ServedTools = NO_SERVED_TOOLS) -> ResponseTools:
    tools = decode_field(_TOOLS, raw, "tools") or []
    reader = _Reader()
    for i, tool in enumerate(tools):
        if i not in served.taken:
            reader.add(tool, f"tools[{i}]")
    for function in served.functions:
        reader.add_served(function.offered)
    toolset = make_toolset(list(reader.offered.values()), ignored=reader.ignored, size=len(raw))
    counts: dict[str, list[str]] = {}
    for flat, (_, name) in reader.namespaced.items():
        counts.setdefault(name, []).append(flat)
    return ResponseTools(
        tools=toolset,
        namespaced=reader.namespaced,
        bare={
            name: flats[0]
            for name, flats in counts.items()
            if len(flats) == 1 and name not in reader.offered
        },
        served=frozenset(reader.served),
        echo=_ENCODE([_echo(tool) for tool in decode_field(_ECHO, raw, "tools") or ()]),
    )


_known = lru_cache(maxsize=KNOWN_TOOLSETS)(_read)


class _Reader:
    def __init__(self) -> None:
        self.offered: dict[str, Offered] = {}
        self.namespaced: dict[str, tuple[str, str]] = {}
        self.ignored: list[str] = []
        self.served: set[str] = set()

    def add(self, tool: WireTool, where: str) -> None:
        if tool.type in ("function", "custom"):
            self._offer(tool, where, None, "")
        elif tool.type == "namespace":
            name = _name(tool, where)
            described = tool.description or ""
            if tool.tools is None:
                raise MessageError(f"{where}.tools: is missing", field=f"{where}.tools")
            for j, inner in enumerate(tool.tools):
                inside = f"{where}.tools[{j}]"
                if inner.type in ("function", "custom"):
                    # Once is enough: it holds for the tools that follow as well.
                    self._offer(inner, inside, name, described)
                    described = ""
                else:
                    self.ignored.append(f"{inside}.type={inner.type[:40]}")
        else:
            self.ignored.append(f"{where}.type={tool.type[:40]}")

    def add_served(self, offered: Offered) -> None:
        """A function that the server runs; the client's own go before."""
        if offered.name in self.offered:
            self.ignored.append(offered.where)
        else:
            self.offered[offered.name] = offered
            self.served.add(offered.name)

    def _offer(self, tool: WireTool, where: str, namespace: str | None, described: str) -> None:
        name = _name(tool, where)
        flat = flat_name(name, namespace)
        check_name(flat, f"{where}.name")
        if flat in self.offered:
            self.ignored.append(where)
            return
        description = tool.description or ""
        if described:
            description = f"{described}\n\n{description}" if description else described
        custom = tool.type == "custom"
        self.offered[flat] = Offered(
            name=flat,
            where=where,
            description=description,
            parameters=tool.parameters,
            strict=bool(tool.strict),
            custom=custom,
            grammar=_grammar(tool, where) if custom else None,
        )
        if namespace:
            self.namespaced[flat] = (namespace, name)


def _name(tool: WireTool, where: str) -> str:
    if tool.name is None:
        raise MessageError(f"{where}.name: is missing", field=f"{where}.name")
    check_name(tool.name, f"{where}.name")
    return tool.name


def _grammar(tool: WireTool, where: str) -> InputGrammar | None:
    given, field = tool.format, f"{where}.format"
    if given is None or given.type == "text":
        return None
    if given.type != "grammar":
        raise MessageError(
            f"{field}.type: expected text or grammar, got {given.type[:60]!r}",
            field=f"{field}.type",
        )
    for name in ("definition", "syntax"):
        if getattr(given, name) is None:
            raise MessageError(f"{field}.{name}: is missing", field=f"{field}.{name}")
    assert given.definition is not None
    assert given.syntax is not None
    return input_grammar(given.syntax, given.definition, field)


def _echo(tool: dict[str, Any]) -> dict[str, Any]:
    """The tool with the fields that clients rely on."""
    if tool.get("type") == "mcp":
        return {name: value for name, value in tool.items() if name not in SECRET_FIELDS}
    if tool.setdefault("type", "function") == "function":
        for field in ("description", "parameters", "strict"):
            tool.setdefault(field, None)
    return tool
