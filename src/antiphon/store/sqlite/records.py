"""Responses, chat completions and conversations in SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from antiphon.errors import StoreError
from antiphon.store.encryption import RowCipher
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
from antiphon.store.sqlite.database import Database
from antiphon.store.sqlite.maintenance import used_bytes
from antiphon.store.text import stored_text

__all__ = ["SqliteRecords"]

EXPIRE_AT_ONCE: Final = 200
"""Records forgotten in one transaction, so that other writes come between."""
_RESERVE: Final = 10
"""One part in so many is kept for what belongs to records that are there."""

_INSERT: Final = (
    f"INSERT INTO records ({COLUMNS}, used)"  # noqa: S608 - names of columns
    f" VALUES ({', '.join('?' * len(RecordRow._fields))}, ?)"
)
_UPDATE: Final = (
    f"UPDATE records SET {', '.join(f'{name} = ?' for name in RecordRow._fields)},"  # noqa: S608
    " used = max(used, ?) WHERE seq = ?"
)
_FIND: Final = "SELECT seq, status FROM records WHERE tenant = ? AND kind = ? AND id = ?"
_LINEAGE: Final = (
    "WITH RECURSIVE line (at, before, depth) AS ("  # noqa: S608 - names of columns
    "SELECT seq, parent, 0 FROM records WHERE tenant = ? AND kind = ? AND id = ?"
    " UNION ALL SELECT r.seq, r.parent, depth + 1 FROM line JOIN records AS r"
    " ON r.tenant = ? AND r.kind = 'response' AND r.id = line.before WHERE depth < ?)"
    f" SELECT {COLUMNS} FROM line JOIN records ON seq = at ORDER BY depth"
)

_Place = tuple[str, str, str]


class SqliteRecords:
    """A `RecordStore` in a `Database`. ``now`` is in Unix seconds."""

    def __init__(
        self,
        database: Database,
        *,
        max_bytes: int,
        cipher: RowCipher,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._cipher = cipher
        self._now = now

    async def put(
        self,
        tenant: str,
        record: Record,
        items: Sequence[Item] = (),
        *,
        over: Collection[str] | None = None,
    ) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            row = record_row(self._cipher, tenant, record)
            place = row[:3]
            found = db.execute(_FIND, place).fetchone()
            if over is not None and (found is None or found[1] not in wanted):
                return False
            self._check_room(db, new=found is None)
            if found is None:
                seq = db.execute(_INSERT, (*row, record.created)).lastrowid
                assert seq is not None
            else:
                seq = found[0]
                db.execute(_UPDATE, (*row, record.created, seq))
                if items:
                    db.execute("DELETE FROM items WHERE record = ?", (seq,))
            self._append(db, place, seq, 0, items)
            return True

        wanted = {stored_text(status) for status in over or ()}
        return await self._database.write(write)

    async def get(self, tenant: str, kind: Kind, id: str) -> Record | None:
        def read(db: sqlite3.Connection) -> Record | None:
            row = db.execute(
                f"SELECT {COLUMNS} FROM records WHERE tenant = ? AND kind = ? AND id = ?",  # noqa: S608
                place,
            ).fetchone()
            return None if row is None else record_from(self._cipher, row)[1]

        place = _place(tenant, kind, id)
        return await self._database.read(read)

    async def lineage(self, tenant: str, id: str, *, limit: int) -> Sequence[Record]:
        def read(db: sqlite3.Connection) -> Sequence[Record]:
            rows = db.execute(_LINEAGE, (*place, place[0], limit - 1))
            return [record_from(self._cipher, row)[1] for row in rows]

        place = _place(tenant, "response", id)
        return await self._database.read(read) if limit > 0 else ()

    async def delete(self, tenant: str, kind: Kind, id: str) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            done = db.execute("DELETE FROM records WHERE tenant = ? AND kind = ? AND id = ?", place)
            return done.rowcount > 0

        place = _place(tenant, kind, id)
        return await self._database.write(write)

    async def list(
        self, tenant: str, kind: Kind, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Record]:
        def read(db: sqlite3.Connection) -> Sequence[Record]:
            values: list[Any] = [stored_text(tenant), kind]
            behind = ""
            if after is not None:
                place = db.execute(
                    "SELECT created, seq FROM records WHERE tenant = ? AND kind = ? AND id = ?",
                    (*values, stored_text(after)),
                ).fetchone()
                if place is None:
                    return ()
                behind = f" AND (created, seq) {'>' if order == 'asc' else '<'} (?, ?)"
                values += place
            rows = db.execute(
                f"SELECT {COLUMNS} FROM records WHERE tenant = ? AND kind = ?{behind}"  # noqa: S608
                f" ORDER BY created {_direction(order)}, seq {_direction(order)} LIMIT ?",
                (*values, max(0, limit)),
            )
            return [record_from(self._cipher, row)[1] for row in rows]

        return await self._database.read(read)

    async def add_items(self, tenant: str, kind: Kind, id: str, items: Sequence[Item]) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            found = db.execute(_FIND, place).fetchone()
            if found is None:
                return False
            seq = found[0]
            self._check_room(db)
            (last,) = db.execute(
                "SELECT max(position) FROM items WHERE record = ?", (seq,)
            ).fetchone()
            self._append(db, place, seq, 0 if last is None else last + 1, items)
            db.execute(
                "UPDATE records SET used = max(used, ?) WHERE seq = ?", (int(self._now()), seq)
            )
            return True

        place = _place(tenant, kind, id)
        return await self._database.write(write)

    async def items(
        self, tenant: str, kind: Kind, id: str, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Item]:
        def read(db: sqlite3.Connection) -> Sequence[Item]:
            found = db.execute(_FIND, place).fetchone()
            if found is None:
                return ()
            values: list[Any] = [found[0]]
            behind = ""
            if after is not None:
                edge, sign = ("max", ">") if order == "asc" else ("min", "<")
                (position,) = db.execute(
                    f"SELECT {edge}(position) FROM items WHERE record = ? AND id = ?",  # noqa: S608
                    (*values, stored_text(after)),
                ).fetchone()
                if position is None:
                    return ()
                behind = f" AND position {sign} ?"
                values.append(position)
            rows = db.execute(
                f"SELECT id, key, body FROM items WHERE record = ?{behind}"  # noqa: S608
                f" ORDER BY position {_direction(order)} LIMIT ?",
                (*values, max(0, limit)),
            )
            return [item_from(self._cipher, place, row) for row in rows]

        place = _place(tenant, kind, id)
        return await self._database.read(read)

    async def item(self, tenant: str, kind: Kind, id: str, item_id: str) -> Item | None:
        def read(db: sqlite3.Connection) -> Item | None:
            row = db.execute(
                "SELECT id, key, body FROM items"
                " WHERE record = (SELECT seq FROM records WHERE tenant = ? AND kind = ? AND id = ?)"
                " AND id = ? ORDER BY position LIMIT 1",
                (*place, stored_text(item_id)),
            ).fetchone()
            return None if row is None else item_from(self._cipher, place, row)

        place = _place(tenant, kind, id)
        return await self._database.read(read)

    async def delete_item(self, tenant: str, kind: Kind, id: str, item_id: str) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            done = db.execute(
                "DELETE FROM items"
                " WHERE record = (SELECT seq FROM records WHERE tenant = ? AND kind = ? AND id = ?)"
                " AND id = ?",
                (*_place(tenant, kind, id), stored_text(item_id)),
            )
            return done.rowcount > 0

        return await self._database.write(write)

    async def add_events(self, tenant: str, id: str, first: int, events: Sequence[bytes]) -> None:
        def write(db: sqlite3.Connection) -> None:
            found = db.execute(_FIND, place).fetchone()
            if found is None:
                return
            self._check_room(db)
            there = db.execute(
                "SELECT first, behind FROM events WHERE record = ? AND first < ?"
                " ORDER BY first DESC",
                (found[0], first + len(events)),
            )
            for start, end in missing(first, first + len(events), there):
                part = events[start - first : end - first]
                db.execute(
                    "INSERT INTO events (record, first, behind, key, events)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (found[0], start, end, *pack_events(self._cipher, place, start, part)),
                )

        place = _place(tenant, "response", id)
        if events:
            await self._database.write(write)

    async def events(self, tenant: str, id: str, *, after: int, limit: int) -> Sequence[bytes]:
        def read(db: sqlite3.Connection) -> Sequence[bytes]:
            found = db.execute(_FIND, place).fetchone()
            if found is None:
                return ()
            rows = db.execute(
                "SELECT first, key, events FROM events WHERE record = ? AND first >= coalesce("
                "(SELECT max(first) FROM events WHERE record = ? AND first <= ?), 0)"
                " ORDER BY first",
                (found[0], found[0], after + 1),
            )
            return events_from(self._cipher, place, rows, after=after, limit=limit)

        place = _place(tenant, "response", id)
        after, limit = clamped(after, limit)
        return await self._database.read(read)

    async def unfinished(self, owner: str | None) -> Sequence[tuple[str, Record]]:
        def read(db: sqlite3.Connection) -> Sequence[tuple[str, Record]]:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM records"  # noqa: S608
                " WHERE kind = 'response' AND status IN ('queued', 'in_progress')"
                + ("" if owner is None else " AND owner = ?"),
                () if owner is None else (stored_text(owner),),
            )
            return [record_from(self._cipher, row) for row in rows]

        return await self._database.read(read)

    async def expire(self, before: int) -> int:
        def write(db: sqlite3.Connection) -> int:
            done = db.execute(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM records WHERE used < ? LIMIT ?)",
                (before, EXPIRE_AT_ONCE),
            )
            self._database.give_room_back()
            return done.rowcount

        total = 0
        while gone := await self._database.write(write):
            total += gone
        return total

    async def aclose(self) -> None:
        """The database is its opener's to close."""

    def _append(
        self,
        db: sqlite3.Connection,
        place: _Place,
        seq: int,
        position: int,
        items: Sequence[Item],
    ) -> None:
        db.executemany(
            "INSERT INTO items (record, position, id, key, body) VALUES (?, ?, ?, ?, ?)",
            (
                (seq, at, *item_row(self._cipher, place, item))
                for at, item in enumerate(items, position)
            ),
        )

    def _check_room(self, db: sqlite3.Connection, *, new: bool = False) -> None:
        limit = self._max_bytes if new else self._max_bytes + self._max_bytes // _RESERVE
        if used_bytes(db) > limit:
            raise StoreError(
                f"{self._database.path}: the store is full: it holds {self._max_bytes} bytes"
                " (store.bytes)",
                status=507,
            )


def _place(tenant: str, kind: Kind, id_: str) -> _Place:
    return stored_text(tenant), kind, stored_text(id_)


def _direction(order: Order) -> str:
    return "ASC" if order == "asc" else "DESC"
