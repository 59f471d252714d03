"""Where a gateway is: the URL a person gives, and the parts of it that go inside and outside."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from antiphon.seal.errors import SealError
from antiphon.seal.media import WELL_KNOWN_GATEWAY

__all__ = ["Target"]

_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's URL. A path before ``/v1`` is one that a proxy in front takes away: it stays
    outside.
    """

    scheme: str
    authority: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises SealError if it is not the URL of a gateway. A ``/v1`` at its end is left out."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        host = parts.hostname or ""
        scheme = parts.scheme.lower()
        text = parts.path
        if scheme not in _PORTS or not host or parts.query or parts.fragment or parts.username:
            raise SealError(f"{url!r} is not the URL of a gateway, as https://gpt.example")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise SealError(f"{url!r} is not the URL of a gateway: it must be plain ASCII")
        host = f"[{host}]" if ":" in host else host
        authority = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
        prefix = text.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls(scheme=scheme, authority=authority, prefix=prefix)

    @classmethod
    def relay(cls, url: str) -> str:
        """Where a relay takes sealed requests: the URL as it is, or the well-known path of it if it
        has no path. Raises SealError.
        """
        relay = cls.parse(url)
        return relay.resource if urlsplit(url).path in ("", "/") else url

    @property
    def url(self) -> str:
        """The one way to write it: what is remembered by this name."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def resource(self) -> str:
        """Where sealed requests are sent and keys are fetched (RFC 9540)."""
        return self.url + WELL_KNOWN_GATEWAY

    def inner_path(self, scheme: str, authority: str, path: str) -> str:
        """The path that goes inside for a request to this URL. Raises SealError if it is another
        server's: what is sealed is for this one alone.
        """
        under = path.startswith(f"{self.prefix}/") if self.prefix else True
        if (scheme, authority) != (self.scheme, self.authority) or not under:
            raise SealError(
                f"this client is sealed for {self.url}; a request to "
                f"{scheme}://{authority} is not for it"
            )
        return path[len(self.prefix) :]
