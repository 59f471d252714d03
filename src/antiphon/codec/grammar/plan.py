"""Which messages may follow ``<|start|>assistant``: the one value all three dialects write out.

    (analysis | preamble)*  then  a final answer, or one or more calls

Analysis and preambles are free text. A call's body and the final answer may be bound to a schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from antiphon.codec.grammar.limits import check_schema
from antiphon.errors import SchemaError
from antiphon.model.tools import FUNCTIONS, Tool, ToolNamespace
from antiphon.model.validate import check_tools

__all__ = [
    "AUTO",
    "MAX_CALLS",
    "NONE",
    "REQUIRED",
    "AnyText",
    "Body",
    "Call",
    "InputBody",
    "JsonBody",
    "Plan",
    "ToolChoice",
    "ToolMode",
    "plan",
]

MAX_CALLS: Final = 1024
"""Most tools that one grammar offers."""


class ToolMode(StrEnum):
    """Whether the model may, must or must not call a tool."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools may be called. ``names`` limits them; None means all that are offered.

    A name is a recipient such as ``functions.get_weather`` or ``python``, or the bare name of a
    function. A forced function is ``ToolChoice(ToolMode.REQUIRED, ("get_weather",))``.
    """

    mode: ToolMode = ToolMode.AUTO
    names: tuple[str, ...] | None = None


AUTO: Final = ToolChoice()
NONE: Final = ToolChoice(ToolMode.NONE)
REQUIRED: Final = ToolChoice(ToolMode.REQUIRED)


class AnyText(msgspec.Struct, frozen=True, tag="text"):
    """A body of free text."""


class JsonBody(msgspec.Struct, frozen=True, tag="json"):
    """A body that is one JSON value, valid against ``schema``; for a call, an object."""

    schema: dict[str, Any]


class InputBody(msgspec.Struct, frozen=True, tag="input"):
    """A custom tool's body: ``{"input": "…"}``, where the text matches a client's grammar."""

    syntax: Literal["lark", "regex"]
    definition: str


Answer = AnyText | JsonBody
Body = Answer | InputBody


class Call(msgspec.Struct, frozen=True):
    """One tool that may be called. ``channels`` are those its call may be on, the usual first."""

    recipient: str
    body: Body
    channels: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True):
    """What may follow ``<|start|>assistant``.

    ``final`` is None if only a call may end the turn. ``parallel`` lets further calls follow a call
    that ends with ``<|end|>``.
    """

    calls: tuple[Call, ...] = ()
    final: Answer | None = AnyText()
    analysis: bool = True
    preamble: bool = False
    parallel: bool = False

    @property
    def free(self) -> bool:
        """Whether nothing is bound: no call is possible and the answer is free text."""
        return not self.calls and isinstance(self.final, AnyText)


_NO_INPUTS: Final[Mapping[str, InputBody]] = MappingProxyType({})


def plan(
    tools: Mapping[str, ToolNamespace] | Iterable[ToolNamespace | Tool] = (),
    choice: ToolChoice = AUTO,
    *,
    parallel: bool = True,
    response: Mapping[str, Any] | None = None,
    analysis: bool = True,
    inputs: Mapping[str, InputBody] = _NO_INPUTS,
) -> Plan:
    """What these tools, this choice and this response schema allow.

    A bare `Tool` belongs to the `functions` namespace. A tool without parameters takes any JSON
    object; one whose parameters are of type string takes free text, as does a namespace without
    tools (``python``). ``response`` is the JSON Schema of the final answer, ``{"type": "object"}``
    for any JSON object, None for free text. ``inputs`` has what custom tools' inputs must match, by
    recipient.

    Raises SchemaError if a tool that is named is not offered, if a call is required and none is
    possible, or for a schema beyond the limits; MessageError for a name that cannot be a recipient.
    """
    offered = _calls(tools, inputs)
    calls = () if choice.mode is ToolMode.NONE else _chosen(offered, choice)
    if choice.mode is ToolMode.REQUIRED and not calls:
        raise SchemaError("a tool call is required, but no tool is offered")
    final: Answer | None = AnyText()
    if choice.mode is ToolMode.REQUIRED:
        final = None
    elif response is not None:
        final = JsonBody(check_schema(response, "final"))
    return Plan(
        calls=calls,
        final=final,
        analysis=analysis,
        preamble=bool(calls),
        parallel=parallel and bool(calls),
    )


def _calls(
    tools: Mapping[str, ToolNamespace] | Iterable[ToolNamespace | Tool],
    inputs: Mapping[str, InputBody],
) -> dict[str, Call]:
    given = tools.values() if isinstance(tools, Mapping) else tools
    calls: dict[str, Call] = {}
    for item in given:
        namespace = item if isinstance(item, ToolNamespace) else None
        bare = [item] if isinstance(item, Tool) else []
        name = namespace.name if namespace else FUNCTIONS
        check_tools({name: namespace or ToolNamespace(name, None, tuple(bare))})
        own = namespace is not None and name != FUNCTIONS
        channels = ("analysis", "commentary") if own else ("commentary",)
        if namespace is not None and not namespace.tools and own:
            calls[name] = Call(name, AnyText(), channels)
        for tool in namespace.tools if namespace else bare:
            recipient = f"{name}.{tool.name}"
            body = inputs.get(recipient) or _body(tool, recipient)
            calls[recipient] = Call(recipient, body, channels)
    if len(calls) > MAX_CALLS:
        raise SchemaError(f"{len(calls)} tools are offered, the limit is {MAX_CALLS}")
    return calls


def _body(tool: Tool, recipient: str) -> Body:
    if tool.parameters is None:
        return JsonBody({"type": "object"})
    schema = check_schema(tool.parameters, recipient)
    if schema.get("type") == "string":
        return AnyText()
    return JsonBody(schema)


def _chosen(offered: dict[str, Call], choice: ToolChoice) -> tuple[Call, ...]:
    if choice.names is None:
        return tuple(offered.values())
    chosen: dict[str, Call] = {}
    for name in choice.names:
        call = offered.get(name) or offered.get(f"{FUNCTIONS}.{name}")
        if call is None:
            raise SchemaError(f"the tool {name[:100]!r} is not among the tools that are offered")
        chosen[call.recipient] = call
    return tuple(chosen.values())
