"""The tables of the SQLite file, step by step.

``body``, ``extra``, ``events`` and ``value`` are as `encryption.RowCipher` leaves them; ``key``
names the key that sealed them and is empty where they are plain.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from antiphon.store.migrations import pending

__all__ = ["STEPS", "migrate", "transaction"]


def _records(db: sqlite3.Connection) -> None:
    db.execute(
        """
        CREATE TABLE records (
            seq INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            kind TEXT NOT NULL,
            id TEXT NOT NULL,
            created INTEGER NOT NULL,
            used INTEGER NOT NULL,
            status TEXT NOT NULL,
            owner TEXT NOT NULL,
            parent TEXT,
            key TEXT NOT NULL,
            body BLOB NOT NULL,
            extra BLOB NOT NULL,
            UNIQUE (tenant, kind, id)
        )
        """
    )
    db.execute("CREATE INDEX records_created ON records (tenant, kind, created, seq)")
    db.execute("CREATE INDEX records_used ON records (used)")
    db.execute(
        "CREATE INDEX records_unfinished ON records (owner)"
        " WHERE kind = 'response' AND status IN ('queued', 'in_progress')"
    )
    db.execute(
        """
        CREATE TABLE items (
            record INTEGER NOT NULL REFERENCES records (seq) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            id TEXT NOT NULL,
            key TEXT NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (record, position)
        )
        """
    )
    db.execute("CREATE INDEX items_id ON items (record, id)")
    db.execute(
        """
        CREATE TABLE events (
            record INTEGER NOT NULL REFERENCES records (seq) ON DELETE CASCADE,
            first INTEGER NOT NULL,
            behind INTEGER NOT NULL,
            key TEXT NOT NULL,
            events BLOB NOT NULL,
            PRIMARY KEY (record, first)
        )
        """
    )


def _state(db: sqlite3.Connection) -> None:
    db.execute(
        """
        CREATE TABLE state (
            space TEXT NOT NULL,
            name TEXT NOT NULL,
            ends REAL NOT NULL,
            bytes INTEGER NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            UNIQUE (space, name)
        )
        """
    )
    db.execute("CREATE INDEX state_ends ON state (ends)")
    db.execute(
        """
        CREATE TABLE claims (
            space TEXT NOT NULL,
            name TEXT NOT NULL,
            ends REAL NOT NULL,
            PRIMARY KEY (space, name)
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX claims_ends ON claims (ends)")
    db.execute(
        """
        CREATE TABLE buckets (
            space TEXT NOT NULL,
            name TEXT NOT NULL,
            level REAL NOT NULL,
            since REAL NOT NULL,
            full_at REAL NOT NULL,
            PRIMARY KEY (space, name)
        ) WITHOUT ROWID
        """
    )
    db.execute("CREATE INDEX buckets_full_at ON buckets (full_at)")


def _facts(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


STEPS: Final[Mapping[str, Callable[[sqlite3.Connection], None]]] = MappingProxyType(
    {"records": _records, "state": _state, "facts": _facts}
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to its present form, in one transaction. Raises StoreError if it is newer."""
    with transaction(db):
        db.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at INTEGER NOT NULL)"
        )
        applied = [name for (name,) in db.execute("SELECT name FROM migrations")]
        for name, step in pending(STEPS, applied):
            step(db)
            db.execute("INSERT INTO migrations VALUES (?, ?)", (name, int(time.time())))


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with the file to ourselves for writing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
