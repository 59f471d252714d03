"""The tools of a request, whatever API they came by → what the prompt offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.api.toolnames import ToolNames
from antiphon.api.turn import InputGrammar
from antiphon.codec.grammar.limits import check_schema
from antiphon.codec.grammar.plan import MAX_CALLS
from antiphon.errors import MessageError, SchemaError
from antiphon.model.tools import FUNCTIONS, Tool, ToolNamespace

__all__ = [
    "CUSTOM_PARAMETERS",
    "MAX_NAME_CHARS",
    "Offered",
    "Toolset",
    "check_name",
    "check_parameters",
    "input_grammar",
    "make_toolset",
]

MAX_NAME_CHARS: Final = 128
"""Longest tool name accepted. OpenAI allows 64."""
MAX_DESCRIPTION_CHARS: Final = 1 << 17
"""Longest description of one tool."""

CUSTOM_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""A custom tool takes free text. gpt-oss knows only functions, so the text is their one string."""


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a request offers. ``where`` is its path, for errors."""

    name: str
    where: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False
    custom: bool = False
    grammar: InputGrammar | None = None


class Toolset(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What a request offers. Recipients are ``functions.ALIAS``. Equal only to itself."""

    names: ToolNames = ToolNames()
    namespaces: Mapping[str, ToolNamespace] = {}
    strict: frozenset[str] = frozenset()
    """Recipients whose arguments must match."""
    fields: Mapping[str, str] = {}
    """Where the schemas of those stand, by recipient."""
    custom: frozenset[str] = frozenset()
    """Recipients that take free text."""
    grammars: Mapping[str, InputGrammar] = {}
    """What the free text must match, by recipient."""
    deprecated: bool = False
    """Whether all of them came as ``functions``."""
    ignored: tuple[str, ...] = ()
    """What was passed over: a path, and for a type the type."""
    size: int = 0
    """Bytes of JSON that it was read from."""

    def __bool__(self) -> bool:
        return bool(self.namespaces)


def make_toolset(
    offered: Sequence[Offered],
    *,
    ignored: Sequence[str] = (),
    deprecated: bool = False,
    size: int = 0,
) -> Toolset:
    """The tools, whose names differ. Raises MessageError naming the field that is wrong."""
    if len(offered) > MAX_CALLS:
        raise MessageError(
            f"tools: {len(offered)} tools are offered, the limit is {MAX_CALLS}", field="tools"
        )
    names = ToolNames([tool.name for tool in offered])
    strict: set[str] = set()
    fields: dict[str, str] = {}
    custom: set[str] = set()
    grammars: dict[str, InputGrammar] = {}
    made: list[Tool] = []
    for tool in offered:
        recipient = names.recipient(tool.name)
        description = tool.description or ""
        parameters = tool.parameters
        if tool.custom:
            custom.add(recipient)
            parameters = CUSTOM_PARAMETERS
            if tool.grammar is not None:
                grammars[recipient] = tool.grammar
                description += _grammar_line(tool.grammar)
        else:
            check_parameters(parameters, f"{tool.where}.parameters")
            if tool.strict:
                strict.add(recipient)
                fields[recipient] = f"{tool.where}.parameters"
        if len(description) > MAX_DESCRIPTION_CHARS:
            field = f"{tool.where}.description"
            raise MessageError(
                f"{field}: has {len(description)} characters, the limit is {MAX_DESCRIPTION_CHARS}",
                field=field,
            )
        made.append(Tool(names.alias(tool.name), description, parameters))
    return Toolset(
        names=names,
        namespaces={FUNCTIONS: ToolNamespace(FUNCTIONS, None, tuple(made))} if made else {},
        strict=frozenset(strict),
        fields=fields,
        custom=frozenset(custom),
        grammars=grammars,
        deprecated=deprecated and bool(made),
        ignored=tuple(ignored),
        size=size,
    )


def input_grammar(syntax: str, definition: str, field: str) -> InputGrammar:
    """A custom tool's grammar. Raises MessageError for a syntax that is not known."""
    if syntax not in ("lark", "regex"):
        raise MessageError(
            f"{field}.syntax: expected lark or regex, got {syntax[:60]!r}", field=f"{field}.syntax"
        )
    return InputGrammar("lark" if syntax == "lark" else "regex", definition, f"{field}.definition")


def _grammar_line(grammar: InputGrammar) -> str:
    what = "Lark grammar" if grammar.syntax == "lark" else "regular expression"
    return f"\n\nThe input must match this {what}:\n{grammar.definition}"


def check_parameters(parameters: dict[str, Any] | None, field: str) -> None:
    """Raises MessageError for a schema that is not one."""
    if parameters is None:
        return
    try:
        check_schema(parameters, field)
    except SchemaError as error:
        raise MessageError(str(error), field=field) from error


def check_name(name: str, field: str) -> None:
    """Raises MessageError for what cannot be a tool's name."""
    if not name:
        raise MessageError(f"{field}: must not be empty", field=field)
    if len(name) > MAX_NAME_CHARS:
        raise MessageError(
            f"{field}: has {len(name)} characters, the limit is {MAX_NAME_CHARS}", field=field
        )
