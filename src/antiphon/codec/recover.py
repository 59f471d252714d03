"""What a misspelt role or channel means (recovery rules R2, R4 and R8)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.model.message import Role

__all__ = [
    "ROLES",
    "TYPES",
    "ChannelReading",
    "RoleReading",
    "is_channel",
    "read_channel",
    "read_role",
]

ROLES: Final = {role.value: role for role in Role}
TYPES: Final = frozenset({"json", "code", "text"})
"""Content types gpt-oss was trained on."""

_CHANNELS: Final = ("analysis", "commentary", "final")
_KNOWN: Final = re.compile(r"\W*(analysis|commentary|final)", re.IGNORECASE)
_ALIASES: Final = {
    "thinking": "analysis",
    "thought": "analysis",
    "reasoning": "analysis",
    "analyse": "analysis",
    "analyze": "analysis",
    "answer": "final",
    "response": "final",
}
_SHORTEST_STEM: Final = 4
"""A cut-off channel word needs this many letters: `fina`, `comm`, `anal`."""


class ChannelReading(NamedTuple):
    """A channel, and where in the word free text begins (None if the word is all channel)."""

    channel: str
    rest: int | None


def is_channel(word: str) -> bool:
    """Whether the word is exactly one of the three channels."""
    return word in _CHANNELS


def read_channel(word: str) -> ChannelReading | None:
    """What a word in the channel's place means, or None if it resembles no channel."""
    if found := _KNOWN.match(word):
        rest = found.end()
        return ChannelReading(found[1].lower(), rest if rest < len(word) else None)
    bare = "".join([c for c in word.casefold() if c.isalnum()])
    if bare in _ALIASES:
        return ChannelReading(_ALIASES[bare], None)
    if len(bare) >= _SHORTEST_STEM:
        for channel in _CHANNELS:
            if channel.startswith(bare) or _one_edit_apart(bare, channel):
                return ChannelReading(channel, None)
    return None


def _one_edit_apart(a: str, b: str) -> bool:
    """Whether one letter put in, left out, changed or swapped with the next makes a into b."""
    if abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    x, y = a[start:], b[start:]
    return x[1:] == y[1:] or x[1:] == y or x == y[1:] or (x[:2] == y[1::-1] and x[2:] == y[2:])


class RoleReading(NamedTuple):
    """A role word: who speaks, and where in the word something else is glued on."""

    role: Role
    name: str | None
    rest: int | None
    exact: bool


def read_role(word: str) -> RoleReading | None:
    """What the first word after `<|start|>` means; None if it is no role (a tool's name, then)."""
    if role := ROLES.get(word):
        return RoleReading(role, None, None, True)
    head, colon, name = word.partition(":")
    if colon and name and (role := ROLES.get(head)):
        return RoleReading(role, name, None, True)
    folded = word.casefold()
    if role := ROLES.get(folded):
        return RoleReading(role, None, None, False)
    if folded.startswith("assistant") and word[9].isalpha():
        return RoleReading(Role.ASSISTANT, None, 9, False)
    return None
