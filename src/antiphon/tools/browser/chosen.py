"""The search backend that the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from antiphon.errors import SettingsError
from antiphon.settings.tools import BrowserSettings
from antiphon.tools.browser.backend import SearchBackend
from antiphon.tools.browser.corpus import BASE_URL, CorpusBackend
from antiphon.tools.browser.services import (
    EXA_URL,
    YOU_URL,
    ExaBackend,
    SearxngBackend,
    YouBackend,
)
from antiphon.tools.guard import Guard

__all__ = ["search_backend"]

_OWN_URLS: Final = {"exa": EXA_URL, "you": YOU_URL}


def search_backend(
    settings: BrowserSettings, guard: Guard, *, folder: Path | None = None
) -> SearchBackend:
    """What ``browser.backend`` names. ``folder`` is searched where ``browser.folder`` names none.

    ``guard`` is that of the pages; services are asked through one of its kind that lets their own
    host through. Raises SettingsError for what is missing, wrong or without effect.
    """
    name = settings.backend
    if name == "corpus":
        return _corpus(settings, folder)
    if settings.folder is not None:
        raise SettingsError(f"browser.folder has no effect with the backend {name}")
    if name == "searxng":
        if settings.url is None:
            raise SettingsError("browser.url: where is SearXNG? The backend searxng needs it")
        _no_key(settings)
        place = _place(settings.url, guard)
        return SearxngBackend(settings.url, guard=guard.allowing(place))
    if not settings.api_key:
        raise SettingsError(f"browser.api_key: the backend {name} needs a key")
    if not (settings.api_key.isascii() and settings.api_key.isprintable()):
        raise SettingsError("browser.api_key: expected printable ASCII characters")
    key = settings.api_key
    url = settings.url or _OWN_URLS[name]
    passing = guard.allowing(_place(url, guard))
    if name == "exa":
        return ExaBackend(key, url=url, guard=passing)
    return YouBackend(key, url=url, guard=passing)


def _corpus(settings: BrowserSettings, folder: Path | None) -> CorpusBackend:
    _no_key(settings)
    if settings.folder is not None:
        folder = Path(settings.folder).expanduser()
    if folder is None:
        raise SettingsError("browser.folder: which folder is searched? The backend corpus needs it")
    if settings.url is not None:
        _place(settings.url, None)
    try:
        return CorpusBackend(folder, url=settings.url or BASE_URL)
    except SettingsError as error:
        raise SettingsError(f"browser.folder: {error}") from error


def _no_key(settings: BrowserSettings) -> None:
    if settings.api_key is not None:
        raise SettingsError(f"browser.api_key has no effect with the backend {settings.backend}")


def _place(url: str, guard: Guard | None) -> str:
    """The host and port of a URL that the operator wrote."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsError("browser.url: expected http:// or https://, a host and maybe a path")
    if guard is not None:
        try:
            guard.allowing(parts.netloc)
        except SettingsError as error:
            raise SettingsError(f"browser.url: {error}") from error
    return parts.netloc
