"""Keeping the date of a conversation: nobody waits for it, and none is lost at the end."""

from __future__ import annotations

import asyncio

import pytest
from tests.gateway.serving import Gateway, StepEngine, final

from antiphon.errors import StoreError
from antiphon.gateway import dates
from antiphon.gateway.dates import ConversationDates
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore
from antiphon.store.open import Stores, memory_stores


class SlowStore(MemoryStore):
    """Keeps values when ``opened``."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        await self.opened.wait()
        await super().put(space, key, value, ttl=ttl)


def test_a_request_does_not_wait_until_its_date_is_kept() -> None:
    async def run() -> tuple[str, str]:
        store = SlowStore()
        here = ConversationDates(store, lambda: "2026-03-01")
        first = await asyncio.wait_for(here.of("me", "talk", continues=False), 10)
        store.opened.set()
        await here.aclose()
        elsewhere = ConversationDates(store, lambda: "2026-03-02")
        return first, await elsewhere.of("me", "talk", continues=True)

    assert asyncio.run(run()) == ("2026-03-01", "2026-03-01")


def test_a_date_that_is_not_kept_yet_is_known_to_the_next_request() -> None:
    async def run() -> str:
        days = iter(("2026-03-01", "2026-03-02"))
        here = ConversationDates(SlowStore(), lambda: next(days))
        await here.of("me", "talk", continues=False)
        return await here.of("me", "talk", continues=True)

    assert asyncio.run(run()) == "2026-03-01"


def test_requests_wait_where_too_many_dates_are_being_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dates, "MOST_WRITES", 3)

    async def run() -> tuple[int, int]:
        store = SlowStore()
        here = ConversationDates(store, lambda: "2026-03-01")
        asked = [
            asyncio.ensure_future(here.of("me", f"talk {n}", continues=False)) for n in range(5)
        ]
        await asyncio.sleep(0.01)
        early = sum(one.done() for one in asked)
        store.opened.set()
        await asyncio.gather(*asked)
        await here.aclose()
        return early, len([n for n in range(5) if await store.get("date", f"me\0talk {n}")])

    assert asyncio.run(run()) == (3, 5)


def test_a_request_that_leaves_while_it_waits_leaves_no_write_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dates, "MOST_WRITES", 0)

    async def run() -> int:
        here = ConversationDates(SlowStore(), lambda: "2026-03-01")
        for n in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(here.of("me", f"talk {n}", continues=False), 0.001)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dates, "CLOSE_SECONDS", 0.01)

    async def run() -> None:
        here = ConversationDates(SlowStore(), lambda: "2026-03-01")
        await here.of("me", "talk", continues=False)
        await asyncio.wait_for(here.aclose(), 60)

    asyncio.run(run())


def test_a_date_that_cannot_be_kept_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class FullStore(MemoryStore):
        async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
            raise StoreError("the disk is full")

    async def run() -> str:
        here = ConversationDates(FullStore(), lambda: "2026-03-01")
        date = await here.of("me", "talk", continues=False)
        await here.aclose()
        return date

    assert asyncio.run(run()) == "2026-03-01"
    assert "a conversation's date cannot be kept" in caplog.text


def test_a_server_that_ends_keeps_the_dates_of_its_last_requests() -> None:
    kept: list[bytes] = []

    class Unhurried(MemoryStore):
        async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
            if space == "date":
                await asyncio.sleep(0.5)
                kept.append(value)

    memory = memory_stores(Settings())
    stores = Stores(Unhurried(), memory.records, memory.sealer, ttl_days=1)
    with Gateway(StepEngine(final("Hello.")), stores=stores) as gateway:
        assert gateway.chat().status == 200
    assert len(kept) == 1
