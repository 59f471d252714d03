"""Models of which only one may be loaded: whose turn it is, and who waits in line for it.

The next one is loaded when the one that is loaded has no more requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["Group"]


class _Member(Protocol):
    """What may have a group's place."""

    busy: int

    def release(self) -> None: ...
    async def unload(self) -> None: ...


class _Stranger:
    """Stands in line for a process that we share the place with, and has it for a moment."""

    busy = 0

    def release(self) -> None:
        self.busy -= 1

    async def unload(self) -> None:
        """There is nothing of it here."""


class Group:
    """Which of several exclusive units may be loaded, and who is next."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.current: _Member | None = None
        self._line: deque[tuple[_Member, asyncio.Future[None]]] = deque()
        self._moving: asyncio.Task[None] | None = None

    def waiting(self, unit: _Member) -> int:
        """How many requests wait for this unit's turn."""
        return sum(waiter is unit for waiter, _ in self._line)

    async def admit(self, unit: _Member) -> None:
        """Return when ``unit`` may be loaded, counting one more request of it as busy.

        Nobody overtakes: requests of the unit that is loaded wait as well while others do.
        """
        if self.current in (None, unit) and not self._line:
            self.current = unit
            unit.busy += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (unit, place)
        self._line.append(entry)
        self.move()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                unit.release()
            else:
                self._line.remove(entry)
                self.move()
            raise

    async def give_way(self, unit: _Member) -> None:
        """Unload ``unit`` when what runs on it, and what waits for it before us, is over."""
        if self.current is not unit:
            return
        stranger = _Stranger()
        await self.admit(stranger)
        stranger.release()
        self.current = None
        self.move()

    def move(self) -> None:
        """Let the next in line go on, if the unit that is loaded has nothing to do."""
        if self._line and (self._moving is None or self._moving.done()):
            current = self.current
            if current is None or current.busy == 0 or current is self._line[0][0]:
                self._moving = asyncio.create_task(self._swap(), name=f"swap {self.name}")

    async def _swap(self) -> None:
        while self._line:
            unit = self._line[0][0]
            current = self.current
            if current is not None and current is not unit:
                if current.busy:
                    return
                await current.unload()
                continue
            self.current = unit
            while self._line and self._line[0][0] is unit:
                _, place = self._line.popleft()
                if not place.done():
                    unit.busy += 1
                    place.set_result(None)
            if unit.busy:
                return
