"""State of clients in PostgreSQL, for all gateways that share it.

Times are the database's: gateways' clocks may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from antiphon.store.encryption import RowCipher
from antiphon.store.postgres.pool import Postgres
from antiphon.store.protocol import Bucket
from antiphon.store.text import stored_key

__all__ = ["PostgresState"]

SWEEP_EVERY: Final = 500
"""Writes after which what has ended is forgotten."""
_ENTRY_BYTES: Final = 200
_NOW: Final = "coalesce({}::double precision, extract(epoch FROM clock_timestamp()))"

_REFILLED: Final = (
    "least($4::double precision, old.level"
    " + greatest(0, excluded.since - old.since) * $5::double precision)"
)
_GRANTED: Final = f"($6::boolean OR $3::double precision < 0 OR $3 <= {_REFILLED})"
_TAKE: Final = (
    "INSERT INTO antiphon_buckets AS old (space, name, level, since, full_at, granted)"  # noqa: S608
    " SELECT $1, $2, CASE WHEN fresh.granted THEN least($4, $4 - $3) ELSE $4 END, fresh.now,"
    " fresh.now + CASE WHEN fresh.granted THEN greatest(0, $3) ELSE 0 END / $5, fresh.granted"
    f" FROM (SELECT {_NOW.format('$7')} AS now,"
    " ($6::boolean OR $3::double precision < 0 OR $3 <= $4::double precision) AS granted) AS fresh"
    f" ON CONFLICT (space, name) DO UPDATE SET granted = {_GRANTED},"
    f" level = CASE WHEN {_GRANTED} THEN least($4, {_REFILLED} - $3) ELSE {_REFILLED} END,"
    " since = greatest(old.since, excluded.since),"
    " full_at = excluded.since + ($4 - CASE WHEN"
    f" {_GRANTED} THEN least($4, {_REFILLED} - $3) ELSE {_REFILLED} END) / $5"
    " RETURNING granted, level"
)
_SWEEPS: Final = tuple(
    f"DELETE FROM antiphon_{table} WHERE {end} <= {_NOW.format('$1')}"  # noqa: S608
    for table, end in (("state", "ends"), ("claims", "ends"), ("buckets", "full_at"))
)


class PostgresState:
    """A `StateStore` in a `Postgres`. ``now`` replaces the database's clock."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        max_bytes: int,
        cipher: RowCipher,
        now: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._postgres = postgres
        self._max_bytes = max_bytes
        self._cipher = cipher
        self._now = now
        self._writes = 0
        self._fresh_bytes = 0

    async def get(self, space: str, key: str) -> bytes | None:
        place = (space, stored_key(key))
        row = await self._postgres.fetchrow(
            "SELECT key, value FROM antiphon_state WHERE space = $1 AND name = $2"  # noqa: S608
            f" AND ends > {_NOW.format('$3')}",
            *place,
            self._now(),
        )
        return None if row is None else self._cipher.open(row[0], row[1], "state", "value", *place)

    async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
        size = len(space) + len(key) + len(value) + _ENTRY_BYTES
        if size > self._max_bytes:
            await self.delete(space, key)
            return
        place = (space, stored_key(key))
        cipher_key = self._cipher.key()
        await self._postgres.fetchrow(
            "INSERT INTO antiphon_state (space, name, ends, bytes, key, value)"  # noqa: S608
            f" VALUES ($1, $2, {_NOW.format('$3')} + $4, $5, $6, $7)"
            " ON CONFLICT (space, name) DO UPDATE SET ends = excluded.ends,"
            " bytes = excluded.bytes, key = excluded.key, value = excluded.value",
            *place,
            self._now(),
            float(ttl),
            size,
            cipher_key,
            self._cipher.seal(cipher_key, value, "state", "value", *place),
        )
        await self._sweep()
        await self._make_room(size)

    async def delete(self, space: str, key: str) -> None:
        await self._postgres.fetchrow(
            "DELETE FROM antiphon_state WHERE space = $1 AND name = $2", space, stored_key(key)
        )

    async def claim(self, space: str, key: str, *, ttl: float) -> bool:
        await self._sweep()
        row = await self._postgres.fetchrow(
            "INSERT INTO antiphon_claims AS old (space, name, ends)"  # noqa: S608
            f" VALUES ($1, $2, {_NOW.format('$3')} + $4)"
            " ON CONFLICT (space, name) DO UPDATE SET ends = excluded.ends"
            " WHERE old.ends <= excluded.ends - $4 RETURNING name",
            space,
            stored_key(key),
            self._now(),
            float(ttl),
        )
        return row is not None

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
        await self._sweep()
        row = await self._postgres.fetchrow(
            _TAKE,
            space,
            stored_key(key),
            float(amount),
            float(capacity),
            float(per_second),
            debt,
            self._now(),
        )
        assert row is not None
        granted, level = row[0], row[1]
        wait = 0.0 if granted else (amount - level) / per_second
        return Bucket(granted, level, wait, (capacity - level) / per_second)

    async def aclose(self) -> None:
        """The pool is its opener's to close."""

    async def _sweep(self) -> None:
        self._writes += 1
        if self._writes % SWEEP_EVERY == 1:
            for statement in _SWEEPS:
                await self._postgres.fetch(statement, self._now())

    async def _make_room(self, size: int) -> None:
        """Forget what would end first, once enough was written that there may be too much."""
        self._fresh_bytes += size
        if self._fresh_bytes < self._max_bytes // 16:
            return
        self._fresh_bytes = 0
        await self._postgres.fetch(
            "DELETE FROM antiphon_state WHERE (space, name) IN (SELECT space, name FROM"
            " (SELECT space, name, sum(bytes) OVER (ORDER BY ends DESC, space, name) AS total"
            " FROM antiphon_state) AS kept WHERE total > $1)",
            self._max_bytes - self._max_bytes // 16,
        )
