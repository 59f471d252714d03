"""The sealing keys of now, and what the settings say of sealed requests.

Keys are taken over from their file within a second after it changed. A request that is under way
keeps the keys it began with. A file that cannot be read changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from antiphon.errors import SettingsError
from antiphon.gateway.sealed.keyfile import SealKeyFile
from antiphon.seal import Keyring, Padding, ReplayWindow
from antiphon.settings.model import SealSettings, Settings

__all__ = ["CHECK_SECONDS", "MAX_REMEMBERED", "SealedTransport", "padding_of"]

CHECK_SECONDS: Final = 1.0
"""How often the file of keys is looked at, at most."""

MAX_REMEMBERED: Final = 1_000_000
"""Requests that one process lets be remembered against copies in the time of the window."""

_log = logging.getLogger(__name__)


def padding_of(settings: Settings) -> Padding:
    """What ``seal.padding`` says. Raises SettingsError."""
    try:
        return Padding.parse(settings.seal.padding)
    except ValueError as error:
        shown = settings.seal.padding[:80]
        raise SettingsError(f"seal.padding: {error}, not {shown!r}") from None


class SealedTransport:
    """One gateway's keys and policies. Makes the first key if there is none.

    Raises SettingsError if the keys cannot be used or made, or the settings are wrong.
    """

    def __init__(
        self,
        settings: Settings,
        file: SealKeyFile,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file: Final = file
        self.now: Final = now
        self._clock = clock
        self.configure(settings)
        file.ensure(self.settings, now())
        self._stamp = file.stamp()
        self._ring = Keyring(file.load())
        self._checked = clock()
        self._room, self._since = float(MAX_REMEMBERED), clock()
        self.pending = 0
        """Bytes of requests that are being read."""

    def configure(self, settings: Settings) -> None:
        """Take new settings over. Raises SettingsError, and then leaves everything as it was."""
        seal, padding = settings.seal, padding_of(settings)
        self.settings: SealSettings = seal
        self.body_bytes = settings.server.body_bytes
        """Of the content inside."""
        self.body_seconds = settings.server.body_seconds
        self.padding = padding
        self.window = ReplayWindow(
            age=seal.replay_seconds, skew=seal.skew_seconds, require_date=seal.require_date
        )

    def remember_one(self) -> bool:
        """Whether one more request may be remembered; what is remembered is bounded by this."""
        now = self._clock()
        refilled = (now - self._since) * MAX_REMEMBERED / self.window.remember
        self._room = min(float(MAX_REMEMBERED), self._room + refilled)
        self._since = now
        if self._room < 1:
            return False
        self._room -= 1
        return True

    @property
    def ring(self) -> Keyring:
        """The keys, as the file has them now or had a second ago."""
        if self._clock() - self._checked >= CHECK_SECONDS:
            self.look()
        return self._ring

    def look(self) -> None:
        """Take over what the file has now."""
        self._checked = self._clock()
        stamp = self._stamp
        try:
            stamp = self.file.stamp()
            if stamp == self._stamp:
                return
            keys = self.file.load()
            if not keys:
                raise SettingsError(f"{self.file.path}: there are no keys")
        except SettingsError as error:
            if stamp != self._stamp:
                _log.error("the sealing keys are as they were: %s", error)
            self._stamp = stamp
            return
        self._stamp, self._ring = stamp, Keyring(keys)
        _log.info("the sealing keys were read again: %d", len(keys))
