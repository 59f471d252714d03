"""A folder of HTML, Markdown and text as the web: found by words, opened by URL.

The search backend that needs nothing: no key, no network. Files are read when it is first used;
links between them work, and lead to each other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from antiphon.errors import SettingsError
from antiphon.tools.browser.backend import MAX_SNIPPET_CHARS, SearchResult
from antiphon.tools.browser.bm25 import Index, words
from antiphon.tools.browser.decoding import decoded
from antiphon.tools.browser.find import plain
from antiphon.tools.browser.page import Page, domain_of
from antiphon.tools.browser.reading import page_of_html, page_of_markdown, page_of_text
from antiphon.tools.guard import GuardError

__all__ = ["BASE_URL", "CorpusBackend"]

BASE_URL: Final = "https://corpus.invalid/"
"""Where the folder seems to be: no name under ``.invalid`` is anyone's (RFC 6761)."""
MAX_FILES: Final = 50_000
MAX_FILE_BYTES: Final = 5 * 1024 * 1024
"""Of a file, so much is read."""
MAX_TOTAL_BYTES: Final = 512 * 1024 * 1024
_KINDS: Final = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".rst": "text",
}
_SNIPPET_LINES: Final = 4


class _Entry(msgspec.Struct, frozen=True):
    path: Path
    url: str
    title: str


class CorpusBackend:
    """One folder. ``url`` is what its pages are cited as: where they are published, if they are.

    Raises SettingsError if the folder is none.
    """

    web = False

    def __init__(self, folder: Path, *, url: str = BASE_URL) -> None:
        self._folder = folder.resolve()
        if not self._folder.is_dir():
            raise SettingsError(f"{folder} is not a folder")
        self._url = url if url.endswith("/") else url + "/"
        self._index = Index()
        self._entries: list[_Entry] = []
        self._by_url: dict[str, _Entry] = {}
        self._reading: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return f"the folder {self._folder.name}"

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        await self._read()
        return await asyncio.to_thread(self._search, query, limit)

    async def open(self, url: str) -> Page | None:
        """The file of a URL. Raises GuardError if it is gone."""
        await self._read()
        entry = self._by_url.get(_spelling(url))
        if entry is None:
            return None
        return await asyncio.to_thread(self._page, entry)

    async def aclose(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read_all))
        # Whoever asked first may be cancelled; the others still wait for it.
        await asyncio.shield(self._reading)

    def _read_all(self) -> None:
        left = MAX_TOTAL_BYTES
        for path in self._files():
            try:
                size = min(path.stat().st_size, MAX_FILE_BYTES)
                if left < size or len(self._entries) == MAX_FILES:
                    return
                left -= size
                relative = path.relative_to(self._folder).as_posix()
                entry = _Entry(path, self._url + quote(relative), "")
                page = self._page(entry)
            except (OSError, ValueError, GuardError):
                continue  # It went, or its name is no text.
            entry = _Entry(path, entry.url, page.title)
            self._index.add(page.title, "\n".join(page.lines[2:]))
            self._entries.append(entry)
            self._by_url[_spelling(entry.url)] = entry

    def _files(self) -> Iterator[Path]:
        """Of the folder and those below: no hidden ones, and no links, which lead elsewhere."""
        for where, folders, names in os.walk(self._folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(where, name)
                known = path.suffix.lower() in _KINDS and not name.startswith(".")
                if known and not path.is_symlink() and path.is_file():
                    yield path

    def _page(self, entry: _Entry) -> Page:
        try:
            # Opened without following a link that has taken the file's place.
            handle = os.open(entry.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            with os.fdopen(handle, "rb") as file:
                body = file.read(MAX_FILE_BYTES)
        except OSError as error:
            raise GuardError(f"{entry.url} cannot be read any more") from error
        kind = _KINDS[entry.path.suffix.lower()]
        text = decoded(body, None, markup=kind == "html")
        if kind == "html":
            page = page_of_html(text, entry.url)
        elif kind == "markdown":
            page = page_of_markdown(text, entry.url)
        else:
            first = text.lstrip().partition("\n")[0].strip()
            page = page_of_text(text, entry.url, title=first[:100] or entry.path.stem)
        if page.title == domain_of(entry.url):
            page = msgspec.structs.replace(page, title=entry.path.stem)
        return page

    def _search(self, query: str, limit: int) -> list[SearchResult]:
        hits = []
        wanted = set(words(query))
        for number in self._index.search(query, limit=limit):
            entry = self._entries[number]
            try:
                page = self._page(entry)
            except GuardError:
                continue
            hits.append(SearchResult(entry.url, entry.title, _snippet(page, wanted)))
        return hits


def _snippet(page: Page, wanted: set[str]) -> str:
    """The lines with most of the words that are asked for."""
    lines = [plain(line) for line in page.lines[2:]]
    found = [len(wanted.intersection(words(line))) for line in lines]
    best, start = -1, 0
    for at in range(max(len(lines) - _SNIPPET_LINES, 0) + 1):
        score = sum(found[at : at + _SNIPPET_LINES])
        if score > best:
            best, start = score, at
    return " ".join(" ".join(lines[start : start + _SNIPPET_LINES]).split())[:MAX_SNIPPET_CHARS]


def _spelling(url: str) -> str:
    """Without what does not change the page."""
    return unquote(url.partition("#")[0].partition("?")[0])
