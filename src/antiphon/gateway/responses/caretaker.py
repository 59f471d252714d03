"""Responses whose maker is gone: found at the start and from then on, and marked as failed.

A process that works on responses says now and then that it lives. What another one left is found by
whoever shares its store; what this one left when it was killed, by its successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from typing import Final

from antiphon.errors import StoreError
from antiphon.gateway.responses.kept import end_for_another
from antiphon.gateway.responses.live import Running
from antiphon.store.protocol import StateStore
from antiphon.store.records import Record, RecordStore

__all__ = [
    "BEAT_SECONDS",
    "LOOK_SECONDS",
    "SILENT_SECONDS",
    "Caretaker",
    "ask_to_cancel",
    "owner_name",
]

LOOK_SECONDS: Final = 1.0
"""How often a background response is looked at that another process may have cancelled."""
BEAT_SECONDS: Final = 10.0
"""How often a process says that it lives, and looks for those that do not."""
SILENT_SECONDS: Final = 45.0
"""A process that said nothing for so long is gone."""

LOST: Final = {
    "code": "server_error",
    "message": "The server ended while it worked on this response. Please ask again.",
}

_SPACE: Final = "alive"
_CANCEL: Final = "cancel"
_log = logging.getLogger(__name__)


def owner_name() -> str:
    """A name for this process: its machine, its number, and something that no other one has."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


async def ask_to_cancel(state: StateStore, tenant: str, id: str) -> None:
    """Have a response ended by the process that makes it. Raises StoreError."""
    await state.put(_CANCEL, f"{tenant}\0{id}", b"1", ttl=SILENT_SECONDS)


class Caretaker:
    """One process's part in it. `start` before the first request, `aclose` after the last."""

    def __init__(
        self, records: RecordStore, state: StateStore, running: Running, owner: str
    ) -> None:
        self._records = records
        self._state = state
        self._running = running
        self._owner = owner
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Say that this process lives and mark what dead ones left. Raises StoreError."""
        await self._beat()
        await self.sweep()
        self._task = asyncio.get_running_loop().create_task(self._tend())

    async def aclose(self) -> None:
        """No more work is done here."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self._state.delete(_SPACE, self._owner)

    async def sweep(self) -> int:
        """Mark responses as failed that nobody works on any more; how many."""
        marked = 0
        for tenant, record in await self._records.unfinished(None):
            if not await self._is_lost(tenant, record):
                continue
            if await end_for_another(self._records, tenant, record, "failed", LOST):
                marked += 1
        if marked:
            _log.warning("%d responses were left unfinished and are marked as failed", marked)
        return marked

    async def _is_lost(self, tenant: str, record: Record) -> bool:
        owner = record.owner
        if owner == self._owner:
            return self._running.find(tenant, record.id) is None
        host, _, rest = owner.partition("/")
        if host == socket.gethostname() and not _is_process(rest.partition("/")[0]):
            return True
        return await self._state.get(_SPACE, owner) is None

    async def _beat(self) -> None:
        await self._state.put(_SPACE, self._owner, b"1", ttl=SILENT_SECONDS)

    async def _tend(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            rounds += 1
            try:
                await self._look()
                if rounds * LOOK_SECONDS >= BEAT_SECONDS:
                    rounds = 0
                    await self._beat()
                    await self.sweep()
            except StoreError as error:
                _log.warning("the store cannot be used: %s", error)

    async def _look(self) -> None:
        """End what others were asked to cancel, or deleted."""
        for live in self._running.in_background():
            gone = await self._records.get(live.tenant, "response", live.id) is None
            key = f"{live.tenant}\0{live.id}"
            if gone or await self._state.get(_CANCEL, key) is not None:
                live.cancel()


def _is_process(number: str) -> bool:
    """Whether a process of this machine may be the one: not if it is our own number."""
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
