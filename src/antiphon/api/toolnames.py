"""Client's tool names ↔ names that a header can carry and that mean nothing else to gpt-oss.

Tools named ``python``, ``bash`` or ``browser`` pull the model towards its built-ins, and names with
spaces, dots or hyphens break headers (docs/recovery.md, ground facts 5 and 6). Such names get an
alias in the prompt; every name that leaves is the client's own again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final

from antiphon.model.tools import FUNCTIONS

__all__ = ["BUILT_IN_NAMES", "MAX_ALIAS_CHARS", "ToolNames"]

BUILT_IN_NAMES: Final = frozenset(
    (
        "analysis assistant bash browser commentary container developer final find functions"
        " multi_tool_use open python search system tool user"
    ).split()
)
"""Names that gpt-oss reads as a tool of its own or as a word of the format."""
MAX_ALIAS_CHARS: Final = 64

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NOT_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9_]+")


class ToolNames:
    """The tools of one request. A name that needs no alias is its own.

    Aliases are a function of the names alone, in whatever order they come, so that a conversation's
    prompts agree from one request to the next.
    """

    __slots__ = ("_clients", "_taken", "aliases")

    def __init__(self, names: Iterable[str] = ()) -> None:
        wanted = sorted(set(names))
        aliases = {name: name for name in wanted if _is_plain(name)}
        taken = set(aliases)
        for name in wanted:
            if name not in aliases:
                aliases[name] = _free(_identifier(name), taken)
                taken.add(aliases[name])
        self.aliases: Final[Mapping[str, str]] = MappingProxyType(aliases)
        self._taken = frozenset(taken)
        self._clients = {f"{FUNCTIONS}.{alias}": name for name, alias in aliases.items()}

    def alias(self, name: str) -> str:
        """The name in the prompt, without namespace; one is made for a tool no longer offered."""
        known = self.aliases.get(name)
        if known is not None:
            return known
        return _free(name if _is_plain(name) else _identifier(name), self._taken)

    def recipient(self, name: str) -> str:
        """``functions.ALIAS``."""
        return f"{FUNCTIONS}.{self.alias(name)}"

    def client(self, recipient: str) -> str:
        """The client's name for a recipient that the model called."""
        known = self._clients.get(recipient)
        return known if known is not None else recipient.removeprefix(f"{FUNCTIONS}.")

    @property
    def aliased(self) -> dict[str, str]:
        """Client's name → alias, for those that differ."""
        return {name: alias for name, alias in self.aliases.items() if name != alias}


def _is_plain(name: str) -> bool:
    return (
        len(name) <= MAX_ALIAS_CHARS
        and _IDENTIFIER.match(name) is not None
        and name.lower() not in BUILT_IN_NAMES
    )


def _identifier(name: str) -> str:
    made = _NOT_IDENTIFIER.sub("_", name).strip("_")[: MAX_ALIAS_CHARS - 12] or "tool"
    return made if _is_plain(made) else f"use_{made}"


def _free(wanted: str, taken: AbstractSet[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name
