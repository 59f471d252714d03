"""Interpreters that outlive a response: per tenant and id, few at a time, ended when idle.

A container is held while a response uses it; others may be ended to make room, the one that was not
used for longest first. Who finds all of them held waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from antiphon.settings.tools import PythonSettings
from antiphon.store.protocol import StateStore
from antiphon.tools.protocol import ToolFile
from antiphon.tools.python.chosen import interpreter
from antiphon.tools.python.tool import PythonTool

__all__ = ["Container", "Containers", "KeptFile", "find_file"]

SPACE: Final = "container_files"
"""The state store's space for files that code made."""
MAX_FILES: Final = 200
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""So many files, and so many bytes of them together, are kept of one container."""
MAX_NAME_CHARS: Final = 255


class KeptFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that code made, as it is kept."""

    name: str
    """Its path below /mnt/data."""
    media_type: str
    data: bytes
    created: int
    """Seconds since the epoch."""


class Container:
    """One interpreter and what is known of it."""

    def __init__(self, tenant: str, id: str, tool: PythonTool) -> None:
        self.tenant: Final = tenant
        self.id: Final = id
        self.tool: Final = tool
        self.holders = 0
        self.used = 0.0
        self.files = 0
        self.bytes = 0


class Containers:
    """All of this server's. ``clock`` is monotonic, ``now`` are seconds since the epoch."""

    def __init__(
        self,
        settings: PythonSettings,
        store: StateStore,
        *,
        clock: Callable[[], float],
        now: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._now = now
        self._settings = settings
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._open: dict[tuple[str, str], Container] = {}
        self._freed = asyncio.Condition()
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.notes = ""
        """What is special of python here, for the model."""

    async def check(self) -> str | None:
        """Why no interpreter starts here; None: one does."""
        made = interpreter(self._settings)
        try:
            reason = await made.check()
            self.notes = made.notes
            return reason
        finally:
            await made.aclose()

    def new_name(self) -> str:
        """An id for a container to be."""
        return f"cntr_{self._new_id()}"

    def find(self, tenant: str, id: str) -> Container | None:
        """A container that is there."""
        return self._open.get((tenant, id))

    async def hold(self, tenant: str, id: str) -> tuple[Container, bool]:
        """The container, made if it is not there, and whether it was made. It stays until
        `release`; waits for room.
        """
        async with self._freed:
            while True:
                known = self._open.get((tenant, id))
                if known is not None:
                    known.holders += 1
                    return known, False
                if len(self._open) < self._settings.sessions or await self._make_room():
                    break
                await self._freed.wait()
            made = Container(tenant, id, PythonTool(interpreter(self._settings)))
            made.holders = 1
            made.used = self._clock()
            self._open[tenant, id] = made
            return made, True

    async def release(self, container: Container) -> None:
        """The response is over. The container stays for a while."""
        async with self._freed:
            container.holders -= 1
            container.used = self._clock()
            self._freed.notify_all()
        self._schedule()

    async def keep(self, container: Container, file: ToolFile) -> str | None:
        """Keep a file that code made: its id; None if it is one too many."""
        size = len(file.data)
        if container.files >= MAX_FILES or container.bytes + size > MAX_FILE_BYTES:
            return None
        container.files += 1
        container.bytes += size
        id_ = f"cfile_{self._new_id()}"
        kept = KeptFile(file.name[-MAX_NAME_CHARS:], file.media_type, file.data, self._now())
        await self._store.put(
            SPACE,
            _key(container.tenant, container.id, id_),
            msgspec.msgpack.encode(kept),
            ttl=self._settings.idle_seconds,
        )
        return id_

    async def aclose(self) -> None:
        """End all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        open_, self._open = list(self._open.values()), {}
        for container in open_:
            await container.tool.aclose()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # Inside.

    async def _make_room(self) -> bool:
        """End the container that nobody holds and that was not used for longest."""
        idle = [container for container in self._open.values() if not container.holders]
        if not idle:
            return False
        oldest = min(idle, key=lambda container: container.used)
        del self._open[oldest.tenant, oldest.id]
        await oldest.tool.aclose()
        return True

    def _schedule(self) -> None:
        """Look again when the next one has been idle for long enough."""
        idle = [c.used for c in self._open.values() if not c.holders]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if idle:
            wait = max(0.0, min(idle) + self._settings.idle_seconds - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire)

    def _expire(self) -> None:
        self._timer = None
        until = self._clock() - self._settings.idle_seconds
        for container in list(self._open.values()):
            if not container.holders and container.used <= until:
                del self._open[container.tenant, container.id]
                task = asyncio.ensure_future(container.tool.aclose())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        self._schedule()


async def find_file(store: StateStore, tenant: str, container: str, file: str) -> KeptFile | None:
    """A file that code of this tenant made, as long as it is kept. Raises StoreError."""
    data = await store.get(SPACE, _key(tenant, container, file))
    return None if data is None else msgspec.msgpack.decode(data, type=KeptFile)


def _key(tenant: str, container: str, file: str) -> str:
    return f"{tenant}:{container}:{file}"
