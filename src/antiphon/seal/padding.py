"""Hiding lengths. Encryption hides what is written, not how much; tokens have telling lengths.

A policy is a list of sizes: what is to be sent is filled up to the smallest that holds it, beyond
the largest to a multiple of that. No sizes: no padding. Where the filling goes depends on what is
sent: after a whole message, as zero bytes (RFC 9292, section 3.8); in a stream of server-sent
events, as a comment, which every reader of such streams skips (HTML Living Standard, 9.2.6).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import msgspec

__all__ = ["MAX_PADDED_BYTES", "NO_PADDING", "Padding"]

MAX_PADDED_BYTES: Final = 1024 * 1024
"""Largest size a policy may name."""

_SHORTEST_COMMENT: Final = 3
"""A colon, and an empty line: some readers split at empty lines before they look for comments."""

_POLICY: Final = re.compile(r"multiple:([0-9]{1,7})|buckets:([0-9]{1,7}(?:,[0-9]{1,7}){0,63})")


class Padding(msgspec.Struct, frozen=True):
    """A policy. Pure: the same length always becomes the same."""

    sizes: tuple[int, ...] = ()
    """In rising order."""

    @classmethod
    def parse(cls, text: str) -> Padding:
        """From ``none``, ``multiple:N`` or ``buckets:N,N,…``. Raises ValueError."""
        if text == "none":
            return cls()
        found = _POLICY.fullmatch(text)
        sizes = tuple(int(n) for n in (found[1] or found[2]).split(",")) if found else ()
        rising = all(one < other for one, other in pairwise((1, *sizes, MAX_PADDED_BYTES + 1)))
        if not sizes or not rising:
            raise ValueError(
                "padding is 'none', 'multiple:N' or 'buckets:N,N,…' in rising order, "
                f"each 2 to {MAX_PADDED_BYTES}"
            )
        return cls(sizes)

    def target(self, length: int) -> int:
        """The length that ``length`` bytes are filled up to."""
        if not self.sizes or not length:
            return length
        for size in self.sizes:
            if length <= size:
                return size
        last = self.sizes[-1]
        return -(-length // last) * last

    def fill_message(self, message: bytes) -> bytes:
        """A whole Binary HTTP message, or the end of a stream of them, filled with zero bytes."""
        return message.ljust(self.target(len(message)), b"\0")

    def fill_events(self, events: bytes) -> bytes:
        """Complete server-sent events, filled with a comment after them."""
        length = len(events)
        target = self.target(length)
        if target == length:
            return events
        if target - length < _SHORTEST_COMMENT:
            target = self.target(target + 1)
        return b"".join((events, b":", b" " * (target - length - _SHORTEST_COMMENT), b"\n\n"))


NO_PADDING: Final = Padding()
