"""Every kind of store, open for a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from antiphon.store.encryption import RowCipher
from antiphon.store.keyring import FileKeyRing
from antiphon.store.memory import MemoryStore
from antiphon.store.memory_records import MemoryRecords
from antiphon.store.protocol import StateStore
from antiphon.store.records import RecordStore

KINDS = [
    "memory",
    "sqlite",
    "sqlite encrypted",
    pytest.param("postgres", marks=pytest.mark.slow),
    pytest.param("postgres encrypted", marks=pytest.mark.slow),
]
"""For parametrize, as an argument of `Opener`."""
SHARED = KINDS[1:]
"""Those that several processes can open."""


class Clock:
    """A time that a test moves, in seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Open(NamedTuple):
    records: RecordStore
    state: StateStore


class Opener:
    """Opens one and the same store, as often as asked."""

    def __init__(self, kind: str, folder: Path, url: str | None) -> None:
        self.kind = kind
        self.folder = folder
        self.url = url
        self.clock = Clock()
        self.key_file = folder / "keys.json"

    @property
    def file(self) -> Path:
        return self.folder / "store.db"

    def cipher(self) -> RowCipher:
        return RowCipher(FileKeyRing(self.key_file) if "encrypted" in self.kind else None)

    @asynccontextmanager
    async def open(
        self, *, max_bytes: int = 1 << 30, state_bytes: int = 1 << 24
    ) -> AsyncIterator[Open]:
        if self.kind == "memory":
            yield Open(
                MemoryRecords(max_bytes=max_bytes, now=self.clock),
                MemoryStore(max_bytes=state_bytes, clock=self.clock),
            )
            return
        cipher = self.cipher()
        keeper: Any
        records: RecordStore
        state: StateStore
        if self.kind.startswith("sqlite"):
            from antiphon.store.sqlite.database import Database
            from antiphon.store.sqlite.records import SqliteRecords
            from antiphon.store.sqlite.state import SqliteState

            keeper = Database(self.file, cipher=cipher)
            records = SqliteRecords(keeper, max_bytes=max_bytes, cipher=cipher, now=self.clock)
            state = SqliteState(keeper, max_bytes=state_bytes, cipher=cipher, now=self.clock)
        else:
            from antiphon.store.postgres.pool import Postgres
            from antiphon.store.postgres.records import PostgresRecords
            from antiphon.store.postgres.state import PostgresState

            assert self.url is not None
            keeper = Postgres(self.url, cipher=cipher)
            records = PostgresRecords(
                keeper, max_bytes=max_bytes, cipher=cipher, now=self.clock, clock=self.clock
            )
            state = PostgresState(keeper, max_bytes=state_bytes, cipher=cipher, now=self.clock)
        try:
            yield Open(records, state)
        finally:
            await keeper.aclose()

    def run(self, scenario: Callable[[Open], Awaitable[None]], **limits: int) -> None:
        """Run a test's scenario with the store open."""

        async def opened() -> None:
            async with self.open(**limits) as store:
                await scenario(store)

        asyncio.run(opened())


def opener(request: pytest.FixtureRequest, folder: Path) -> Opener:
    """The opener for a fixture's parameter."""
    kind: str = request.param
    url = None
    if kind.startswith("postgres"):
        url = request.getfixturevalue("postgres").new_database()
    return Opener(kind, folder, url)
