"""A SQLite file behind threads: one writes, some read, and the event loop waits for none of them.

Every write that has queued up while the last transaction was committed goes into the next one, so a
slow disk costs patience and not throughput. The write-ahead log is copied into the file by another
thread, so that no write waits for that either. Several processes may share the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal, TypeVar

from antiphon.errors import StoreError
from antiphon.store.encryption import RowCipher
from antiphon.store.sqlite.migrations import migrate, transaction

__all__ = ["Database"]

Sync = Literal["normal", "full"]

MAX_WAITING: Final = 20_000
"""Writes that may queue up; more are refused."""
MAX_BATCH: Final = 1_000
"""Writes in one transaction."""
READERS: Final = 3
BUSY_SECONDS: Final = 10.0
"""How long another process may hold the file."""
_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700
_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""A log that has grown by so much is copied into the file …"""
_LARGEST_LOG: Final = 256 * 1024 * 1024
"""… and for so large a one writes do wait, so that it cannot grow for ever under load."""
_GIVE_BACK_PAGES: Final = 2_000
"""Pages given back to the file system at once."""
_CACHE_KIB: Final = 16 * 1024

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Result]


class _Job:
    """A write that someone waits for."""

    __slots__ = ("error", "future", "loop", "operation", "result")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


class Database:
    """The file, open. Raises StoreError if it cannot be opened or is not ours."""

    def __init__(
        self, path: Path, *, cipher: RowCipher | None = None, sync: Sync = "normal"
    ) -> None:
        self.path: Final = path
        self._log = path.with_name(f"{path.name}-wal")
        self._sync = sync
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._room_to_give_back = False
        self._copied = 0
        """How large the log was when it was last copied; 0 once it began anew."""
        self._finish_copy = False
        """Whether a copy has ended since, which may have left out what came meanwhile."""
        self._checkpointing = threading.Lock()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        try:
            _create(path)
            self._writer = self._connect()
            try:
                _use_log(self._writer)
                migrate(self._writer)
                _check_keys(self._writer, cipher or RowCipher())
                _tighten(path)
            except BaseException:
                self._writer.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {_words(error)}") from error
        except StoreError as error:
            raise StoreError(f"{path}: {error}", status=error.status_hint) from error
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="antiphon-store-reader")
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="antiphon-store-log")
        self._thread = threading.Thread(
            target=self._write_all, name="antiphon-store-writer", daemon=True
        )
        self._thread.start()

    async def start(self) -> None:
        """The file is open already."""

    async def write(self, operation: Operation[Result]) -> Result:
        """Run ``operation`` in a transaction; what it made is on disk when this returns.

        It runs in the writer's thread. If it raises, nothing of it is kept.
        """
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        if self._jobs.qsize() >= MAX_WAITING:
            raise StoreError(f"{self.path}: {MAX_WAITING} writes are waiting for the disk")
        job = _Job(operation)
        self._jobs.put(job)
        result: Result = await job.future
        return result

    async def read(self, query: Operation[Result]) -> Result:
        """Run ``query`` in a reader's thread. It sees every write that has returned."""
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    def give_room_back(self) -> None:
        """Let the file shrink by what an operation has deleted. For operations to call."""
        self._room_to_give_back = True

    async def aclose(self) -> None:
        """Finish what was asked for, and close the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._close)

    # Writing, in the writer's thread

    def _write_all(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            batch = [job]
            last = False
            with contextlib.suppress(Empty):
                while len(batch) < MAX_BATCH:
                    job = self._jobs.get_nowait()
                    if job is None:
                        last = True
                        break
                    batch.append(job)
            self._commit(batch)
            _tell(batch)
            if last:
                return
            self._tend_file()

    def _commit(self, batch: Sequence[_Job]) -> None:
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(db, job, alone=len(batch) == 1)
            db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            for job in batch:
                job.error = job.error or self._failure(error)

    def _run(self, db: sqlite3.Connection, job: _Job, *, alone: bool) -> None:
        """One write. A mistake in it undoes it, and not its neighbours."""
        if alone:
            job.result = job.operation(db)
            return
        db.execute("SAVEPOINT job")
        try:
            job.result = job.operation(db)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            job.error = self._failure(error)
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error):
            status = 507 if _is_full(error) else 503
            failure = StoreError(f"{self.path}: {_words(error)}", status=status)
            failure.__cause__ = error
            return failure
        return error

    def _tend_file(self) -> None:
        """Give room back, and have the log copied into the file when it has grown."""
        if self._room_to_give_back:
            self._room_to_give_back = False
            with contextlib.suppress(sqlite3.Error):
                # `execute` would give one page back and stop.
                self._writer.executescript(f"PRAGMA incremental_vacuum({_GIVE_BACK_PAGES})")
        try:
            size = self._log.stat().st_size
        except OSError:
            return
        if size < self._copied:
            self._copied = 0
        if self._finish_copy and self._checkpointing.acquire(blocking=False):
            self._finish_copy = False
            try:
                if self._copied:
                    # Little is left, and nothing is written meanwhile: so the log can begin anew,
                    # which it never could if each copy met another write.
                    _copy_log(self._writer)
            finally:
                self._checkpointing.release()
        if size >= _LARGEST_LOG:
            # A copy that is under way would make this one give up.
            with self._checkpointing, contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(RESTART)")
        elif size - self._copied >= _CHECKPOINT_BYTES and self._checkpointing.acquire(
            blocking=False
        ):
            self._copied = size
            try:
                self._keeper.submit(self._checkpoint)
            except RuntimeError:
                self._checkpointing.release()

    def _checkpoint(self) -> None:
        try:
            _copy_log(self._connection())
            self._finish_copy = True
        finally:
            self._checkpointing.release()

    # Reading, in a reader's thread

    def _read(self, query: Operation[Result]) -> Result:
        try:
            return query(self._connection())
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's own."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self._connect()
            self._connections.append(found)
        return found

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=200,
        )
        try:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute(f"PRAGMA synchronous = {self._sync.upper()}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            # A log that begins anew shrinks. Else its size would say for ever that it is to be
            # copied, and every write would copy it and sync the file. Half of it is written over,
            # which costs less than to grow.
            db.execute(f"PRAGMA journal_size_limit = {_CHECKPOINT_BYTES // 2}")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            # What was deleted is overwritten, and not only taken out of the index.
            db.execute("PRAGMA secure_delete = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        self._thread.join()
        self._readers.shutdown()
        self._keeper.shutdown()
        for connection in self._connections:
            connection.close()
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA optimize")
        self._writer.close()


def _tell(batch: Sequence[_Job]) -> None:
    """Wake those who wait, with one call for each of their event loops."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in batch:
        by_loop[job.loop].append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _check_keys(db: sqlite3.Connection, cipher: RowCipher) -> None:
    with transaction(db):
        row = db.execute("SELECT value FROM facts WHERE name = 'witness'").fetchone()
        witness = cipher.witness(None if row is None else row[0])
        if row is None and witness is not None:
            db.execute("INSERT INTO facts VALUES ('witness', ?)", (witness,))


def _create(path: Path) -> None:
    """Make the file if there is none, so that it is never open to others."""
    path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE))


def _tighten(path: Path) -> None:
    """Shut others out of a file that was there before, and of what SQLite put beside it."""
    if os.name != "posix":
        return
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(OSError):
            if file.stat().st_mode & 0o077:
                file.chmod(_MODE)


def _use_log(db: sqlite3.Connection) -> None:
    end = time.monotonic() + BUSY_SECONDS
    # Only an empty file takes this; it lets `expire` give room back.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            # Another process switches it just now; SQLite does not wait here as it does elsewhere.
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StoreError("its file system cannot hold a write-ahead log")
        return


def _copy_log(db: sqlite3.Connection) -> None:
    """Copy what no reader holds back, and wait for nobody."""
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _is_full(error: sqlite3.Error) -> bool:
    return "disk is full" in str(error)


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
