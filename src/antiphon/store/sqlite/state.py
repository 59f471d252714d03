"""State of clients in SQLite, for all processes that share the file.

Times are the wall clock's, because processes share them; where it is set back, nothing refills or
ends until it has caught up.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from antiphon.store.buckets import poured
from antiphon.store.encryption import RowCipher
from antiphon.store.protocol import Bucket
from antiphon.store.sqlite.database import Database
from antiphon.store.text import stored_key

__all__ = ["SqliteState"]

SWEEP_EVERY: Final = 500
"""Writes after which what has ended is forgotten."""
_SWEEP_ROWS: Final = 2_000
"""Most rows forgotten at once."""
_ENTRY_BYTES: Final = 200
_SWEEPS: Final = tuple(
    f"DELETE FROM {table} WHERE (space, name) IN"  # noqa: S608 - names of tables and columns
    f" (SELECT space, name FROM {table} WHERE {end} <= ? ORDER BY {end} LIMIT ?)"
    for table, end in (("state", "ends"), ("claims", "ends"), ("buckets", "full_at"))
)


class SqliteState:
    """A `StateStore` in a `Database`. ``now`` is in Unix seconds."""

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
        self._writes = 0
        self._fresh_bytes = 0

    async def get(self, space: str, key: str) -> bytes | None:
        def read(db: sqlite3.Connection) -> bytes | None:
            row = db.execute(
                "SELECT key, value FROM state WHERE space = ? AND name = ? AND ends > ?",
                (*place, self._now()),
            ).fetchone()
            return None if row is None else self._cipher.open(*row, "state", "value", *place)

        place = (space, stored_key(key))
        return await self._database.read(read)

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        def write(db: sqlite3.Connection) -> None:
            cipher_key = self._cipher.key()
            sealed = self._cipher.seal(cipher_key, value, "state", "value", *place)
            db.execute(
                "INSERT OR REPLACE INTO state (space, name, ends, bytes, key, value)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*place, self._now() + ttl, size, cipher_key, sealed),
            )
            self._sweep(db)
            self._make_room(db, size)

        place = (space, stored_key(key))
        size = len(space) + len(key) + len(value) + _ENTRY_BYTES
        if size > self._max_bytes:
            await self.delete(space, key)
            return
        await self._database.write(write)

    async def delete(self, space: str, key: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM state WHERE space = ? AND name = ?", (space, stored_key(key)))

        await self._database.write(write)

    async def claim(self, space: str, key: str, *, ttl: float) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            now = self._now()
            self._sweep(db)
            done = db.execute(
                "INSERT INTO claims (space, name, ends) VALUES (?, ?, ?)"
                " ON CONFLICT (space, name) DO UPDATE SET ends = excluded.ends WHERE ends <= ?",
                (space, stored_key(key), now + ttl, now),
            )
            return done.rowcount > 0

        return await self._database.write(write)

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
        def write(db: sqlite3.Connection) -> Bucket:
            now = self._now()
            self._sweep(db)
            level, since = db.execute(
                "SELECT level, since FROM buckets WHERE space = ? AND name = ?", place
            ).fetchone() or (capacity, now)
            bucket = poured(
                level, now - since, amount, capacity=capacity, per_second=per_second, debt=debt
            )
            db.execute(
                "INSERT OR REPLACE INTO buckets (space, name, level, since, full_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (*place, bucket.remaining, max(now, since), now + bucket.reset_after),
            )
            return bucket

        place = (space, stored_key(key))
        return await self._database.write(write)

    async def aclose(self) -> None:
        """The database is its opener's to close."""

    # In the writer's thread

    def _sweep(self, db: sqlite3.Connection) -> None:
        self._writes += 1
        if self._writes % SWEEP_EVERY != 1:
            return
        for statement in _SWEEPS:
            db.execute(statement, (self._now(), _SWEEP_ROWS))

    def _make_room(self, db: sqlite3.Connection, size: int) -> None:
        """Forget what would end first, once enough was written that there may be too much."""
        self._fresh_bytes += size
        if self._fresh_bytes < self._max_bytes // 16:
            return
        self._fresh_bytes = 0
        (total,) = db.execute("SELECT sum(bytes) FROM state").fetchone()
        wanted = total - (self._max_bytes - self._max_bytes // 16)
        going: list[tuple[int]] = []
        for row, each in db.execute("SELECT rowid, bytes FROM state ORDER BY ends"):
            if wanted <= 0:
                break
            going.append((row,))
            wanted -= each
        db.executemany("DELETE FROM state WHERE rowid = ?", going)
