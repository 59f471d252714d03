"""Connections to PostgreSQL: made when first needed, shared by all requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from antiphon.errors import MissingExtraError, StoreError
from antiphon.store.encryption import RowCipher
from antiphon.store.postgres.migrations import migrate

__all__ = ["Postgres"]

CONNECTIONS: Final = 8
CONNECT_SECONDS: Final = 10.0
"""Also the longest wait for a connection that is free."""
COMMAND_SECONDS: Final = 30.0
_DISK_FULL: Final = "53100"
_PASSWORD: Final = re.compile(r"://[^/?#]*@")

Result = TypeVar("Result")


class Postgres:
    """A pool. Every method raises StoreError if the server cannot be reached or refuses.

    A server that was away is found again by the next call after it is back.
    """

    def __init__(self, url: str, *, cipher: RowCipher, connections: int = CONNECTIONS) -> None:
        try:
            import asyncpg
        except ImportError as error:
            raise MissingExtraError("asyncpg", "postgres") from error
        self._url = url
        self._cipher = cipher
        self._connections = connections
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._errors: tuple[type[Exception], ...] = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
        )

    @property
    def name(self) -> str:
        """The server and database, without a password."""
        return _PASSWORD.sub("://", self._url).partition("?")[0]

    async def start(self) -> None:
        """Connect and bring the tables to their present form."""
        await self._guard(self._ready())

    async def fetch(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        """All rows."""
        found: Sequence[Sequence[Any]] = await self.run(lambda db: db.fetch(sql, *values))
        return found

    async def fetchrow(self, sql: str, *values: Any) -> Sequence[Any] | None:
        """The first row."""
        found: Sequence[Any] | None = await self.run(lambda db: db.fetchrow(sql, *values))
        return found

    async def run(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """Give ``work`` a connection; each of its statements is a transaction."""

        async def on_one() -> Result:
            pool = await self._ready()
            async with pool.acquire(timeout=CONNECT_SECONDS) as db:
                return await work(db)

        return await self._guard(on_one())

    async def transaction(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """Give ``work`` a connection in a transaction; what raises leaves nothing behind."""

        async def inside(db: Any) -> Result:
            async with db.transaction():
                return await work(db)

        return await self.run(inside)

    async def aclose(self) -> None:
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
            except self._errors:
                pool.terminate()

    async def _ready(self) -> Any:
        if self._closed:
            raise StoreError(f"{self.name}: the store is closed")
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await self._open()
        return self._pool

    async def _open(self) -> Any:
        import asyncpg

        pool = asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._connections,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
        )
        try:
            await pool
            async with pool.acquire() as db, db.transaction():
                await migrate(db)
                await self._check_keys(db)
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def _check_keys(self, db: Any) -> None:
        stored = await db.fetchval("SELECT value FROM antiphon_facts WHERE name = 'witness'")
        witness = self._cipher.witness(stored)
        if stored is None and witness is not None:
            await db.execute("INSERT INTO antiphon_facts VALUES ('witness', $1)", witness)

    async def _guard(self, work: Awaitable[Result]) -> Result:
        try:
            return await work
        except StoreError as error:
            if str(error).startswith(self.name):
                raise
            raise StoreError(f"{self.name}: {error}", status=error.status_hint) from error
        except self._errors as error:
            status = 507 if getattr(error, "sqlstate", None) == _DISK_FULL else 503
            what = str(error) or type(error).__name__
            raise StoreError(f"{self.name}: {what}", status=status) from error
