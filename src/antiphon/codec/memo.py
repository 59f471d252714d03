"""A bounded memo in two generations, for tokens of messages that are rendered again and again.

What is used is found in the young generation, or promoted to it from the old one. When the young
generation has taken half of the budget it becomes the old one, and what nobody asked for since the
last turn-over is forgotten. A hit is one dict lookup, without bookkeeping.

Safe to share between threads: lookups are single dict operations, insertion takes a lock.
"""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Final

__all__ = ["DEFAULT_MEMO_TOKENS", "ByIdentity", "TokenMemo"]

DEFAULT_MEMO_TOKENS: Final = 1 << 20
"""Tokens a renderer remembers: eight contexts of gpt-oss, about 50 MB when full, texts included."""

_CHARS_PER_TOKEN: Final = 16
_ENTRY: Final = 8
"""What an entry counts besides its tokens, so that very small ones are bounded too."""


class ByIdentity:
    """A key equal only to a key for the very same object, which it keeps alive."""

    __slots__ = ("flag", "value")

    def __init__(self, value: object, flag: bool) -> None:
        self.value = value
        self.flag = flag

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return type(other) is ByIdentity and other.value is self.value and other.flag == self.flag


class TokenMemo:
    """Token lists by key, bounded by their total length. A budget of 0 turns it off.

    The lists are shared: never change one that ``get`` returned.
    """

    __slots__ = ("_half", "_lock", "_old", "_spent", "_young")

    def __init__(self, budget: int) -> None:
        self._half = budget // 2
        self._lock = Lock()
        self._young: dict[Hashable, list[int]] = {}
        self._old: dict[Hashable, list[int]] = {}
        self._spent = 0

    def __len__(self) -> int:
        """How many entries can be found at the moment."""
        return len(self._young.keys() | self._old.keys())

    def get(self, key: Hashable) -> list[int] | None:
        """The tokens, or None. Raises TypeError for a key that cannot be hashed."""
        tokens = self._young.get(key)
        if tokens is not None:
            return tokens
        tokens = self._old.get(key)
        if tokens is not None:
            self.put(key, tokens)
        return tokens

    def put(self, key: Hashable, tokens: list[int], chars: int = 0) -> None:
        """Remember ``tokens``, unless they alone would take half of the budget.

        ``chars`` is the length of the text that the key keeps alive. A text with far fewer tokens
        than that, a long run of one character, is not worth its room.
        """
        size = len(tokens) + _ENTRY
        if size > self._half or chars > _CHARS_PER_TOKEN * size:
            return
        with self._lock:
            if self._spent + size > self._half:
                self._old = self._young
                self._young = {}
                self._spent = 0
            young = self._young
            entries = len(young)
            young[key] = tokens
            if len(young) > entries:
                self._spent += size
