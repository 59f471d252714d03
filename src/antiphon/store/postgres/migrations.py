"""The tables in PostgreSQL, step by step; the columns are those of the SQLite file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from antiphon.store.migrations import pending

__all__ = ["STEPS", "migrate"]

_LOCK: Final = 7_310_584_211
"""Of all that may lock this number in a database, gateways that start."""

_RECORDS: Final = """
CREATE TABLE antiphon_records (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    created bigint NOT NULL,
    used bigint NOT NULL,
    status text NOT NULL,
    owner text NOT NULL,
    parent text,
    key text NOT NULL,
    body bytea NOT NULL,
    extra bytea NOT NULL,
    UNIQUE (tenant, kind, id)
);
CREATE INDEX antiphon_records_created ON antiphon_records (tenant, kind, created, seq);
CREATE INDEX antiphon_records_used ON antiphon_records (used);
CREATE INDEX antiphon_records_unfinished ON antiphon_records (owner)
    WHERE kind = 'response' AND status IN ('queued', 'in_progress');
CREATE TABLE antiphon_items (
    record bigint NOT NULL REFERENCES antiphon_records ON DELETE CASCADE,
    position bigint NOT NULL,
    id text NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (record, position)
);
CREATE INDEX antiphon_items_id ON antiphon_items (record, left(id, 64));
CREATE TABLE antiphon_events (
    record bigint NOT NULL REFERENCES antiphon_records ON DELETE CASCADE,
    first bigint NOT NULL,
    behind bigint NOT NULL,
    key text NOT NULL,
    events bytea NOT NULL,
    PRIMARY KEY (record, first)
);
"""
_STATE: Final = """
CREATE TABLE antiphon_state (
    space text NOT NULL,
    name text NOT NULL,
    ends double precision NOT NULL,
    bytes bigint NOT NULL,
    key text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX antiphon_state_ends ON antiphon_state (ends);
CREATE TABLE antiphon_claims (
    space text NOT NULL,
    name text NOT NULL,
    ends double precision NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX antiphon_claims_ends ON antiphon_claims (ends);
CREATE TABLE antiphon_buckets (
    space text NOT NULL,
    name text NOT NULL,
    level double precision NOT NULL,
    since double precision NOT NULL,
    full_at double precision NOT NULL,
    granted boolean NOT NULL,
    PRIMARY KEY (space, name)
);
CREATE INDEX antiphon_buckets_full_at ON antiphon_buckets (full_at);
"""
_FACTS: Final = "CREATE TABLE antiphon_facts (name text PRIMARY KEY, value bytea NOT NULL)"

STEPS: Final[Mapping[str, str]] = MappingProxyType(
    {"records": _RECORDS, "state": _STATE, "facts": _FACTS}
)


async def migrate(db: Any) -> None:
    """Bring the tables to their present form, inside the caller's transaction, one gateway at a
    time. Raises StoreError if they are newer.
    """
    await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    if await db.fetchval("SELECT to_regclass('antiphon_migrations')") is None:
        await db.execute(
            "CREATE TABLE antiphon_migrations"
            " (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
    applied = [row["name"] for row in await db.fetch("SELECT name FROM antiphon_migrations")]
    for name, statements in pending(STEPS, applied):
        await db.execute(statements)
        await db.execute("INSERT INTO antiphon_migrations (name) VALUES ($1)", name)
