"""Which key to seal for: pins, trust on first use, and what happens when a gateway rotates.

A **pin** names one configuration and never moves. Who wants to get over a rotation without a gap
pins the next key beside the one in use. A refused pin ends in an error, whatever the network says.

**Trust on first use** remembers the first key. From then on only the holder of a trusted key can
name another: the client asks for the list of keys again and again, sealed for the key it trusts,
and takes what the answer puts first. A list in the clear is never believed again; a gateway that no
longer knows the remembered key is a change, and a change is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from antiphon.seal.errors import OuterError, PinError, SealError
from antiphon.seal.keyconfig import KeyConfig, Pin
from antiphon.seal.media import KEY_PROBLEM
from antiphon.sealed.known import KnownGateways
from antiphon.sealed.steps import Steps, fetch_keys, fetch_keys_sealed
from antiphon.sealed.target import Target

__all__ = ["FOLLOW_SECONDS", "FirstUse", "Pinned", "Trust"]

FOLLOW_SECONDS: Final = 3600
"""How often a gateway that was trusted on first use is asked for its next key. A rotation has to
leave the old key in use for longer than its clients may be away.
"""


class Trust(Protocol):
    """Decides which key is used."""

    config: KeyConfig | None
    """The one in use; None before the first request."""

    def current(self) -> Steps[KeyConfig]:
        """The key to seal for. Raises SealError, PinError if there is none to be trusted."""
        ...

    def unknown(self, config: KeyConfig) -> Steps[KeyConfig]:
        """Another key, after the gateway said that it does not know this one. Raises PinError."""
        ...


class Pinned:
    """Only what was pinned."""

    def __init__(self, target: Target, pins: tuple[Pin, ...], via: str | None) -> None:
        """``via``: the relay, which is then also asked for the list: the gateway is not to see who
        asks, and with a pin it does not matter who answers.
        """
        self._target = target
        self._pins = pins
        self._source = via or target.resource
        self._refused: set[str] = set()
        self.config: KeyConfig | None = None

    def current(self) -> Steps[KeyConfig]:
        if self.config is None:
            self.config = yield from self._choose()
        return self.config

    def unknown(self, config: KeyConfig) -> Steps[KeyConfig]:
        self._refused.add(config.fingerprint)
        self.config = yield from self._choose()
        return self.config

    def _choose(self) -> Steps[KeyConfig]:
        usable = [pin for pin in self._pins if pin.fingerprint not in self._refused]
        if not usable:
            raise PinError(
                f"{self._target.url} no longer knows the pinned key "
                f"{_listed(pin.fingerprint for pin in self._pins)}. {PinError.advice}"
            )
        if all(pin.config is not None for pin in usable):
            assert usable[0].config is not None
            return usable[0].config
        offered = yield from fetch_keys(self._source)
        for config in offered:
            if any(pin.fingerprint == config.fingerprint for pin in usable):
                return config
        raise PinError(
            f"{self._target.url} offers the key {_listed(c.fingerprint for c in offered)}, "
            f"not the pinned {_listed(pin.fingerprint for pin in usable)}: someone may be in "
            f"between. {PinError.advice}"
        )


class FirstUse:
    """What the gateway had when it was seen for the first time, and what that key vouched for."""

    def __init__(self, target: Target, known: KnownGateways, now: Callable[[], float]) -> None:
        self._target = target
        self._known = known
        self._now = now
        self._checked = 0.0
        self.config: KeyConfig | None = None

    def current(self) -> Steps[KeyConfig]:
        now = self._now()
        if self.config is None:
            known = self._known.get(self._target.url)
            if known is None:
                offered = yield from fetch_keys(self._target.resource)
                known = self._known.add(self._target.url, offered[0], int(now))
            self.config, self._checked = known.config, known.checked
        if not 0 <= now - self._checked < FOLLOW_SECONDS:
            self.config = yield from self._follow(self.config, now)
        return self.config

    def unknown(self, config: KeyConfig) -> Steps[KeyConfig]:
        known = self._known.get(self._target.url)
        if known is not None and known.config != config:
            self.config = known.config  # another process has followed the gateway in the meantime
            return known.config
        try:
            offered = yield from fetch_keys(self._target.resource)
            shown = _listed(one.fingerprint for one in offered)
        except SealError:
            shown = "none"
        raise PinError(
            f"the key of {self._target.url} has changed. It was {config.fingerprint}; offered now: "
            f"{shown}. Either the key was rotated while this client was away, or someone is in "
            "between. Ask the gateway's operator for the fingerprint that 'antiphon serve --seal' "
            f"prints; if it is the new one: antiphon seal forget {self._target.url}"
        )

    def _follow(self, config: KeyConfig, now: float) -> Steps[KeyConfig]:
        self._checked = now
        try:
            offered = yield from fetch_keys_sealed(self._target, config, self._now)
        except OuterError as error:
            if error.problem == KEY_PROBLEM:
                return (yield from self.unknown(config))
            return config
        except SealError:
            return config
        new = offered[0] if offered else config
        return self._known.follow(self._target.url, config, new, int(now)).config


def _listed(fingerprints: Iterable[str]) -> str:
    return ", ".join(fingerprints)
