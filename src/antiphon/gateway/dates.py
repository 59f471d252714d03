"""The date in a conversation's prompt stays the date of its first request.

The system message tells the date, and it comes first: at midnight every cached prefix would be
lost, in the middle of a conversation.
"""

from __future__ import annotations

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
_SPACE: Final = "date"


class ConversationDates:
    """``today`` is the server's date: ``2026-11-21``; ``clock`` is monotonic, in seconds."""

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
            await self._store.put(_SPACE, key, date.encode("ascii"), ttl=DATE_SECONDS)
            self._known[key] = (date, now)
            self._known.move_to_end(key)
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return date
