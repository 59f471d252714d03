"""State in this process: bounded, the least recently used goes first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from antiphon.errors import StoreError
from antiphon.store.buckets import poured
from antiphon.store.protocol import Bucket

__all__ = ["MAX_BUCKETS", "MAX_BYTES", "MAX_CLAIMS", "MemoryStore"]

MAX_BYTES: Final = 256 * 1024 * 1024
"""Most bytes of keys and values."""
MAX_BUCKETS: Final = 100_000
MAX_CLAIMS: Final = 1_000_000
_ENTRY_BYTES: Final = 200
"""What an entry costs beside its key and value."""


class MemoryStore:
    """A `StateStore` for one process."""

    def __init__(
        self, *, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._values: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._claims: dict[tuple[str, str], float] = {}
        self._claims_by_end: list[tuple[float, tuple[str, str]]] = []

    async def get(self, space: str, key: str) -> bytes | None:
        entry = self._values.get((space, key))
        if entry is None:
            return None
        if entry[0] <= self._clock():
            self._forget((space, key))
            return None
        self._values.move_to_end((space, key))
        return entry[1]

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        self._forget((space, key))
        size = _size(space, key, value)
        if size > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self._forget(next(iter(self._values)))
        self._values[space, key] = (self._clock() + ttl, value)
        self._bytes += size

    async def delete(self, space: str, key: str) -> None:
        self._forget((space, key))

    async def claim(self, space: str, key: str, *, ttl: float) -> bool:
        now = self._clock()
        ends = self._claims_by_end
        while ends and ends[0][0] <= now:
            end, where = heappop(ends)
            if self._claims.get(where) == end:
                del self._claims[where]
        if (space, key) in self._claims:
            return False
        if len(self._claims) >= MAX_CLAIMS:
            raise StoreError(f"there are {MAX_CLAIMS} claims already", status=507)
        self._claims[space, key] = now + ttl
        heappush(ends, (now + ttl, (space, key)))
        return True

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
        now = self._clock()
        level, since = self._buckets.pop((space, key), (capacity, now))
        bucket = poured(
            level, now - since, amount, capacity=capacity, per_second=per_second, debt=debt
        )
        self._buckets[space, key] = (bucket.remaining, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _forget(self, where: tuple[str, str]) -> None:
        entry = self._values.pop(where, None)
        if entry is not None:
            self._bytes -= _size(*where, entry[1])


def _size(space: str, key: str, value: bytes) -> int:
    return len(space) + len(key) + len(value) + _ENTRY_BYTES
