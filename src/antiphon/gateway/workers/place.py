"""Which of several workers a process is, and its share of what the settings allow in all."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

from antiphon.errors import SettingsError
from antiphon.settings.model import Settings

__all__ = ["Place", "check_workers", "share"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One worker among several."""

    number: int
    """From 0; the one that takes a dead worker's place has its number."""
    of: int
    """How many there are."""
    folder: Path
    """What the workers of one server share while it runs."""

    def portion(self, limit: int) -> int:
        """This worker's part of a limit for all, rounded up; 0 stays 0, which is no limit."""
        return -(-limit // self.of)


def share(settings: Settings, place: Place) -> Settings:
    """The settings with this worker's part of what is bounded for the server as a whole."""
    limits, responses = settings.limits, settings.responses
    return replace(
        settings,
        limits=replace(
            limits,
            concurrent=place.portion(limits.concurrent),
            queued=place.portion(limits.queued),
            per_key_concurrent=place.portion(limits.per_key_concurrent),
        ),
        responses=replace(
            responses,
            background=place.portion(responses.background),
            sockets=place.portion(responses.sockets),
        ),
        engines=tuple(
            replace(engine, concurrent=place.portion(engine.concurrent))
            for engine in settings.engines
        ),
    )


def check_workers(settings: Settings, platform: str) -> None:
    """Raises SettingsError for what several workers cannot do."""
    workers = settings.server.workers
    if workers == 1:
        return
    if platform == "win32":
        raise SettingsError(f"server.workers: Windows can only have 1, got {workers}")
    if settings.store.url == "memory":
        raise SettingsError(
            f"server.workers: {workers} workers share nothing with store.url = 'memory'; choose"
            " sqlite or postgresql://…, or one worker"
        )
