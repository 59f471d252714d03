"""Browsers of responses that may be gone on from: as long as the turn is open, cursors hold."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from antiphon.tools.browser.session import BrowserSession

__all__ = ["Sessions"]

MAX_SESSIONS: Final = 256
MAX_BYTES: Final = 256 * 1024 * 1024
"""Of the pages of all of them."""
SECONDS: Final = 3600.0


class Sessions:
    """By tenant and response; those that were not used for longest go first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, int, BrowserSession]] = OrderedDict()
        self._bytes = 0

    def put(self, tenant: str, origin: str, session: BrowserSession) -> None:
        """Keep it for the next response."""
        self._drop((tenant, origin))
        until, size = self._clock() + SECONDS, session.size
        self._kept[tenant, origin] = (until, size, session)
        self._bytes += size
        while len(self._kept) > MAX_SESSIONS or self._bytes > MAX_BYTES or self._expired():
            self._drop(next(iter(self._kept)))

    def find(self, tenant: str, origin: str) -> BrowserSession | None:
        """The one of a response. Responses that branch off it share it one after the other."""
        until, _, session = self._kept.get((tenant, origin), (0.0, 0, None))
        return session if until >= self._clock() else None

    def _expired(self) -> bool:
        return bool(self._kept) and next(iter(self._kept.values()))[0] < self._clock()

    def _drop(self, key: tuple[str, str]) -> None:
        known = self._kept.pop(key, None)
        if known is not None:
            self._bytes -= known[1]
