"""Settings and keys as they are now: read again at SIGHUP, and keys whenever their file changes.

What cannot be read leaves everything as it was. Where the server listens and where its files are is
decided at start; the rest holds from the next request on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from antiphon.errors import AntiphonError, SettingsError
from antiphon.gateway.keyfile import KeyFile
from antiphon.gateway.keys import KeyRing
from antiphon.settings.model import Settings

__all__ = ["AT_START", "CHECK_SECONDS", "Outcome", "Reloadable"]

CHECK_SECONDS: Final = 1.0
"""How often the key file is looked at, at most."""
AT_START: Final = (
    "server.host",
    "server.port",
    "server.workers",
    "keys.file",
    "log.trace",
    "store.url",
    "store.ttl",
    "store.bytes",
    "store.sync",
    "store.key_file",
    "store.seal_file",
    "seal.enabled",
    "seal.required",
    "seal.keys_file",
)
"""Settings that only a restart changes."""

Outcome = Literal["ok", "failed"]


class Reloadable:
    """The settings and keys of now. Take ``settings`` once per request.

    ``read`` makes the settings anew, as at the start; None: they never change. Raises
    SettingsError if the keys cannot be read at the start.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        key_file: KeyFile | None = None,
        read: Callable[[], Settings] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._read = read
        self._reports: list[Callable[[Outcome, str], None]] = []
        self._clock = clock
        self._reloading = asyncio.Lock()
        self._key_file = key_file
        self._listeners: list[Callable[[Settings], None]] = []
        self._stamp = None if key_file is None else key_file.stamp()
        self._ring = KeyRing() if key_file is None else key_file.load()
        self._checked = clock()
        self.keys_required = bool(self._ring)
        """Whether there were keys at any time since the start. Taking the last one away must not
        open the server to everyone; a restart does."""

    @property
    def keys(self) -> KeyRing:
        """The keys, as the file has them now or had a second ago; a damaged file changes none."""
        if self._key_file is not None and self._clock() - self._checked >= CHECK_SECONDS:
            self._checked = self._clock()
            self._refresh_keys(self._key_file)
        return self._ring

    def on_change(self, listener: Callable[[Settings], None]) -> None:
        """Call ``listener`` with the new settings after each reload."""
        self._listeners.append(listener)

    def on_report(self, report: Callable[[Outcome, str], None]) -> None:
        """Tell ``report`` what became of each reload, for the log."""
        self._reports.append(report)

    async def reload(self, apply: Callable[[Settings], Awaitable[None]]) -> bool:
        """Read settings and keys again. False, and everything as before, if one is wrong.

        ``apply`` is given the new settings before they hold; it may refuse them with an
        AntiphonError.
        """
        async with self._reloading:
            return await self._reload(apply)

    async def _reload(self, apply: Callable[[Settings], Awaitable[None]]) -> bool:
        try:
            fresh = self.settings if self._read is None else self._read()
            stamp = ring = None
            if self._key_file is not None:
                stamp, ring = self._key_file.stamp(), self._key_file.load()
            kept, later = _as_before(fresh, self.settings)
            await apply(kept)
        except AntiphonError as error:
            self._report("failed", f"nothing was changed: {error}")
            return False
        self.settings = kept
        if ring is not None:
            self._set_keys(stamp, ring)
        for listener in self._listeners:
            listener(kept)
        text = "settings and keys were read again"
        if later:
            text += f"; only a restart changes {', '.join(later)}"
        self._report("ok", text)
        return True

    def _report(self, outcome: Outcome, text: str) -> None:
        for report in self._reports:
            report(outcome, text)

    def _refresh_keys(self, key_file: KeyFile) -> None:
        stamp = self._stamp
        try:
            stamp = key_file.stamp()
            if stamp == self._stamp:
                return
            ring = key_file.load()
        except SettingsError as error:
            if stamp != self._stamp:
                self._report("failed", f"the keys are as they were: {error}")
            self._stamp = stamp
            return
        self._set_keys(stamp, ring)
        self._report("ok", f"the keys were read again: {len(ring.keys)}")

    def _set_keys(self, stamp: tuple[int, ...] | None, ring: KeyRing) -> None:
        self._stamp, self._ring = stamp, ring
        self.keys_required = self.keys_required or bool(ring)


def _as_before(fresh: Settings, now: Settings) -> tuple[Settings, list[str]]:
    """``fresh`` with what only a restart changes as it is now, and the names of that."""
    names: list[str] = []
    for path in AT_START:
        table, _, name = path.partition(".")
        old, new = getattr(now, table), getattr(fresh, table)
        if getattr(old, name) != getattr(new, name):
            names.append(path)
            kept = msgspec.structs.replace(new, **{name: getattr(old, name)})
            fresh = msgspec.structs.replace(fresh, **{table: kept})
    return fresh, names
