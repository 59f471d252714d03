"""The stores that the settings ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from antiphon.errors import SettingsError, StoreError
from antiphon.settings.model import Settings
from antiphon.settings.paths import data_directory
from antiphon.store.encryption import RowCipher
from antiphon.store.keyring import FileKeyRing, KeyRing, MemoryKeyRing
from antiphon.store.maintenance import Maintenance
from antiphon.store.memory import MemoryStore
from antiphon.store.memory_records import MemoryRecords
from antiphon.store.protocol import StateStore
from antiphon.store.records import RecordStore
from antiphon.store.sealing import Sealer

__all__ = [
    "FILE_NAME",
    "SEAL_FILE_NAME",
    "Keeper",
    "Stores",
    "memory_stores",
    "open_stores",
    "sqlite_path",
]

FILE_NAME: Final = "antiphon.db"
SEAL_FILE_NAME: Final = "seal-keys.json"
MEMORY_BYTES: Final = 1024**3
DATABASE_BYTES: Final = 10 * 1024**3
"""``store.bytes`` where it is not set."""
PRUNE_SECONDS: Final = 3600.0
"""How often old records are looked for."""
_DAY: Final = 86_400


class Keeper(Protocol):
    """What holds a store's connections."""

    async def start(self) -> None:
        """Connect. Raises StoreError if that cannot be done."""
        ...

    async def aclose(self) -> None: ...


class Stores:
    """Everything that is kept, open. ``tend`` belongs into a task for as long as they are."""

    def __init__(
        self,
        state: StateStore,
        records: RecordStore,
        sealer: Sealer,
        *,
        keeper: Keeper | None = None,
        maintenance: Maintenance | None = None,
        ttl_days: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state: Final = state
        self.records: Final = records
        self.sealer: Final = sealer
        self.maintenance: Final = maintenance
        """None: the store is in memory, and there is nothing to look at but from within."""
        self._keeper = keeper
        self._ttl_days = ttl_days
        self._now = now

    async def start(self) -> None:
        """Reach the store. Raises StoreError if that cannot be done."""
        if self._keeper is not None:
            await self._keeper.start()

    async def prune(self) -> int:
        """Forget what is older than ``store.ttl``; how many records."""
        if not self._ttl_days:
            return 0
        return await self.records.expire(int(self._now() - self._ttl_days * _DAY))

    async def tend(self, failed: Callable[[StoreError], None] = lambda error: None) -> None:
        """Forget old records now and then, until cancelled."""
        while True:
            try:
                await self.prune()
            except StoreError as error:
                failed(error)
            await asyncio.sleep(PRUNE_SECONDS)

    async def aclose(self) -> None:
        """Finish what was asked for, and let go of files and connections."""
        await self.records.aclose()
        await self.state.aclose()
        if self._keeper is not None:
            await self._keeper.aclose()


def memory_stores(settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Stores:
    """Everything in this process, and gone with it. Raises MissingExtraError."""
    return Stores(
        MemoryStore(max_bytes=settings.memory.bytes, clock=clock),
        MemoryRecords(max_bytes=settings.store.bytes or MEMORY_BYTES),
        Sealer(MemoryKeyRing()),
        keeper=None,
        ttl_days=settings.store.ttl,
    )


def open_stores(settings: Settings, environ: Mapping[str, str]) -> Stores:
    """What ``settings.store`` names. A file is opened now, a server is reached by `Stores.start`.

    Raises SettingsError for a ``store.url`` that is none, StoreError for a store or a key file that
    cannot be used, MissingExtraError without the packages for it.
    """
    chosen = settings.store
    sealer = Sealer(_seal_ring(settings, environ))
    if chosen.url == "memory":
        return Stores(
            MemoryStore(max_bytes=settings.memory.bytes),
            MemoryRecords(max_bytes=chosen.bytes or MEMORY_BYTES),
            sealer,
            ttl_days=chosen.ttl,
        )
    cipher = row_cipher(settings)
    max_bytes = chosen.bytes or DATABASE_BYTES
    if chosen.url.startswith(("postgresql://", "postgres://")):
        from antiphon.store.postgres.maintenance import PostgresMaintenance
        from antiphon.store.postgres.pool import Postgres
        from antiphon.store.postgres.records import PostgresRecords
        from antiphon.store.postgres.state import PostgresState

        pool = Postgres(chosen.url, cipher=cipher)
        return Stores(
            PostgresState(pool, max_bytes=settings.memory.bytes, cipher=cipher),
            PostgresRecords(pool, max_bytes=max_bytes, cipher=cipher),
            sealer,
            keeper=pool,
            maintenance=PostgresMaintenance(pool, cipher=cipher),
            ttl_days=chosen.ttl,
        )
    from antiphon.store.sqlite.database import Database
    from antiphon.store.sqlite.maintenance import SqliteMaintenance
    from antiphon.store.sqlite.records import SqliteRecords
    from antiphon.store.sqlite.state import SqliteState

    database = Database(sqlite_path(chosen.url, environ), sync=chosen.sync, cipher=cipher)
    return Stores(
        SqliteState(database, max_bytes=settings.memory.bytes, cipher=cipher),
        SqliteRecords(database, max_bytes=max_bytes, cipher=cipher),
        sealer,
        keeper=database,
        maintenance=SqliteMaintenance(database, cipher=cipher),
        ttl_days=chosen.ttl,
    )


def sqlite_path(url: str, environ: Mapping[str, str]) -> Path:
    """The file that ``sqlite`` or ``sqlite:FILE`` means. Raises SettingsError for anything else."""
    scheme, colon, path = url.partition(":")
    if scheme != "sqlite" or (colon and not path):
        raise SettingsError(
            f"store.url: expected memory, sqlite, sqlite:FILE or postgresql://…, got {_shown(url)}"
        )
    return Path(path).expanduser() if path else data_directory(environ) / FILE_NAME


def row_cipher(settings: Settings) -> RowCipher:
    """Encryption at rest, as ``store.key_file`` says."""
    file = settings.store.key_file
    return RowCipher(FileKeyRing(Path(file).expanduser()) if file else None)


def _seal_ring(settings: Settings, environ: Mapping[str, str]) -> KeyRing:
    file = settings.store.seal_file
    if file is None and settings.store.url == "memory":
        return MemoryKeyRing()
    return FileKeyRing(
        Path(file).expanduser() if file else data_directory(environ) / SEAL_FILE_NAME
    )


def _shown(url: str) -> str:
    """So much of it that no password is in it."""
    return repr(url[:40].partition("@")[0].partition("//")[0])
