"""Which URLs of MCP servers a client may name: ``mcp.allow_urls``.

URLs are compared in one spelling, and a URL in any other is refused, so that nothing hides behind
capitals, default ports, user names, dots or escapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from antiphon.errors import SettingsError

__all__ = ["AllowedUrls"]

ANY: Final = ("https://*", "http://*")
"""Entries that allow every host that the guard lets through."""
MAX_URL_CHARS: Final = 2048

_PLAIN: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]-]+\Z")
_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z|\[[0-9a-f:.]+\]\Z")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:2[ef]|5c|25|00)", re.IGNORECASE)
"""Escapes that are none, or that stand for what divides paths."""
_DEFAULT: Final = {"http": 80, "https": 443}


class AllowedUrls:
    """The entries, read: a URL, or what one begins with and ``*``. Raises SettingsError."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._exact: set[str] = set()
        self._prefixes: list[str] = []
        for entry in entries:
            begin = entry.removesuffix("*")
            if entry in ANY:
                self._prefixes.append(begin)
                continue
            why = _strange(begin)
            if why is None and begin != entry and "/" not in begin.partition("://")[2]:
                why = "a / must stand between the host and *, or other hosts begin with it too"
            if why is not None:
                raise SettingsError(f"mcp.allow_urls: {entry!r}: {why}")
            if begin == entry:
                self._exact.add(entry)
            else:
                self._prefixes.append(begin)

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def refused(self, url: str) -> str | None:
        """Why this URL is not allowed; None: it is."""
        why = _strange(url)
        if why is not None:
            return why
        if url in self._exact or any(url.startswith(begin) for begin in self._prefixes):
            return None
        return "this server does not allow it (its setting mcp.allow_urls)"


def _strange(url: str) -> str | None:
    """Why it is not a URL in its usual spelling."""
    if len(url) > MAX_URL_CHARS or not _PLAIN.match(url):
        return "expected a URL of plain characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "expected a URL"
    scheme = url.partition("://")[0]
    if scheme not in _DEFAULT or parts.scheme != scheme:
        return "expected http:// or https://"
    if "@" in parts.netloc:
        return "a user name or password must not stand in it"
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    if not _HOST.match(host):
        return "its host is not written as usual, in small letters"
    if port == _DEFAULT[scheme] or (port is not None and f":{port}" != parts.netloc[len(host) :]):
        return "its port is not written as usual"
    if _ESCAPE.search(url):
        return "it has escapes that are not possible here"
    if any(part in (".", "..") for part in parts.path.split("/")) or "//" in parts.path:
        return "its path is not written as usual"
    return None
