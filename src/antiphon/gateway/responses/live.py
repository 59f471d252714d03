"""Responses that are being made here: their events until they are stored, and who follows them.

Events are written to the store beside the stream, in batches. A follower takes what is stored from
the store and the rest from here, so that it makes no difference where it comes in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from antiphon.errors import StoreError
from antiphon.store.records import RecordStore

__all__ = ["FLUSH_SECONDS", "MAX_PENDING_BYTES", "Live", "Running"]

FLUSH_SECONDS: Final = 0.1
"""Events wait so long for others to be written with."""
RETRY_SECONDS: Final = 1.0
"""After a write that failed."""
MAX_PENDING_BYTES: Final = 8 * 1024 * 1024
"""Where the store is so far behind, the model waits for it."""

_log = logging.getLogger(__name__)


class Live:
    """One response's events. Belongs to the event loop it is made in."""

    def __init__(self, records: RecordStore, tenant: str, id: str) -> None:
        self.tenant: Final = tenant
        self.id: Final = id
        self.task: asyncio.Task[Any] | None = None
        """What makes a background response."""
        self.cancelled = False
        """Whether a client asked for its end."""
        self.ended = False
        """Whether its record says how it ended."""
        self._records = records
        self._pending: list[bytes] = []
        self._bytes = 0
        self._first = 0
        self._timer: asyncio.TimerHandle | None = None
        self._write: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def next(self) -> int:
        """The sequence number that comes next."""
        return self._first + len(self._pending)

    def add(self, events: Sequence[bytes]) -> None:
        """Keep events and tell whoever follows. Never waits."""
        if not events:
            return
        self._pending += events
        self._bytes += sum(map(len, events))
        self._wake()
        if self._timer is None and self._write is None:
            self._schedule(FLUSH_SECONDS)

    async def relieve(self) -> None:
        """Wait for the store if it is far behind. Raises StoreError if it cannot be used."""
        if self._bytes > MAX_PENDING_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write everything. Raises StoreError."""
        async with self._lock:
            while self._pending:
                batch = list(self._pending)
                await self._records.add_events(self.tenant, self.id, self._first, batch)
                del self._pending[: len(batch)]
                self._first += len(batch)
                self._bytes -= sum(map(len, batch))

    def cancel(self) -> None:
        """End a background response because a client wants it."""
        if self.task is not None and not self.ended:
            self.cancelled = True
            self.task.cancel()

    async def end(self) -> None:
        """Nothing more comes: followers find the rest in the store."""
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._write is not None:
            self._write.cancel()
            await asyncio.gather(self._write, return_exceptions=True)
        self._wake()

    async def after(self, number: int, limit: int) -> Sequence[bytes]:
        """Events behind a sequence number, as far as there are any."""
        if number + 1 < self._first:
            return await self._records.events(self.tenant, self.id, after=number, limit=limit)
        start = number + 1 - self._first
        return self._pending[start : start + limit]

    async def wait(self, number: int) -> None:
        """Until there is something behind ``number``, or the end."""
        while not self.ended and self.next <= number + 1:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _schedule(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._write = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        delay = FLUSH_SECONDS
        try:
            await self.flush()
        except StoreError as error:
            _log.warning("events of %s cannot be stored yet: %s", self.id, error)
            delay = RETRY_SECONDS
        finally:
            self._write = None
        if self._pending and not self.ended:
            self._schedule(delay)


class Running:
    """All responses that are being made in this process and may be asked for."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str], Live] = {}

    def add(self, live: Live) -> None:
        self._live[live.tenant, live.id] = live

    def discard(self, live: Live) -> None:
        self._live.pop((live.tenant, live.id), None)

    def find(self, tenant: str, id: str) -> Live | None:
        return self._live.get((tenant, id))

    def background(self, tenant: str | None = None) -> int:
        """How many run in the background: a tenant's, or all."""
        return sum(1 for live in self.in_background() if tenant in (None, live.tenant))

    def in_background(self) -> list[Live]:
        """Those that run in the background now."""
        return [live for live in self._live.values() if live.task is not None]

    async def finish(self) -> None:
        """Wait for what runs in the background. It has been told to end."""
        tasks = [live.task for live in self._live.values() if live.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
