"""How much of a prompt was seen before: what an engine's prefix cache would hold."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

__all__ = ["Prefixes"]

MAX_PROMPTS: Final = 64
"""Sequences that are remembered; the one used longest ago goes first."""

_BYTES: Final = 4


class Prefixes:
    """The last sequences, by salt. Sequences with different salts share nothing."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str | None, bytes], None] = OrderedDict()

    def shared(self, prompt: Sequence[int], salt: str | None) -> int:
        """How many ids the prompt has in common with one seen before; never all of them."""
        packed = array("I", prompt).tobytes()
        best = 0
        for known_salt, known in self._seen:
            if known_salt == salt:
                best = max(best, _common(packed, known))
        return min(best // _BYTES, max(0, len(prompt) - 1))

    def add(self, ids: Sequence[int], salt: str | None) -> None:
        """Remember a prompt together with what was generated from it."""
        key = (salt, array("I", ids).tobytes())
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > MAX_PROMPTS:
            self._seen.popitem(last=False)


def _common(a: bytes, b: bytes) -> int:
    """The length of the common prefix: by halving, so that the comparing is done in C."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
