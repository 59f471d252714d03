"""The date in a conversation's prompt stays the date of its first request.

The system message tells the date, and it comes first: at midnight every cached prefix would be
lost, in the middle of a conversation. A request waits while its date is read, where that must be
asked for, but not while it is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from antiphon.store.protocol import StateStore

__all__ = ["DATE_SECONDS", "ConversationDates"]

DATE_SECONDS: Final = 48 * 3600.0
"""A conversation that was silent for so long gets a new date."""
REFRESH_SECONDS: Final = 3600.0
"""A date that was looked up is known here for so long, and the store need not be asked."""
KNOWN: Final = 4096
"""Conversations whose dates are known here."""
MOST_WRITES: Final = 1_000
"""Dates that are being kept at a time and no request waits; beyond, each waits for its own."""
CLOSE_SECONDS: Final = 5.0
"""How long the end waits for dates that are being kept."""
_SPACE: Final = "date"

_log = logging.getLogger(__name__)


class ConversationDates:
    """``today`` is the server's date: ``2026-11-21``; ``clock`` is monotonic, in seconds. ``store``
    is one that may fail without harm (`antiphon.store.forgiving`).
    """

    def __init__(
        self,
        store: StateStore,
        today: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._today = today
        self._clock = clock
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._writes: set[asyncio.Future[None]] = set()

    async def of(self, tenant: str, conversation: str, *, continues: bool) -> str:
        """The date for a request. One that continues no conversation begins one, today."""
        key = f"{tenant}\0{conversation}"
        now = self._clock()
        if continues and conversation:
            known = self._known.get(key)
            if known is not None and now - known[1] < REFRESH_SECONDS:
                self._known.move_to_end(key)
                return known[0]
            kept = await self._store.get(_SPACE, key)
            date = kept.decode("ascii") if kept is not None else self._today()
        else:
            date = self._today()
        if conversation:
            self._known[key] = (date, now)
            self._known.move_to_end(key)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
            await self._keep(key, date)
        return date

    async def aclose(self) -> None:
        """Wait until every date is kept, but not for ever. Raises nothing."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=CLOSE_SECONDS)

    async def _keep(self, key: str, date: str) -> None:
        put = self._store.put(_SPACE, key, date.encode("ascii"), ttl=DATE_SECONDS)
        if len(self._writes) >= MOST_WRITES:
            await put
            return
        write = asyncio.ensure_future(put)
        self._writes.add(write)
        write.add_done_callback(self._kept)

    def _kept(self, write: asyncio.Future[None]) -> None:
        self._writes.discard(write)
        if not write.cancelled() and (error := write.exception()) is not None:
            _log.error("a conversation's date cannot be kept", exc_info=error)
