"""State that is kept per client: the reasoning memory, rate limits, what may be used only once.

One small protocol, so that several workers can share it. ``tests/contracts/test_stores.py`` is this
module as a test suite.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

__all__ = ["Bucket", "StateStore"]


class Bucket(msgspec.Struct, frozen=True):
    """A token bucket after a request: whether it was granted, what is left, seconds to wait."""

    granted: bool
    remaining: float
    retry_after: float
    """Until the same amount would be granted; 0.0 if it was."""
    reset_after: float
    """Until the bucket is full."""


class StateStore(Protocol):
    """Values by space and key; a space is one use, a key begins with the tenant.

    Raises StoreError if the store cannot be used.
    """

    async def get(self, space: str, key: str) -> bytes | None:
        """The value, None if there is none or it has expired."""
        ...

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        """Keep the value for ``ttl`` seconds, or less if room is needed."""
        ...

    async def delete(self, space: str, key: str) -> None:
        """Forget the value, if there is one."""
        ...

    async def claim(self, space: str, key: str, *, ttl: float) -> bool:
        """Take a key for ``ttl`` seconds, once: False if someone has it, here or at another worker.
        A claim is never dropped for room. Values of `put` are not seen, nor do they see claims.
        """
        ...

    async def take(
        self,
        space: str,
        key: str,
        amount: float,
        *,
        capacity: float,
        per_second: float,
        debt: bool = False,
    ) -> Bucket:
        """Take from a bucket that refills. A negative amount gives back. One step, for all who
        share the store. With ``debt`` it is granted whatever is left, which may be less than
        nothing then: it was used already.
        """
        ...

    async def aclose(self) -> None: ...
