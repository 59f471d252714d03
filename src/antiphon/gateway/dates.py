"""The date in a conversation's prompt stays the date of its first request.

The system message tells the date, and it comes first: at midnight every cached prefix would be
lost, in the middle of a conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from antiphon.store.protocol import StateStore

__all__ = ["DATE_SECONDS", "ConversationDates"]

DATE_SECONDS: Final = 48 * 3600.0
"""A conversation that was silent for so long gets a new date."""
_SPACE: Final = "date"


class ConversationDates:
    """``today`` is the server's clock: ``2026-11-21``."""

    def __init__(self, store: StateStore, today: Callable[[], str]) -> None:
        self._store = store
        self._today = today

    async def of(self, tenant: str, conversation: str, *, continues: bool) -> str:
        """The date for a request. One that continues no conversation begins one, today."""
        key = f"{tenant}\0{conversation}"
        known = await self._store.get(_SPACE, key) if continues and conversation else None
        date = known.decode("ascii") if known is not None else self._today()
        if conversation:
            await self._store.put(_SPACE, key, date.encode("ascii"), ttl=DATE_SECONDS)
        return date
