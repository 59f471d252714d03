"""A store that may fail without failing what uses it: what cannot be read is not there.

For what makes an answer better but is no part of it: remembered reasoning, a conversation's date.
"""

from __future__ import annotations

import logging

from antiphon.errors import StoreError
from antiphon.store.protocol import Bucket, StateStore

__all__ = ["ForgivingStore"]

_log = logging.getLogger(__name__)


class ForgivingStore:
    """A `StateStore` over another. `take` and `claim` decide something, and fail as ever."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def get(self, space: str, key: str) -> bytes | None:
        try:
            return await self._store.get(space, key)
        except StoreError as error:
            _log.warning("cannot read %s: %s", space, error)
            return None

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        try:
            await self._store.put(space, key, value, ttl=ttl)
        except StoreError as error:
            _log.warning("cannot keep %s: %s", space, error)

    async def delete(self, space: str, key: str) -> None:
        try:
            await self._store.delete(space, key)
        except StoreError as error:
            _log.warning("cannot forget %s: %s", space, error)

    async def claim(self, space: str, key: str, *, ttl: float) -> bool:
        return await self._store.claim(space, key, ttl=ttl)

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
        return await self._store.take(
            space, key, amount, capacity=capacity, per_second=per_second, debt=debt
        )

    async def aclose(self) -> None:
        await self._store.aclose()
