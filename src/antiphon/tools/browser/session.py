"""What one conversation has open: pages by cursor, newest last, within bounds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from antiphon.tools.browser.page import Page, Source
from antiphon.tools.protocol import Shown

__all__ = ["BrowserError", "BrowserSession"]

MAX_PAGES: Final = 256
MAX_BYTES: Final = 32 * 1024 * 1024
"""Of the pages kept. The oldest go; the one just opened stays."""
MAX_SOURCES: Final = 4096
"""Cursors that can be cited."""


class BrowserError(Exception):
    """The model asked for what there is not. The message is for it."""


class BrowserSession:
    """The pages of one conversation."""

    def __init__(self, *, max_bytes: int = MAX_BYTES, first: int = 0) -> None:
        """``first`` is the cursor that comes first, where others are known from before."""
        self._pages: dict[int, Page] = {}
        self._sources: dict[int, tuple[tuple[int, Source], ...]] = {}
        self._by_url: dict[str, Page] = {}
        self._max_bytes = max_bytes
        self._size = 0
        self._next = first

    @property
    def next_cursor(self) -> int:
        """The cursor of the page that is added next."""
        return self._next

    def add(self, page: Page) -> int:
        """Its cursor."""
        cursor, self._next = self._next, self._next + 1
        self._pages[cursor] = page
        self._size += page.size
        if page.cites:
            self._note(cursor, page.cites)
        if page.url and page.passages is None:
            self._by_url[page.url] = page
        while len(self._pages) > 1 and (
            len(self._pages) > MAX_PAGES or self._size > self._max_bytes
        ):
            self._drop(next(iter(self._pages)))
        return cursor

    def restore(self, shown: Iterable[Shown]) -> None:
        """What the conversation was shown before: it can be cited, and its cursors are taken."""
        for page in shown:
            self._next = max(self._next, page.cursor + 1)
            cites = tuple([(line, Source(url, title)) for line, url, title in page.cites])
            if cites:
                self._note(page.cursor, cites)

    def page(self, cursor: int = -1) -> Page:
        """The page; -1: the newest. Raises BrowserError."""
        if not self._pages and (cursor == -1 or not self._next):
            raise BrowserError("No pages to access!")
        if cursor == -1:
            cursor = self._next - 1
        page = self._pages.get(cursor)
        if page is not None:
            return page
        if 0 <= cursor < self._next:
            raise BrowserError(f"The page of cursor `{cursor}` is no longer kept: open it again.")
        raise BrowserError(
            f"Cursor `{cursor}` is out of range."
            f" Available cursor indices:"
            f" [{next(iter(self._pages), self._next)} - {self._next - 1}]."
        )

    def opened(self, url: str) -> Page | None:
        """The page of a URL, if it was opened before."""
        return self._by_url.get(url)

    def has_link(self, url: str) -> bool:
        """Whether a page that is kept leads there."""
        return url in self._by_url or any(url in page.links for page in self._pages.values())

    def source(self, cursor: int, line: int = 0) -> Source | None:
        """What a citation of that line cites."""
        cites = self._sources.get(cursor, ())
        at = bisect_right(cites, line, key=lambda cite: cite[0]) - 1
        return cites[at][1] if at >= 0 else None

    def _note(self, cursor: int, cites: tuple[tuple[int, Source], ...]) -> None:
        self._sources[cursor] = cites
        while len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]

    def _drop(self, cursor: int) -> None:
        page = self._pages.pop(cursor)
        self._size -= page.size
        if self._by_url.get(page.url) is page:
            del self._by_url[page.url]
