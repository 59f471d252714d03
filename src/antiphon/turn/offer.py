"""Which calls a turn accepts: recipients, the kind of body each takes, the client's name for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.toolnames import ToolNames
from antiphon.api.turn import InputGrammar, TurnRequest
from antiphon.codec.grammar.plan import ToolMode
from antiphon.codec.tooltable import ToolTable
from antiphon.model.tools import FUNCTIONS, ToolNamespace

__all__ = ["Offer", "OfferedTool", "offer_of"]

_HEADER_WORD: Final = re.compile(r"[A-Za-z_][\w.\-]*\Z")


class OfferedTool(msgspec.Struct, frozen=True):
    """One tool. ``schema`` is that of its arguments; ``json`` is False for a free-text body."""

    recipient: str
    name: str
    schema: Mapping[str, Any] | None = None
    json: bool = True
    custom: bool = False
    strict: bool = False
    grammar: InputGrammar | None = None
    """What a custom tool's input must match."""
    served: bool = False
    """Whether the server itself makes its calls."""


class Offer(msgspec.Struct, frozen=True):
    """The tools that may be called in one turn, by recipient."""

    tools: Mapping[str, OfferedTool] = {}
    required: bool = False
    parallel: bool = True
    namespaces: Mapping[str, ToolNamespace] = {}
    """The same tools, as the grammar and `adopt_call` want them."""
    names: ToolNames = ToolNames()

    nicknames: Mapping[str, str] = {}
    """Recipients made of clients' names → the recipient in the prompt. gpt-oss, offered `use_bash`,
    may still call `bash`, as it was trained to."""

    @property
    def checked(self) -> frozenset[str]:
        """Recipients whose calls must keep to a schema or a grammar."""
        return frozenset(
            [tool.recipient for tool in self.tools.values() if tool.strict or tool.grammar]
        )

    @property
    def table(self) -> ToolTable:
        """For the parser. One table for many turns, as it remembers headers."""
        return _table((*self.tools, *self.nicknames))

    def find(self, recipient: str | None) -> OfferedTool | None:
        """The tool that a recipient means."""
        if recipient is None:
            return None
        return self.tools.get(self.nicknames.get(recipient, recipient))

    @property
    def only(self) -> str | None:
        """The one recipient there is, if there is but one."""
        return next(iter(self.tools)) if len(self.tools) == 1 else None


@lru_cache(maxsize=256)
def _table(recipients: tuple[str, ...]) -> ToolTable:
    return ToolTable(recipients)


def offer_of(request: TurnRequest) -> Offer:
    """What the request's tools and tool choice allow."""
    choice = request.choice
    if choice.mode is ToolMode.NONE or not request.tools:
        return Offer()
    wanted = None
    if choice.names is not None:
        wanted = set(choice.names) | {f"{FUNCTIONS}.{name}" for name in choice.names}
    tools: dict[str, OfferedTool] = {}
    namespaces: dict[str, ToolNamespace] = {}
    for key, namespace in request.tools.items():
        chosen = []
        for tool in namespace.tools:
            recipient = f"{key}.{tool.name}"
            if wanted is None or recipient in wanted:
                chosen.append(tool)
                tools[recipient] = OfferedTool(
                    recipient,
                    request.names.client(recipient),
                    tool.parameters,
                    (tool.parameters or {}).get("type", "object") != "string",
                    recipient in request.custom_tools,
                    recipient in request.strict_tools,
                    request.input_grammars.get(recipient),
                    recipient in request.served,
                )
        whole = not namespace.tools and (wanted is None or key in wanted)
        if whole:
            served = key in request.served
            tools[key] = OfferedTool(key, request.names.client(key), json=False, served=served)
        if chosen or whole:
            namespaces[key] = msgspec.structs.replace(namespace, tools=tuple(chosen))
    required = choice.mode is ToolMode.REQUIRED
    return Offer(tools, required, request.parallel, namespaces, request.names, _nicknames(tools))


def _nicknames(tools: Mapping[str, OfferedTool]) -> dict[str, str]:
    """For names that have an alias, unless the alias is found by them already."""
    made: dict[str, str] = {}
    known: ToolTable | None = None
    for tool in tools.values():
        nickname = f"{FUNCTIONS}.{tool.name}"
        if nickname != tool.recipient and _HEADER_WORD.match(tool.name):
            known = known or _table(tuple(tools))
            if known.match(nickname) is None:
                made[nickname] = tool.recipient
    return made
