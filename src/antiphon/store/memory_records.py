"""Records in this process: bounded, the least recently used finished one goes first."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from antiphon.errors import StoreError
from antiphon.store.records import UNFINISHED, Item, Kind, Order, Record
from antiphon.store.rows import clamped

__all__ = ["MemoryRecords"]

_RECORD_BYTES: Final = 1_000
_PART_BYTES: Final = 150
"""What a record, an item or an event costs beside its text."""

_Key = tuple[str, Kind, str]


class _Entry:
    """A record with what belongs to it."""

    __slots__ = ("bytes", "events", "items", "number", "record", "used")

    def __init__(self, record: Record, number: int) -> None:
        self.record = record
        self.number = number
        self.items: list[Item] = []
        self.events: dict[int, bytes] = {}
        self.used = record.created
        self.bytes = _record_bytes(record)


class MemoryRecords:
    """A `RecordStore` for one process. ``now`` is in Unix seconds."""

    def __init__(self, *, max_bytes: int = 1024**3, now: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._bytes = 0
        self._numbers = 0
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._shelves: dict[tuple[str, Kind], list[tuple[int, int, str]]] = {}
        """Creation, number and id of every record, in order."""

    async def put(
        self,
        tenant: str,
        record: Record,
        items: Sequence[Item] = (),
        *,
        over: Collection[str] | None = None,
    ) -> bool:
        key = (tenant, record.kind, record.id)
        old = self._entries.get(key)
        if over is not None and (old is None or old.record.status not in over):
            return False
        more = _record_bytes(record) + _items_bytes(items)
        if old is not None:
            more -= _record_bytes(old.record) + (_items_bytes(old.items) if items else 0)
        self._make_room(more, keep=key)
        if old is None:
            self._numbers += 1
            entry = self._entries[key] = _Entry(record, self._numbers)
            self._bytes += entry.bytes
            more -= entry.bytes
        else:
            entry = old
            self._take_off_shelf(key, old)
            self._entries.move_to_end(key)
        insort(
            self._shelves.setdefault((tenant, record.kind), []),
            (record.created, entry.number, record.id),
        )
        entry.record = record
        entry.used = max(entry.used, record.created)
        if items:
            entry.items = list(items)
        self._grow(entry, more)
        return True

    async def get(self, tenant: str, kind: Kind, id: str) -> Record | None:
        entry = self._entries.get((tenant, kind, id))
        if entry is None:
            return None
        self._entries.move_to_end((tenant, kind, id))
        return entry.record

    async def lineage(self, tenant: str, id: str, *, limit: int) -> Sequence[Record]:
        found: list[Record] = []
        at: str | None = id
        while at is not None and len(found) < limit:
            record = await self.get(tenant, "response", at)
            if record is None:
                break
            found.append(record)
            at = record.parent
        return found

    async def delete(self, tenant: str, kind: Kind, id: str) -> bool:
        return self._forget((tenant, kind, id))

    async def list(
        self, tenant: str, kind: Kind, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Record]:
        shelf = self._shelves.get((tenant, kind), [])
        start = 0 if order == "asc" else len(shelf) - 1
        if after is not None:
            entry = self._entries.get((tenant, kind, after))
            if entry is None:
                return ()
            place = (entry.record.created, entry.number, after)
            start = bisect_right(shelf, place) if order == "asc" else bisect_left(shelf, place) - 1
        step = 1 if order == "asc" else -1
        end = len(shelf) if order == "asc" else -1
        chosen = range(start, end, step)[: max(0, limit)]
        return [self._entries[tenant, kind, shelf[at][2]].record for at in chosen]

    async def add_items(self, tenant: str, kind: Kind, id: str, items: Sequence[Item]) -> bool:
        entry = self._entries.get((tenant, kind, id))
        if entry is None:
            return False
        more = _items_bytes(items)
        self._make_room(more, keep=(tenant, kind, id))
        entry.items.extend(items)
        entry.used = max(entry.used, int(self._now()))
        self._grow(entry, more)
        self._entries.move_to_end((tenant, kind, id))
        return True

    async def items(
        self, tenant: str, kind: Kind, id: str, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Item]:
        entry = self._entries.get((tenant, kind, id))
        if entry is None:
            return ()
        items = entry.items if order == "asc" else entry.items[::-1]
        start = 0
        if after is not None:
            places = [at for at, item in enumerate(items) if item.id == after]
            if not places:
                return ()
            start = places[-1] + 1
        return items[start : start + max(0, limit)]

    async def item(self, tenant: str, kind: Kind, id: str, item_id: str) -> Item | None:
        entry = self._entries.get((tenant, kind, id))
        if entry is None:
            return None
        return next((item for item in entry.items if item.id == item_id), None)

    async def delete_item(self, tenant: str, kind: Kind, id: str, item_id: str) -> bool:
        entry = self._entries.get((tenant, kind, id))
        if entry is None:
            return False
        kept = [item for item in entry.items if item.id != item_id]
        gone = len(kept) != len(entry.items)
        self._grow(entry, _items_bytes(kept) - _items_bytes(entry.items))
        entry.items = kept
        return gone

    async def add_events(self, tenant: str, id: str, first: int, events: Sequence[bytes]) -> None:
        key: _Key = (tenant, "response", id)
        entry = self._entries.get(key)
        if entry is None:
            return
        more = sum(len(event) + _PART_BYTES for event in events)
        self._make_room(more, keep=key)
        for number, event in enumerate(events, first):
            if number not in entry.events:
                entry.events[number] = event
                self._grow(entry, len(event) + _PART_BYTES)

    async def events(self, tenant: str, id: str, *, after: int, limit: int) -> Sequence[bytes]:
        entry = self._entries.get((tenant, "response", id))
        found: list[bytes] = []
        if entry is None:
            return found
        after, limit = clamped(after, limit)
        for number in range(after + 1, after + 1 + limit):
            event = entry.events.get(number)
            if event is None:
                break
            found.append(event)
        return found

    async def unfinished(self, owner: str | None) -> Sequence[tuple[str, Record]]:
        return [
            (tenant, entry.record)
            for (tenant, kind, _), entry in self._entries.items()
            if kind == "response"
            and entry.record.status in UNFINISHED
            and owner in (None, entry.record.owner)
        ]

    async def expire(self, before: int) -> int:
        old = [key for key, entry in self._entries.items() if entry.used < before]
        for key in old:
            self._forget(key)
        return len(old)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _make_room(self, more: int, *, keep: _Key) -> None:
        """Forget finished records until ``more`` bytes fit; StoreError if they cannot."""
        over = self._bytes + more - self._max_bytes
        if over <= 0 or more <= 0:
            return
        going: list[_Key] = []
        for key, entry in self._entries.items():
            if key != keep and entry.record.status not in UNFINISHED:
                going.append(key)
                over -= entry.bytes
                if over <= 0:
                    break
        if over > 0:
            raise StoreError(
                f"the store in memory is full: it holds {self._max_bytes} bytes (store.bytes)",
                status=507,
            )
        for key in going:
            self._forget(key)

    def _grow(self, entry: _Entry, more: int) -> None:
        entry.bytes += more
        self._bytes += more

    def _forget(self, key: _Key) -> bool:
        entry = self._entries.get(key)
        if entry is None:
            return False
        self._take_off_shelf(key, entry)
        del self._entries[key]
        self._bytes -= entry.bytes
        return True

    def _take_off_shelf(self, key: _Key, entry: _Entry) -> None:
        tenant, kind, id_ = key
        shelf = self._shelves[tenant, kind]
        del shelf[bisect_left(shelf, (entry.record.created, entry.number, id_))]
        if not shelf:
            del self._shelves[tenant, kind]


def _record_bytes(record: Record) -> int:
    return _RECORD_BYTES + len(record.body) + len(record.extra)


def _items_bytes(items: Iterable[Item]) -> int:
    return sum(_PART_BYTES + len(item.id) + len(item.body) for item in items)
