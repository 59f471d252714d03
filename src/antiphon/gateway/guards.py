"""What keeps web pages from talking to a server on this machine, and lets the listed ones.

While no API key is configured, whoever can reach the server may use it, and any web page that the
user has open can reach loopback: directly, or through a name of its own that it points at 127.0.0.1
(DNS rebinding). So then the Host must be one that a local client would use, and a page's Origin
must be listed. docs/security.md tells the whole story.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from antiphon.api.errors import ApiError

__all__ = [
    "MAX_HOST",
    "allowed_origin",
    "check_host",
    "check_origin",
    "cors_headers",
    "host_name",
    "is_loopback",
    "preflight_headers",
]

MAX_HOST: Final = 512
"""Characters of a Host header; the longest name has 253, an address with a zone fewer."""

_LOCALHOST: Final = "localhost"
_EXPOSED: Final = (
    b"antiphon, antiphon-ignored, antiphon-mode, antiphon-request-id, retry-after, x-request-id,"
    b" x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests,"
    b" x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens"
)
_PREFLIGHT_SECONDS: Final = b"600"
_MAX_REQUESTED_HEADERS: Final = 2048


def is_loopback(host: str) -> bool:
    """Whether a name or address can only mean this machine."""
    name = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    if name == _LOCALHOST or name.endswith(f".{_LOCALHOST}"):
        return True  # RFC 6761: never asked of DNS
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def host_name(header: str) -> str | None:
    """The name in a Host header, without its port and in lower case; None if it is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError:
        return None
    if parts.netloc != header or "@" in header or not header:
        return None
    return parts.hostname


@lru_cache(maxsize=64)
def _read(header: str) -> tuple[str | None, bool]:
    """The name in a Host header, and whether it is local: the same few come with every request."""
    name = host_name(header)
    return name, name is not None and is_loopback(name)


def check_host(header: str | None, allowed: Collection[str]) -> None:
    """Raises ApiError 403 unless Host is a loopback name or ``allowed``."""
    name, local = _read(header) if header and len(header) <= MAX_HOST else (None, False)
    if local or (name is not None and name in {each.lower() for each in allowed}):
        return
    raise ApiError(
        "This server has no API keys and answers only to local names; the request's Host header is"
        " another. Add it to server.allowed_hosts, or make a key with 'antiphon keys add'.",
        status=403,
        type="permission_error",
        code="host_not_allowed",
    )


def allowed_origin(origin: str, origins: Collection[str]) -> bool:
    """Whether this origin is listed, exactly; ``*`` lists all."""
    return "*" in origins or origin in origins


def check_origin(origin: str | None, origins: Collection[str]) -> None:
    """Raises ApiError 403 for a web page that is not listed. Other clients send no Origin."""
    if origin is None or allowed_origin(origin, origins):
        return
    raise ApiError(
        "Web pages may not talk to this server, unless their origin is in cors.origins.",
        status=403,
        type="permission_error",
        code="origin_not_allowed",
    )


def cors_headers(origin: str | None, origins: Collection[str]) -> dict[bytes, bytes]:
    """The headers that let a page at ``origin`` read an answer; none if it may not."""
    if not origins:
        return {}
    headers = {b"vary": b"origin"}
    if origin is not None and allowed_origin(origin, origins):
        headers[b"access-control-allow-origin"] = origin.encode("latin-1")
        headers[b"access-control-expose-headers"] = _EXPOSED
    return headers


def preflight_headers(requested: bytes | None) -> dict[bytes, bytes]:
    """What a browser is told before it sends a request with these headers."""
    headers = {
        b"access-control-allow-methods": b"GET, POST, DELETE, OPTIONS",
        b"access-control-max-age": _PREFLIGHT_SECONDS,
    }
    if requested is not None and len(requested) <= _MAX_REQUESTED_HEADERS:
        headers[b"access-control-allow-headers"] = requested
    return headers
