"""API keys: what a key is, what its holder may do, and which key was presented.

A key is 256 random bits, so a plain SHA-256 of it cannot be searched for; only that is kept.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.settings.model import Mode

__all__ = [
    "KEY_PREFIX",
    "MAX_PRESENTED_CHARS",
    "ApiKey",
    "KeyRing",
    "digest",
    "new_key",
    "new_secret",
]

KEY_PREFIX: Final = "ak-"
MAX_PRESENTED_CHARS: Final = 512
"""What is longer is no key of ours, and is not hashed."""

_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 5
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,64}\Z")

Limit = Annotated[int, Meta(ge=0)]


class ApiKey(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One key as it is kept. None: the model's or the server's own setting holds."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    """Public: logs, metrics and the reasoning memory know the holder by it."""
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """For people."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created: date
    expires: date | None = None
    """The last day on which it is good, in UTC."""
    operator: bool = False
    """May read metrics and raw transcripts, and choose the mode of a request."""
    models: tuple[str, ...] = ()
    """The models it may use; empty: all."""
    requests_per_minute: Limit | None = None
    """0: no limit."""
    tokens_per_minute: Limit | None = None
    """0: no limit."""
    concurrent: Limit | None = None
    """0: no limit of its own."""
    effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """Where a request names none."""
    mode: Mode | None = None
    harmony_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    """Share of this key's conversations in mode ``harmony``."""
    show_reasoning: bool | None = None
    preambles: Literal["content", "reasoning", "hidden"] | None = None

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and now.astimezone(UTC).date() > self.expires

    def may_use(self, model: str) -> bool:
        return not self.models or model in self.models


class KeyRing:
    """All keys at one moment."""

    __slots__ = ("_by_digest", "keys")

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self.keys: Final = tuple(keys)
        self._by_digest = {key.sha256: key for key in self.keys}

    def __bool__(self) -> bool:
        return bool(self.keys)

    def find(self, presented: str) -> ApiKey | None:
        """The key that was presented, which may have expired.

        How long this takes says something about digests, which tells nobody what hashes to them.
        """
        if not presented.startswith(KEY_PREFIX) or len(presented) > MAX_PRESENTED_CHARS:
            return None
        return self._by_digest.get(digest(presented))


def digest(secret: str) -> str:
    """What is kept of a key, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret() -> str:
    """A new key, to be shown once."""
    return f"{KEY_PREFIX}{secrets.token_urlsafe(_SECRET_BYTES)}"


def new_key(secret: str, today: date, *, name: str | None = None) -> ApiKey:
    """The record of a new key; its settings are filled in with `msgspec.structs.replace`.

    Raises ValueError for a name that is empty, too long or has control characters.
    """
    id = f"key_{secrets.token_hex(_ID_BYTES)}"
    if name is not None and _NAME.match(name) is None:
        raise ValueError("a key's name has 1 to 64 characters, none of them a control character")
    return ApiKey(id=id, name=name or id, sha256=digest(secret), created=today)
