"""Looking at the SQLite file as a whole, and encrypting it anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.store.encryption import RowCipher
from antiphon.store.maintenance import TABLES, SealedTable, StoreInfo
from antiphon.store.sqlite.database import Database

__all__ = ["SqliteMaintenance"]


class SqliteMaintenance:
    """A `Maintenance` for a `Database`."""

    def __init__(self, database: Database, *, cipher: RowCipher) -> None:
        self._database = database
        self._cipher = cipher

    async def info(self) -> StoreInfo:
        def read(db: sqlite3.Connection) -> StoreInfo:
            by_key: dict[str, int] = {}
            for table in TABLES:
                for key, count in db.execute(
                    f"SELECT key, count(*) FROM {table.name} GROUP BY key"  # noqa: S608
                ):
                    by_key[key] = by_key.get(key, 0) + count
            return StoreInfo(
                where=str(self._database.path),
                bytes=used_bytes(db),
                records=dict(db.execute("SELECT kind, count(*) FROM records GROUP BY kind")),
                unfinished=db.execute(
                    "SELECT count(*) FROM records"
                    " WHERE kind = 'response' AND status IN ('queued', 'in_progress')"
                ).fetchone()[0],
                oldest=db.execute("SELECT min(created) FROM records").fetchone()[0],
                rows_by_key=by_key,
            )

        return await self._database.read(read)

    async def rekey(self, key: str) -> int:
        total = 0
        for table in TABLES:
            behind: Sequence[Any] = ()
            while True:
                count, behind = await self._database.write(self._some(table, key, behind))
                total += count
                if not behind:
                    break
        await self._database.write(self._witness(key))
        return total

    def _some(
        self, table: SealedTable, key: str, behind: Sequence[Any]
    ) -> Callable[[sqlite3.Connection], tuple[int, Sequence[Any]]]:
        """Encrypt some rows; how many, and the last one's primary key, empty at the end."""

        def write(db: sqlite3.Connection) -> tuple[int, Sequence[Any]]:
            select = table.select("", _parameter, first=not behind)
            rows = db.execute(select, (key, *behind)).fetchall()
            fresh = [table.resealed(self._cipher, key, row) for row in rows]
            db.executemany(table.update("", _parameter), fresh)
            return len(rows), rows[-1][: len(table.primary)] if rows else ()

        return write

    def _witness(self, key: str) -> Callable[[sqlite3.Connection], None]:
        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM facts WHERE name = 'witness'")
            if key:
                witness = self._cipher.new_witness(key)
                db.execute("INSERT INTO facts VALUES ('witness', ?)", (witness,))

        return write


def used_bytes(db: sqlite3.Connection) -> int:
    """What the file holds, without the pages that wait to be used again."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _parameter(number: int) -> str:
    return f"?{number}"
