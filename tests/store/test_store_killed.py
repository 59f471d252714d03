"""A process that is killed with kill -9 at any moment loses nothing that it was told is kept."""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.store.killed_writer import EVENTS, body, events, items

from antiphon.store.encryption import RowCipher
from antiphon.store.records import Record
from antiphon.store.sqlite.database import Database
from antiphon.store.sqlite.records import SqliteRecords

pytest.importorskip("cryptography")

WRITER = Path(__file__).with_name("killed_writer.py")
STEPS = ("put", "events0", f"events{EVENTS}", "done")


def write_and_kill(path: Path, round_: int, sync: str, seconds: float) -> dict[str, str]:
    """Let a writer work for so long, kill it, and return the last step of each record it said."""
    child = subprocess.Popen(
        [sys.executable, WRITER, path, str(round_), sync], stdout=subprocess.PIPE, bufsize=0
    )
    assert child.stdout is not None
    said = b""
    with child.stdout, selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        end = None
        while end is None or time.monotonic() < end:
            left = 60.0 if end is None else end - time.monotonic()
            assert selector.select(max(0, left)) or end is not None, "the writer does not start"
            if selector.select(0):
                chunk = os.read(child.stdout.fileno(), 65_536)
                assert chunk, "the writer ended by itself"
                said += chunk
            if end is None and b"ready\n" in said:
                end = time.monotonic() + seconds
        child.kill()
        while chunk := os.read(child.stdout.fileno(), 65_536):
            said += chunk
    child.wait()
    # A line that was cut by the kill was not said.
    lines = said.decode().split("\n")[1:-1]
    return {name: step for step, name in (line.split() for line in lines)}


async def check(path: Path, acknowledged: dict[str, str]) -> None:
    """Every record is whole, and at least as far as was said."""
    database = Database(path)
    records = SqliteRecords(database, max_bytes=1 << 34, cipher=RowCipher())
    found: dict[str, Record] = {}
    after = None
    while page := await records.list("t", "response", after=after, limit=1_000, order="asc"):
        found |= {record.id: record for record in page}
        after = page[-1].id
    assert set(acknowledged) <= set(found), "a record was lost"
    for name, record in found.items():
        done = record.status == "completed"
        assert record.body == body(name, 1 if done else 0)
        kept = await records.items("t", "response", name, after=None, limit=99, order="asc")
        assert list(kept) == items(name)
        log = list(await records.events("t", name, after=-1, limit=99))
        assert log == [*events(name, 0), *events(name, EVENTS)][: len(log)]
        assert len(log) in (0, EVENTS, 2 * EVENTS)
        step = acknowledged.get(name)
        if step == "done":
            assert done
        elif step is not None:
            assert len(log) >= EVENTS * STEPS.index(step)
        if done and int(name.rpartition("_")[2]) % 2:
            assert len(log) == 2 * EVENTS
    await database.aclose()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()


def killed(path: Path, rounds: int, sync: str, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[str, str] = {}
    for round_ in range(rounds):
        acknowledged |= write_and_kill(path, round_, sync, chance.uniform(0, 0.15))
    assert acknowledged
    asyncio.run(check(path, acknowledged))


def test_what_was_acknowledged_survives_a_few_kills(tmp_path: Path) -> None:
    killed(tmp_path / "s.db", 3, "normal", 1)


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["normal", "full"])
def test_what_was_acknowledged_survives_many_kills(tmp_path: Path, sync: str) -> None:
    rounds = 50 * int(os.environ.get("ANTIPHON_SOAK", "1"))
    killed(tmp_path / "s.db", rounds, sync, 2)
