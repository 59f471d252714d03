"""The SQLite file and its threads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from antiphon.errors import StoreError
from antiphon.store.encryption import RowCipher
from antiphon.store.records import Record
from antiphon.store.sqlite import database as module
from antiphon.store.sqlite.database import Database
from antiphon.store.sqlite.records import SqliteRecords


def opened(path: Path, scenario, **options) -> None:
    async def run() -> None:
        database = Database(path, **options)
        try:
            await scenario(database)
        finally:
            await database.aclose()

    asyncio.run(run())


def record(id: str, body: bytes = b"{}") -> Record:
    return Record(kind="response", id=id, created=1, body=body)


def test_while_the_disk_is_slow_the_loop_and_the_readers_go_on(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        await records.put("t", record("there"))
        disk = threading.Event()
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(db: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(started.set)
            assert disk.wait(60)

        blocked = asyncio.create_task(database.write(slow))
        await started.wait()
        waiting = [asyncio.create_task(records.put("t", record(f"r{n}"))) for n in range(50)]
        for _ in range(20):
            assert await records.get("t", "response", "there") is not None
        assert not any(task.done() for task in [blocked, *waiting])
        assert await records.get("t", "response", "r0") is None
        disk.set()
        assert all(await asyncio.gather(*waiting))

    opened(tmp_path / "s.db", scenario)


def test_writes_that_wait_share_one_transaction(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        commits: list[str] = []

        def watch(statement: str) -> None:
            if statement == "COMMIT":
                commits.append(statement)

        gate = threading.Event()
        first = asyncio.create_task(database.write(lambda db: gate.wait(60)))
        await database.read(lambda db: None)
        database._writer.set_trace_callback(watch)
        waiting = [asyncio.create_task(records.put("t", record(f"r{n}"))) for n in range(100)]
        await database.read(lambda db: None)
        gate.set()
        await asyncio.gather(first, *waiting)
        assert len(commits) <= 3

    opened(tmp_path / "s.db", scenario)


def test_a_write_that_fails_undoes_itself_and_not_its_neighbours(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())

        def wrong(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM records")
            db.execute("INSERT INTO nowhere VALUES (1)")

        def bug(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM records")
            raise KeyError("bug")

        gate = threading.Event()
        first = asyncio.create_task(database.write(lambda db: gate.wait(60)))
        tasks = [
            asyncio.create_task(records.put("t", record("before"))),
            asyncio.create_task(database.write(wrong)),
            asyncio.create_task(database.write(bug)),
            asyncio.create_task(records.put("t", record("after"))),
        ]
        await asyncio.sleep(0)
        gate.set()
        await first
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert done[0] is True
        assert done[3] is True
        assert isinstance(done[1], StoreError)
        assert done[1].status_hint == 503
        assert isinstance(done[2], KeyError)
        for name in ("before", "after"):
            assert await records.get("t", "response", name) is not None
        with pytest.raises(StoreError, match="no such table"):
            await database.write(wrong)
        assert await records.get("t", "response", "after") is not None

    opened(tmp_path / "s.db", scenario)


def test_a_full_disk_is_said_as_such_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        await records.put("t", record("r0"))
        pages = await database.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])

        def limit(db: sqlite3.Connection, count: int) -> None:
            db.execute(f"PRAGMA max_page_count = {count}")

        await database.write(lambda db: limit(db, pages + 5))
        tasks = [records.put("t", record(f"big{n}", bytes(200_000))) for n in range(5)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, StoreError) for each in done)
        assert {each.status_hint for each in done if isinstance(each, StoreError)} <= {503, 507}
        with pytest.raises(StoreError, match="full") as caught:
            await records.put("t", record("big", bytes(200_000)))
        assert caught.value.status_hint == 507
        assert await records.get("t", "response", "r0") is not None
        assert await records.get("t", "response", "big") is None
        await database.write(lambda db: limit(db, 1 << 20))
        assert await records.put("t", record("big", bytes(200_000)))

    opened(tmp_path / "s.db", scenario)


def test_too_many_waiting_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)

    async def scenario(database: Database) -> None:
        gate = threading.Event()
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(db: sqlite3.Connection) -> None:
            loop.call_soon_threadsafe(started.set)
            assert gate.wait(60)

        first = asyncio.create_task(database.write(slow))
        await started.wait()
        tasks = [asyncio.create_task(database.write(lambda db: 1)) for _ in range(15)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        gate.set()
        await first
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[:10] == [1] * 10
        assert [str(each).partition(": ")[2] for each in results[10:]] == [
            "10 writes are waiting for the disk"
        ] * 5
        assert done

    opened(tmp_path / "s.db", scenario)


def test_whoever_stops_waiting_does_not_undo_a_write(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        gate = threading.Event()
        first = asyncio.create_task(database.write(lambda db: gate.wait(60)))
        task = asyncio.create_task(records.put("t", record("r")))
        await asyncio.sleep(0)
        task.cancel()
        gate.set()
        await first
        await database.write(lambda db: None)
        assert await records.get("t", "response", "r") is not None
        assert task.cancelled()

    opened(tmp_path / "s.db", scenario)


def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = Database(tmp_path / "s.db")
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        tasks = [asyncio.create_task(records.put("t", record(f"r{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await asyncio.gather(database.aclose(), database.aclose())
        assert all(await asyncio.gather(*tasks))

    asyncio.run(scenario())
    assert not (tmp_path / "s.db-wal").exists()


@pytest.mark.parametrize(("sync", "level"), [("normal", 1), ("full", 2)])
def test_the_disk_is_flushed_as_the_setting_says(tmp_path: Path, sync, level: int) -> None:
    async def scenario(database: Database) -> None:
        def pragma(name: str):
            return lambda db: db.execute(f"PRAGMA {name}").fetchone()[0]

        # SQLite flushes the log at each commit at level 2, and only before it is copied at level 1.
        assert await database.write(pragma("synchronous")) == level
        assert await database.write(pragma("journal_mode")) == "wal"
        assert await database.write(pragma("foreign_keys")) == 1

    opened(tmp_path / "s.db", scenario, sync=sync)


def copies(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large the log was each time it was copied, from now on at once and in no other thread."""
    sizes: list[int] = []

    def at_once(copy) -> None:
        sizes.append(database._log.stat().st_size)
        copy()

    monkeypatch.setattr(database._keeper, "submit", at_once)
    return sizes


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 200_000)
    monkeypatch.setattr(module, "_LARGEST_LOG", 1_000_000)

    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        for n in range(60):
            await records.put("t", record(f"r{n}", bytes(100_000)))
        assert (tmp_path / "s.db-wal").stat().st_size < 3_000_000
        assert (tmp_path / "s.db").stat().st_size > 2_000_000

    opened(tmp_path / "s.db", scenario)


def test_a_log_that_was_copied_is_not_copied_again_after_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 200_000)

    async def scenario(database: Database) -> None:
        copied = copies(database, monkeypatch)
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        await records.put("t", record("large", bytes(400_000)))
        for n in range(5):
            await records.put("t", record(f"r{n}"))
        assert len(copied) == 1
        assert (tmp_path / "s.db-wal").stat().st_size < 200_000

    opened(tmp_path / "s.db", scenario)


def test_a_log_that_someone_reads_is_not_copied_again_after_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 200_000)

    async def scenario(database: Database) -> None:
        copied = copies(database, monkeypatch)
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        await records.put("t", record("there"))
        reader = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        for n in range(60):
            await records.put("t", record(f"r{n}", bytes(10_000)))
        reader.close()
        assert len(copied) > 2
        assert all(after - before >= 200_000 for before, after in pairwise(copied))

    opened(tmp_path / "s.db", scenario)


def test_a_log_that_was_written_to_while_it_was_copied_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 200_000)
    path = tmp_path / "s.db"
    begun, written = threading.Event(), threading.Event()
    copy = Database._checkpoint

    def meeting_a_write(database: Database) -> None:
        if begun.is_set():
            copy(database)
            return
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        begun.set()
        assert written.wait(60)
        copy(database)
        reader.close()

    monkeypatch.setattr(Database, "_checkpoint", meeting_a_write)

    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        await records.put("t", record("large", bytes(400_000)))
        assert await asyncio.to_thread(begun.wait, 60)
        await records.put("t", record("meanwhile", bytes(50_000)))
        written.set()
        await asyncio.wrap_future(database._keeper.submit(lambda: None))
        await records.put("t", record("finishes the copy"))
        await records.put("t", record("begins the log anew"))
        assert (tmp_path / "s.db-wal").stat().st_size < 200_000

    opened(path, scenario)


def test_room_of_expired_records_goes_back_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        for n in range(50):
            await records.put("t", record(f"r{n}", bytes(100_000)))
        assert await records.expire(2) == 50

    opened(path, scenario)
    assert path.stat().st_size < 1_000_000


def test_what_was_deleted_is_not_in_the_files(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        records = SqliteRecords(database, max_bytes=1 << 30, cipher=RowCipher())
        for n in range(20):
            await records.put("t", record(f"r{n}", b"the launch code is 0000 " * (1 + 1_000 * n)))
        for n in range(10):
            assert await records.delete("t", "response", f"r{n}")
        assert await records.expire(2) == 10

    opened(tmp_path / "s.db", scenario)
    assert b"launch code" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_no_frequent_query_scans_or_sorts(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        for sql in _HOT.strip().split(";"):
            steps = await database.read(explained(sql))
            assert not any(step.startswith("SCAN") for step in steps), (sql, steps)
            assert not any("TEMP B-TREE" in step for step in steps), (sql, steps)

    opened(tmp_path / "s.db", scenario)


def explained(sql: str):
    return lambda db: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]


_HOT = """
SELECT first, behind FROM events WHERE record = 1 AND first < 5 ORDER BY first DESC;
SELECT first, key, events FROM events WHERE record = 1
    AND first >= coalesce((SELECT max(first) FROM events WHERE record = 1 AND first <= 5), 0)
    ORDER BY first;
SELECT body FROM records WHERE tenant = 't' AND kind = 'response' AND id = 'r';
SELECT body FROM records WHERE tenant = 't' AND kind = 'response'
    ORDER BY created DESC, seq DESC LIMIT 5;
SELECT body FROM records WHERE tenant = 't' AND kind = 'response' AND (created, seq) < (5, 5)
    ORDER BY created DESC, seq DESC LIMIT 5;
SELECT seq FROM records WHERE used < 5 LIMIT 5;
SELECT body FROM records WHERE kind = 'response' AND status IN ('queued', 'in_progress')
    AND owner = 'o';
SELECT max(position) FROM items WHERE record = 1;
SELECT body FROM items WHERE record = 1 AND position > 5 ORDER BY position LIMIT 5;
SELECT body FROM items WHERE record = 1 AND id = 'i' ORDER BY position LIMIT 1;
SELECT key, value FROM state WHERE space = 's' AND name = 'n' AND ends > 5
"""
