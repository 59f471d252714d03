"""Looking at the tables in PostgreSQL as a whole, and encrypting them anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from antiphon.store.encryption import RowCipher
from antiphon.store.maintenance import TABLES, SealedTable, StoreInfo
from antiphon.store.postgres.pool import Postgres

__all__ = ["SIZE", "PostgresMaintenance"]

_PREFIX: Final = "antiphon_"
SIZE: Final = (
    "SELECT (SELECT coalesce(sum(octet_length(body) + octet_length(extra)), 0)"
    " FROM antiphon_records)"
    " + (SELECT coalesce(sum(octet_length(body)), 0) FROM antiphon_items)"
    " + (SELECT coalesce(sum(octet_length(events)), 0) FROM antiphon_events)"
)
"""What is used of ``store.bytes``. The tables themselves shrink only when PostgreSQL finds time."""


class PostgresMaintenance:
    """A `Maintenance` for a `Postgres`."""

    def __init__(self, postgres: Postgres, *, cipher: RowCipher) -> None:
        self._postgres = postgres
        self._cipher = cipher

    async def info(self) -> StoreInfo:
        async def read(db: Any) -> StoreInfo:
            by_key: dict[str, int] = {}
            for table in TABLES:
                for key, count in await db.fetch(
                    f"SELECT key, count(*) FROM {_PREFIX}{table.name} GROUP BY key"  # noqa: S608
                ):
                    by_key[key] = by_key.get(key, 0) + count
            kinds = await db.fetch("SELECT kind, count(*) FROM antiphon_records GROUP BY kind")
            return StoreInfo(
                where=self._postgres.name,
                bytes=int(await db.fetchval(SIZE)),
                records=dict(kinds),
                unfinished=await db.fetchval(
                    "SELECT count(*) FROM antiphon_records"
                    " WHERE kind = 'response' AND status IN ('queued', 'in_progress')"
                ),
                oldest=await db.fetchval("SELECT min(created) FROM antiphon_records"),
                rows_by_key=by_key,
            )

        return await self._postgres.run(read)

    async def rekey(self, key: str) -> int:
        total = 0
        for table in TABLES:
            behind: Sequence[Any] = ()
            while True:
                count, behind = await self._some(table, key, behind)
                total += count
                if not behind:
                    break
        await self._set_witness(key)
        return total

    async def _some(
        self, table: SealedTable, key: str, behind: Sequence[Any]
    ) -> tuple[int, Sequence[Any]]:
        """Encrypt some rows; how many, and the last one's primary key, empty at the end."""

        async def write(db: Any) -> tuple[int, Sequence[Any]]:
            # Locked, so that what a gateway writes meanwhile is not written over.
            select = table.select(_PREFIX, _parameter, first=not behind) + " FOR UPDATE OF t"
            rows = [tuple(row) for row in await db.fetch(select, key, *behind)]
            fresh = [table.resealed(self._cipher, key, row) for row in rows]
            await db.executemany(table.update(_PREFIX, _parameter), fresh)
            return len(rows), rows[-1][: len(table.primary)] if rows else ()

        return await self._postgres.transaction(write)

    async def _set_witness(self, key: str) -> None:
        async def write(db: Any) -> None:
            await db.execute("DELETE FROM antiphon_facts WHERE name = 'witness'")
            if key:
                witness = self._cipher.new_witness(key)
                await db.execute("INSERT INTO antiphon_facts VALUES ('witness', $1)", witness)

        await self._postgres.transaction(write)


def _parameter(number: int) -> str:
    return f"${number}"
