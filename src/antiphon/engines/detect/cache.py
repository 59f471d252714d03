"""Remembers what trials showed, so that an engine is not made to generate at every look at it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from antiphon.engines.detect.trial import Tried

__all__ = ["ProbeCache"]

CACHE_SECONDS: Final = 3600.0
"""How long a trial's result holds."""
CACHE_ENTRIES: Final = 1024


class ProbeCache:
    """Trials by URL and model. An entry holds for one ``stamp``: what the engine said of itself and
    of the model when it was tried. A new version or another file is tried anew.
    """

    def __init__(
        self,
        *,
        seconds: float = CACHE_SECONDS,
        entries: int = CACHE_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._limit = entries
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], tuple[str, float, Tried]] = OrderedDict()

    def get(self, url: str, model: str, stamp: str) -> Tried | None:
        """What was found, if it still holds."""
        held = self._held.get((url, model))
        if held is None or held[0] != stamp or self._clock() >= held[1]:
            return None
        self._held.move_to_end((url, model))
        return held[2]

    def get_old(self, url: str, model: str, stamp: str) -> Tried | None:
        """What was found of this version, however long ago: better than nothing when the engine is
        too busy for a trial.
        """
        held = self._held.get((url, model))
        return held[2] if held is not None and held[0] == stamp else None

    def put(self, url: str, model: str, stamp: str, tried: Tried) -> None:
        self._held[url, model] = (stamp, self._clock() + self._seconds, tried)
        self._held.move_to_end((url, model))
        while len(self._held) > self._limit:
            self._held.popitem(last=False)

    def forget(self, url: str) -> None:
        """Drop what is known of an engine."""
        for key in [key for key in self._held if key[0] == url]:
            del self._held[key]

    def __len__(self) -> int:
        return len(self._held)
