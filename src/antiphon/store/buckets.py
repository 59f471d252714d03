"""The arithmetic of token buckets."""

from __future__ import annotations

from antiphon.store.protocol import Bucket

__all__ = ["poured"]


def poured(
    level: float,
    elapsed: float,
    amount: float,
    *,
    capacity: float,
    per_second: float,
    debt: bool,
) -> Bucket:
    """A bucket that held ``level`` so many seconds ago, after `StateStore.take`."""
    level = min(capacity, level + max(0.0, elapsed) * per_second)
    granted = debt or amount < 0 or amount <= level
    if granted:
        level = min(capacity, level - amount)
    wait = 0.0 if granted else (amount - level) / per_second
    return Bucket(granted, level, wait, (capacity - level) / per_second)
