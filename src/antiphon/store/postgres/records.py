"""Responses, chat completions and conversations in PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from antiphon.errors import StoreError
from antiphon.store.encryption import RowCipher
from antiphon.store.postgres.maintenance import SIZE
from antiphon.store.postgres.pool import Postgres
from antiphon.store.records import Item, Kind, Order, Record
from antiphon.store.rows import (
    COLUMNS,
    RecordRow,
    clamped,
    events_from,
    item_from,
    item_row,
    missing,
    pack_events,
    record_from,
    record_row,
)
from antiphon.store.text import stored_text

__all__ = ["PostgresRecords"]

EXPIRE_AT_ONCE: Final = 500
MEASURE_SECONDS: Final = 30.0
"""How often the size is measured, at most …"""
_MEASURE_SHARE: Final = 50
"""… and never for more than one part in so many of the time."""
_RESERVE: Final = 10
"""One part in so many is kept for what belongs to records that are there."""

_VALUES: Final = ", ".join(f"${number}" for number in range(1, len(RecordRow._fields) + 1))
_SETS: Final = ", ".join(f"{name} = excluded.{name}" for name in RecordRow._fields)
_ASSIGNED: Final = ", ".join(f"{name} = ${at}" for at, name in enumerate(RecordRow._fields, 1))
_KEY: Final = "tenant = $1 AND kind = $2 AND id = $3"
_SEQ: Final = f"(SELECT seq FROM antiphon_records WHERE {_KEY})"  # noqa: S608 - fixed texts
_LOCK: Final = f"SELECT seq FROM antiphon_records WHERE {_KEY} FOR UPDATE"  # noqa: S608
_UPSERT: Final = (
    f"INSERT INTO antiphon_records AS old ({COLUMNS}, used) VALUES ({_VALUES}, $4)"  # noqa: S608
    f" ON CONFLICT (tenant, kind, id) DO UPDATE SET {_SETS},"
    " used = greatest(old.used, excluded.used) RETURNING seq"
)
_REPLACE: Final = (
    f"UPDATE antiphon_records SET {_ASSIGNED}, used = greatest(used, $4)"  # noqa: S608
    f" WHERE {_KEY} AND status = ANY($11) RETURNING seq"
)
_ADD_EVENTS: Final = (
    "INSERT INTO antiphon_events (record, first, behind, key, events)"  # noqa: S608
    f" SELECT r.seq, $4, $5, $6, $7 FROM antiphon_records AS r WHERE {_KEY}"
    " AND coalesce((SELECT e.behind FROM antiphon_events AS e"
    " WHERE e.record = r.seq AND e.first < $5 ORDER BY e.first DESC LIMIT 1), 0) <= $4"
    " ON CONFLICT DO NOTHING RETURNING record"
)
_LINEAGE: Final = (
    "WITH RECURSIVE line (at, before, depth) AS ("  # noqa: S608 - names of columns
    f"SELECT seq, parent, 0 FROM antiphon_records WHERE {_KEY}"
    " UNION ALL SELECT r.seq, r.parent, depth + 1 FROM line JOIN antiphon_records AS r"
    " ON r.tenant = $1 AND r.kind = $2 AND r.id = line.before WHERE depth < $4)"
    f" SELECT {COLUMNS} FROM line JOIN antiphon_records ON seq = at ORDER BY depth"
)

_Place = tuple[str, str, str]


class PostgresRecords:
    """A `RecordStore` in a `Postgres`. ``now`` is in Unix seconds, ``clock`` monotonic."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        max_bytes: int,
        cipher: RowCipher,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._postgres = postgres
        self._max_bytes = max_bytes
        self._cipher = cipher
        self._now = now
        self._clock = clock
        self._bytes = 0
        self._measure_at: float | None = None
        self._measuring = asyncio.Lock()

    async def put(
        self,
        tenant: str,
        record: Record,
        items: Sequence[Item] = (),
        *,
        over: Collection[str] | None = None,
    ) -> bool:
        async def write(db: Any) -> bool:
            if over is None:
                seq = await db.fetchval(_UPSERT, *row)
            else:
                seq = await db.fetchval(_REPLACE, *row, [stored_text(each) for each in over])
            if seq is None:
                return False
            if items:
                await db.execute("DELETE FROM antiphon_items WHERE record = $1", seq)
                await self._append(db, row[:3], seq, 0, items)
            return True

        row = record_row(self._cipher, tenant, record)
        size = len(row.body) + len(row.extra) + sum(len(item.body) for item in items)
        await self._check_room(size, new=over is None)
        return await (self._postgres.transaction(write) if items else self._postgres.run(write))

    async def get(self, tenant: str, kind: Kind, id: str) -> Record | None:
        row = await self._postgres.fetchrow(
            f"SELECT {COLUMNS} FROM antiphon_records WHERE {_KEY}",  # noqa: S608
            *_place(tenant, kind, id),
        )
        return None if row is None else record_from(self._cipher, tuple(row))[1]

    async def lineage(self, tenant: str, id: str, *, limit: int) -> Sequence[Record]:
        place = _place(tenant, "response", id)
        rows = await self._postgres.fetch(_LINEAGE, *place, limit - 1) if limit > 0 else ()
        return [record_from(self._cipher, tuple(row))[1] for row in rows]

    async def delete(self, tenant: str, kind: Kind, id: str) -> bool:
        gone = await self._postgres.fetchrow(
            f"DELETE FROM antiphon_records WHERE {_KEY} RETURNING seq",  # noqa: S608
            *_place(tenant, kind, id),
        )
        return gone is not None

    async def list(
        self, tenant: str, kind: Kind, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Record]:
        values: list[Any] = [stored_text(tenant), kind, max(0, limit)]
        behind = ""
        if after is not None:
            sign = ">" if order == "asc" else "<"
            behind = (
                f" AND (created, seq) {sign} (SELECT created, seq FROM antiphon_records"  # noqa: S608
                " WHERE tenant = $1 AND kind = $2 AND id = $4)"
            )
            values.append(stored_text(after))
        direction = order.upper()
        rows = await self._postgres.fetch(
            f"SELECT {COLUMNS} FROM antiphon_records WHERE tenant = $1 AND kind = $2{behind}"  # noqa: S608
            f" ORDER BY created {direction}, seq {direction} LIMIT $3",
            *values,
        )
        return [record_from(self._cipher, tuple(row))[1] for row in rows]

    async def add_items(self, tenant: str, kind: Kind, id: str, items: Sequence[Item]) -> bool:
        async def write(db: Any) -> bool:
            seq = await db.fetchval(
                "UPDATE antiphon_records SET used = greatest(used, $4)"  # noqa: S608
                f" WHERE {_KEY} RETURNING seq",
                *place,
                int(self._now()),
            )
            if seq is None:
                return False
            # The row is locked until the end: whoever appends as well waits for the position.
            position = await db.fetchval(
                "SELECT coalesce(max(position) + 1, 0) FROM antiphon_items WHERE record = $1", seq
            )
            await self._append(db, place, seq, position, items)
            return True

        place = _place(tenant, kind, id)
        await self._check_room(sum(len(item.body) for item in items))
        return await self._postgres.transaction(write)

    async def items(
        self, tenant: str, kind: Kind, id: str, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Item]:
        place = _place(tenant, kind, id)
        values: list[Any] = [*place, max(0, limit)]
        behind = ""
        if after is not None:
            edge, sign = ("max", ">") if order == "asc" else ("min", "<")
            behind = (
                f" AND position {sign} (SELECT {edge}(position) FROM antiphon_items"  # noqa: S608
                f" WHERE record = {_SEQ} AND left(id, 64) = left($5, 64) AND id = $5)"
            )
            values.append(stored_text(after))
        rows = await self._postgres.fetch(
            f"SELECT id, key, body FROM antiphon_items WHERE record = {_SEQ}{behind}"  # noqa: S608
            f" ORDER BY position {order.upper()} LIMIT $4",
            *values,
        )
        return [item_from(self._cipher, place, tuple(row)) for row in rows]

    async def item(self, tenant: str, kind: Kind, id: str, item_id: str) -> Item | None:
        place = _place(tenant, kind, id)
        row = await self._postgres.fetchrow(
            f"SELECT id, key, body FROM antiphon_items WHERE record = {_SEQ}"  # noqa: S608
            " AND left(id, 64) = left($4, 64) AND id = $4 ORDER BY position LIMIT 1",
            *place,
            stored_text(item_id),
        )
        return None if row is None else item_from(self._cipher, place, tuple(row))

    async def delete_item(self, tenant: str, kind: Kind, id: str, item_id: str) -> bool:
        gone = await self._postgres.fetch(
            f"DELETE FROM antiphon_items WHERE record = {_SEQ}"  # noqa: S608
            " AND left(id, 64) = left($4, 64) AND id = $4 RETURNING position",
            *_place(tenant, kind, id),
            stored_text(item_id),
        )
        return bool(gone)

    async def add_events(self, tenant: str, id: str, first: int, events: Sequence[bytes]) -> None:
        async def mend(db: Any) -> None:
            """Add what is not there yet."""
            seq = await db.fetchval(_LOCK, *place)
            if seq is None:
                return
            rows = await db.fetch(
                "SELECT first, behind FROM antiphon_events"
                " WHERE record = $1 AND first < $2 AND behind > $3 ORDER BY first DESC",
                seq,
                behind,
                first,
            )
            for start, end in missing(first, behind, [tuple(row) for row in rows]):
                part = events[start - first : end - first]
                await db.execute(
                    "INSERT INTO antiphon_events VALUES ($1, $2, $3, $4, $5)",
                    seq,
                    start,
                    end,
                    *pack_events(self._cipher, place, start, part),
                )

        if not events:
            return
        place = _place(tenant, "response", id)
        behind = first + len(events)
        row = pack_events(self._cipher, place, first, events)
        await self._check_room(len(row[1]))
        if await self._postgres.fetchrow(_ADD_EVENTS, *place, first, behind, *row) is None:
            await self._postgres.transaction(mend)

    async def events(self, tenant: str, id: str, *, after: int, limit: int) -> Sequence[bytes]:
        after, limit = clamped(after, limit)
        place = _place(tenant, "response", id)
        rows = await self._postgres.fetch(
            f"SELECT first, key, events FROM antiphon_events WHERE record = {_SEQ}"  # noqa: S608
            " AND first >= coalesce((SELECT max(first) FROM antiphon_events"
            f" WHERE record = {_SEQ} AND first <= $4), 0) AND first < $4 + $5 ORDER BY first",
            *place,
            after + 1,
            limit,
        )
        return events_from(
            self._cipher, place, [tuple(row) for row in rows], after=after, limit=limit
        )

    async def unfinished(self, owner: str | None) -> Sequence[tuple[str, Record]]:
        rows = await self._postgres.fetch(
            f"SELECT {COLUMNS} FROM antiphon_records"  # noqa: S608
            " WHERE kind = 'response' AND status IN ('queued', 'in_progress')"
            " AND ($1::text IS NULL OR owner = $1)",
            None if owner is None else stored_text(owner),
        )
        return [record_from(self._cipher, tuple(row)) for row in rows]

    async def expire(self, before: int) -> int:
        total = 0
        while True:
            gone = await self._postgres.fetch(
                "DELETE FROM antiphon_records WHERE seq IN (SELECT seq FROM antiphon_records"
                " WHERE used < $1 LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING seq",
                before,
                EXPIRE_AT_ONCE,
            )
            if not gone:
                self._measure_at = None
                return total
            total += len(gone)

    async def aclose(self) -> None:
        """The pool is its opener's to close."""

    async def _append(
        self, db: Any, place: _Place, seq: int, position: int, items: Sequence[Item]
    ) -> None:
        ids, keys, bodies = zip(
            *(item_row(self._cipher, place, item) for item in items), strict=True
        )
        await db.execute(
            "INSERT INTO antiphon_items (record, position, id, key, body)"
            " SELECT $1, $2 + row.at - 1, row.id, row.key, row.body"
            " FROM unnest($3::text[], $4::text[], $5::bytea[])"
            " WITH ORDINALITY AS row (id, key, body, at)",
            seq,
            position,
            ids,
            keys,
            bodies,
        )

    async def _check_room(self, more: int, *, new: bool = False) -> None:
        """Refuse what would be too much. Other gateways' writes are seen now and then."""
        due = self._measure_at is None or self._clock() >= self._measure_at
        if due and not self._measuring.locked():
            async with self._measuring:
                start = self._clock()
                row = await self._postgres.fetchrow(SIZE)
                end = self._clock()
                self._bytes = int(row[0]) if row is not None else 0
                self._measure_at = end + max(MEASURE_SECONDS, _MEASURE_SHARE * (end - start))
        limit = self._max_bytes if new else self._max_bytes + self._max_bytes // _RESERVE
        if self._bytes + more > limit:
            raise StoreError(
                f"the store is full: it holds {self._max_bytes} bytes (store.bytes)", status=507
            )
        self._bytes += more


def _place(tenant: str, kind: Kind, id_: str) -> _Place:
    return stored_text(tenant), kind, stored_text(id_)
