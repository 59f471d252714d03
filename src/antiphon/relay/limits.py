"""What a relay lets through: how many at a time, how large, how long, how often from one client."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from antiphon.api.errors import ApiError

__all__ = ["RelayLimits", "Visitors", "network_of"]

MAX_VISITORS: Final = 65_536
"""Clients whose rate is known at a time; the one that was seen longest ago is forgotten first."""
_MINUTE: Final = 60.0


class RelayLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one relay."""

    concurrent: int = 256
    """Requests at a time; more are refused with 503."""
    body_bytes: int = 48 * 1024 * 1024
    """Largest request."""
    body_seconds: float = 60.0
    """A request must have arrived by then."""
    seconds: float = 3600.0
    """Longest exchange, from its first byte to its last."""
    connect_seconds: float = 10.0
    """Longest wait for a connection to the gateway."""
    per_minute: int = 120
    """Requests of one client; 0: no limit."""


class Visitors:
    """A bucket for each client, kept in memory and nowhere else."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def charge(self, address: str) -> None:
        """Raises ApiError 429."""
        if not self._per_minute:
            return
        now, who = self._clock(), network_of(address)
        level, since = self._buckets.pop(who, (float(self._per_minute), now))
        per_second = self._per_minute / _MINUTE
        level = min(float(self._per_minute), level + (now - since) * per_second)
        granted = level >= 1
        self._buckets[who] = (level - granted, now)
        if len(self._buckets) > MAX_VISITORS:
            self._buckets.popitem(last=False)
        if not granted:
            raise ApiError(
                f"this relay takes {self._per_minute} requests a minute from one client",
                status=429,
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after=(1 - level) / per_second,
            )


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        if mapped is None:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        parsed = mapped
    return str(parsed)
