"""Keeping the date of a conversation: nobody waits for it, and none is lost at the end."""

from __future__ import annotations

import asyncio

from antiphon.gateway import dates
from antiphon.gateway.dates import ConversationDates
from antiphon.store.memory import MemoryStore


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


def test_requests_wait_where_too_many_dates_are_being_kept(monkeypatch) -> None:
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
