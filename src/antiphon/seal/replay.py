"""Defence against requests that are sent a second time (RFC 9458, section 6.5).

HPKE cannot tell a copy from the first. So a gateway remembers the `replay_nonce` of each request it
acts on, in a store that all its workers share, and refuses one it knows. It cannot remember for
ever: a request carries a ``date``, and one from outside the window is refused by that. Inside the
window the memory decides, outside it the clock.

The store is the gateway's: claim the nonce in `REPLAY_SPACE` for ``remember`` seconds; taken means
replay, to be answered exactly like a request that does not open.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec

from antiphon.seal.message import Field

__all__ = ["REPLAY_SPACE", "Freshness", "ReplayWindow", "date_of"]

MAX_DATE_BYTES: Final = 64
"""Longer ones are none; HTTP's have 29."""
REPLAY_SPACE: Final = "seal-replay"
"""The store's space for nonces."""


class Freshness(Enum):
    """Whether a request's date is in the window."""

    FRESH = "fresh"
    UNDATED = "undated"
    """It has no date. A gateway that does not insist remembers it for ``remember`` seconds all the
    same; a copy that comes later is not noticed.
    """
    STALE = "stale"
    EARLY = "early"
    """Its date is in the future: a clock is wrong."""


class ReplayWindow(msgspec.Struct, frozen=True, kw_only=True):
    """How old a request may be, and how wrong a client's clock. Seconds."""

    age: int = 300
    skew: int = 60
    require_date: bool = False

    @property
    def remember(self) -> int:
        """How long a nonce is kept: as long as any copy could pass as fresh, whatever its date.

        A date may be ``skew`` ahead of now and is good until ``age + skew`` after itself.
        """
        return self.age + 2 * self.skew

    def judge(self, date: float | None, now: float) -> Freshness:
        """Both in seconds since 1970."""
        if date is None:
            return Freshness.UNDATED
        if date < now - self.age - self.skew:
            return Freshness.STALE
        if date > now + self.skew:
            return Freshness.EARLY
        return Freshness.FRESH

    def accepts(self, freshness: Freshness) -> bool:
        """Whether to go on; if not, the answer is a `DATE_PROBLEM` inside the seal."""
        return freshness is Freshness.FRESH or (
            freshness is Freshness.UNDATED and not self.require_date
        )


def date_of(fields: Iterable[Field]) -> float | None:
    """The ``date`` field in seconds since 1970; None without one, or if it is not one date."""
    values = [value for name, value in fields if name == b"date"]
    if len(values) != 1 or len(values[0]) > MAX_DATE_BYTES:
        return None
    return _seconds(values[0])


@lru_cache(maxsize=64)  # The requests of a second have the same.
def _seconds(date: bytes) -> float | None:
    try:
        return parsedate_to_datetime(date.decode("ascii")).timestamp()
    except (ValueError, OverflowError, UnicodeDecodeError):
        return None
