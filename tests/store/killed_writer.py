"""Writes to a SQLite store until it is killed; says what it was told is kept.

    python killed_writer.py FILE ROUND SYNC

Each line on standard output is the number of a record whose write has returned. Half of the records
are written in steps, as background responses are.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

from antiphon.store.encryption import RowCipher
from antiphon.store.records import Item, Record
from antiphon.store.sqlite.database import Database
from antiphon.store.sqlite.records import SqliteRecords

WRITERS = 4
EVENTS = 5


def body(name: str, version: int) -> bytes:
    """Content that shows whether it is whole."""
    text = hashlib.sha256(f"{name} {version}".encode()).hexdigest() * (20 + len(name) * 13 % 400)
    return text.encode()


def items(name: str) -> list[Item]:
    return [Item(f"{name}_{n}", body(name, 10 + n)) for n in range(3)]


def events(name: str, first: int) -> list[bytes]:
    return [body(name, 100 + first + n) for n in range(EVENTS)]


async def main(path: Path, round_: str, sync: str) -> None:
    assert sync in ("normal", "full")
    database = Database(path, sync="full" if sync == "full" else "normal")
    records = SqliteRecords(database, max_bytes=1 << 34, cipher=RowCipher())

    def say(what: str) -> None:
        os.write(1, f"{what}\n".encode())

    async def write(writer: int) -> None:
        for number in range(1_000_000):
            name = f"r{round_}_{writer}_{number}"
            record = Record(
                kind="response", id=name, created=number, status="queued", body=body(name, 0)
            )
            if number % 2:
                await records.put("t", record, items(name))
                say(f"put {name}")
                for first in (0, EVENTS):
                    await records.add_events("t", name, first, events(name, first))
                    say(f"events{first} {name}")
            done = Record(
                kind="response", id=name, created=number, status="completed", body=body(name, 1)
            )
            if number % 2:
                assert await records.put("t", done, over=("queued",))
            else:
                assert await records.put("t", done, items(name))
            say(f"done {name}")

    say("ready")
    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
