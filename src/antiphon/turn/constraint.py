"""What a turn is bound to, and the grammar that an engine can hold it to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from antiphon.api.turn import StructuredOutput, TurnRequest
from antiphon.codec.grammar.gbnf import gbnf
from antiphon.codec.grammar.input_body import expressible
from antiphon.codec.grammar.notes import GrammarText
from antiphon.codec.grammar.plan import NONE, REQUIRED, InputBody, Plan, ToolChoice, ToolMode, plan
from antiphon.codec.grammar.structural_tag import structural_tag
from antiphon.engines.protocol import GrammarKind
from antiphon.errors import SchemaError
from antiphon.model.tools import ToolNamespace
from antiphon.turn.offer import Offer

__all__ = ["Constraint", "constraint", "is_bound", "planned", "written"]

_KNOWN: Final = 64
_MAX_KNOWN_BYTES: Final = 65_536


class Constraint(msgspec.Struct, frozen=True):
    """What is bound, and the plans for the turn's beginning and for what may follow it."""

    bound: bool
    """Whether there is anything to hold an engine to."""
    offered: Mapping[str, ToolNamespace] = {}
    """The tools as they were offered."""
    namespaces: Mapping[str, ToolNamespace] = {}
    """The tools with what is bound of them."""
    choice: ToolChoice = NONE
    parallel: bool = True
    output: StructuredOutput | None = None
    inputs: Mapping[str, InputBody] = {}
    """What custom tools' inputs are held to, by recipient."""

    def plan(self, *, think: bool) -> Plan:
        """What may follow ``<|start|>assistant``. Raises SchemaError."""
        response = None if self.output is None else self.output.schema
        return plan(
            self.namespaces,
            self.choice,
            parallel=self.parallel,
            response=response,
            analysis=think,
            inputs=self.inputs,
        )

    def only_call(self, recipient: str | None = None) -> Plan:
        """A call and nothing before it, of one tool or of any."""
        names = None if recipient is None else (recipient,)
        choice = ToolChoice(ToolMode.REQUIRED, names)
        whole = plan(
            self.namespaces, choice, parallel=self.parallel, analysis=False, inputs=self.inputs
        )
        return msgspec.structs.replace(whole, preamble=False)

    def only_answer(self) -> Plan:
        """The answer and nothing before it."""
        response = None if self.output is None else self.output.schema
        return plan((), NONE, response=response, analysis=False)


def is_bound(request: TurnRequest, offer: Offer) -> bool:
    """Whether the request binds anything at all, whether an engine can be held to it or not."""
    return bool(
        request.output is not None
        or offer.required
        or request.strict_tools
        or request.input_grammars
    )


def constraint(request: TurnRequest, offer: Offer, kind: GrammarKind | None = "gbnf") -> Constraint:
    """What the request binds an engine to that takes grammars of this kind.

    Tools that are not strict keep their types open: any JSON object is an argument. A custom tool's
    grammar that cannot be written for the engine binds nothing: the input is checked.
    """
    strict = any(tool.strict for tool in offer.tools.values())
    inputs = _inputs(offer, kind)
    if request.output is None and not offer.required and not strict and not inputs:
        return Constraint(False, offer.namespaces)
    choice = REQUIRED if offer.required else ToolChoice()
    namespaces = {key: _loosened(key, space, offer) for key, space in offer.namespaces.items()}
    return Constraint(
        True,
        offer.namespaces,
        namespaces,
        choice if namespaces else NONE,
        offer.parallel,
        request.output,
        inputs,
    )


def _inputs(offer: Offer, kind: GrammarKind | None) -> dict[str, InputBody]:
    """The grammars of custom tools that an engine can be held to."""
    found = {}
    for tool in offer.tools.values():
        if tool.grammar is not None:
            body = InputBody(tool.grammar.syntax, tool.grammar.definition)
            if expressible(body, kind):
                found[tool.recipient] = body
    return found


def planned(request: TurnRequest, offer: Offer, *, answer: bool, call: bool) -> str | None:
    """The JSON of the plan, for engines that take it as it is; None if there is none.

    They get it for every turn, bound or not: nothing else tells them that no tool may be called.
    ``answer``, ``call``: nothing but that may come.
    """
    tools = {} if answer else offer.namespaces
    choice = REQUIRED if tools and (call or offer.required) else ToolChoice() if tools else NONE
    response = None if request.output is None else request.output.schema
    think = request.think and not (answer or call)
    try:
        what = plan(tools, choice, parallel=offer.parallel, response=response, analysis=think)
        return msgspec.json.encode(what).decode()
    except SchemaError:
        return None


def _loosened(key: str, namespace: ToolNamespace, offer: Offer) -> ToolNamespace:
    tools = []
    for tool in namespace.tools:
        offered = offer.tools.get(f"{key}.{tool.name}")
        bound = offered is not None and (offered.strict or offered.custom or not offered.json)
        tools.append(
            tool if bound else msgspec.structs.replace(tool, parameters=None, description="")
        )
    return msgspec.structs.replace(namespace, tools=tuple(tools))


def written(what: Plan, kind: GrammarKind) -> GrammarText | None:
    """The plan in the engine's language; None if it would be too large there."""
    data = msgspec.json.encode(what)
    if kind == "plan":
        return GrammarText(data.decode())
    try:
        if len(data) <= _MAX_KNOWN_BYTES:
            return _remembered(data, kind)
        return _write(data, kind)
    except SchemaError:
        return None


def _write(data: bytes, kind: GrammarKind) -> GrammarText:
    what = msgspec.json.decode(data, type=Plan)
    return gbnf(what) if kind == "gbnf" else structural_tag(what)


_remembered = lru_cache(maxsize=_KNOWN)(_write)
