"""A store that fails where it may does not fail what uses it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.errors import StoreError
from antiphon.store.forgiving import ForgivingStore
from antiphon.store.memory import MemoryStore


class Broken:
    """Fails whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object, **__: object) -> None:
            raise StoreError("the disk is gone")

        return fail


def test_what_cannot_be_read_is_not_there_and_what_cannot_be_kept_is_not_kept() -> None:
    async def run() -> None:
        store = ForgivingStore(Broken())
        await store.put("space", "key", b"value", ttl=1)
        assert await store.get("space", "key") is None
        await store.delete("space", "key")

    asyncio.run(run())


def test_decisions_still_fail() -> None:
    async def run() -> None:
        store = ForgivingStore(Broken())
        with pytest.raises(StoreError):
            await store.take("space", "key", 1, capacity=1, per_second=1)
        with pytest.raises(StoreError):
            await store.claim("space", "key", ttl=1)

    asyncio.run(run())


def test_a_store_that_works_is_used() -> None:
    async def run() -> None:
        store = ForgivingStore(MemoryStore())
        await store.put("space", "key", b"value", ttl=60)
        assert await store.get("space", "key") == b"value"
        await store.delete("space", "key")
        assert await store.get("space", "key") is None

    asyncio.run(run())
