"""Rate limits: requests and tokens per minute, by key, in OpenAI's headers.

A minute's allowance is a bucket that refills all the time, so a client that waits for as long as
``retry-after`` says is served. Tokens are taken before the turn by what the body's size lets expect
and put right after it by what was used; the estimate may be wrong, the sum is not.
"""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.gateway.keys import ApiKey
from antiphon.settings.model import LimitSettings
from antiphon.store.protocol import Bucket, StateStore

__all__ = ["BYTES_PER_TOKEN", "Allowance", "Lease", "allowance", "take"]

BYTES_PER_TOKEN: Final = 4
"""Of a request's body, JSON and all."""

_SPACE: Final = "rate"
_MINUTE: Final = 60.0


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may use each minute; 0: as much as it wants."""

    requests: int = 0
    tokens: int = 0


def allowance(limits: LimitSettings, key: ApiKey | None) -> Allowance:
    """The key's own limits, else the server's."""
    requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
    if key is not None and key.requests_per_minute is not None:
        requests = key.requests_per_minute
    if key is not None and key.tokens_per_minute is not None:
        tokens = key.tokens_per_minute
    return Allowance(requests=requests, tokens=tokens)


class Lease:
    """What one request took. Call `settle` when it is over, whatever became of it."""

    __slots__ = ("_estimate", "_settled", "_store", "_tokens", "_who", "headers", "used")

    def __init__(
        self, store: StateStore, who: str, tokens: int, estimate: int, headers: dict[bytes, bytes]
    ) -> None:
        self._store = store
        self._who = who
        self._tokens = tokens
        self._estimate = estimate
        self._settled = False
        self.headers: Final = headers
        """For the response: limits, what remains, when they are full again."""
        self.used: int | None = None
        """Prompt and completion tokens; None: the turn did not get so far as to count any."""

    async def settle(self) -> None:
        """Charge what was used in place of what was estimated. May be called twice."""
        if self._settled or not self._tokens:
            return
        self._settled = True
        difference = (self.used or 0) - self._estimate
        if difference:
            await _take(self._store, self._who, "tokens", difference, self._tokens, debt=True)


async def take(store: StateStore, who: str, allowed: Allowance, *, body_bytes: int | None) -> Lease:
    """Count one request of ``who``. Raises ApiError 429, with the same headers as an answer.

    A refused request costs no tokens, but is counted as a request if it was tokens that lacked.
    """
    headers: dict[bytes, bytes] = {}
    if allowed.requests:
        bucket = await _take(store, who, "requests", 1, allowed.requests)
        headers |= _headers("requests", allowed.requests, bucket)
        if not bucket.granted:
            raise _refused("requests", allowed.requests, bucket.retry_after, headers)
    estimate = 0
    if allowed.tokens:
        # More than a whole minute's allowance is never there to take: what is over goes on account.
        estimate = min((body_bytes or 0) // BYTES_PER_TOKEN + 1, allowed.tokens)
        bucket = await _take(store, who, "tokens", estimate, allowed.tokens)
        headers |= _headers("tokens", allowed.tokens, bucket)
        if not bucket.granted:
            raise _refused("tokens", allowed.tokens, bucket.retry_after, headers)
    return Lease(store, who, allowed.tokens, estimate, headers)


async def _take(
    store: StateStore, who: str, what: str, amount: float, limit: int, *, debt: bool = False
) -> Bucket:
    return await store.take(
        _SPACE, f"{who}/{what}", amount, capacity=limit, per_second=limit / _MINUTE, debt=debt
    )


def _headers(what: str, limit: int, bucket: Bucket) -> dict[bytes, bytes]:
    name = what.encode()
    return {
        b"x-ratelimit-limit-" + name: b"%d" % limit,
        b"x-ratelimit-remaining-" + name: b"%d" % max(0, int(bucket.remaining)),
        b"x-ratelimit-reset-" + name: _duration(bucket.reset_after),
    }


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: ``20ms``, ``7.66s``, ``6m0s``."""
    if seconds < 1:
        return b"%dms" % round(max(seconds, 0) * 1000)
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".").encode() + b"s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (b"%dh" % hours if hours else b"") + b"%dm%ds" % (minutes, rest)


def _refused(what: str, limit: int, wait: float, headers: dict[bytes, bytes]) -> ApiError:
    return ApiError(
        f"Rate limit reached: {limit} {what} per minute. Try again in {_duration(wait).decode()}.",
        status=429,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after=wait,
        headers={name.decode(): value.decode() for name, value in headers.items()},
    )
