"""The tools `browser.search`, `browser.open` and `browser.find` over one conversation's pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from antiphon.model.tools import BROWSER
from antiphon.tools.browser.backend import SearchBackend, results_page
from antiphon.tools.browser.display import Count, displayed
from antiphon.tools.browser.find import found_in
from antiphon.tools.browser.page import Page
from antiphon.tools.browser.reading import page_of
from antiphon.tools.browser.session import BrowserError, BrowserSession
from antiphon.tools.guard import Guard, GuardError
from antiphon.tools.protocol import Emit, Need, Shown, Tool, ToolOutput
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["Browser", "BrowserTool", "browser_tools"]

MAX_RESULTS: Final = 20
"""Hits of a search, however many the model asks for."""
DEFAULT_RESULTS: Final = 10
BEFORE_MATCH: Final = 4
"""Lines shown before the one that a find's link leads to."""
MAX_QUERY_CHARS: Final = 2000

Arguments = Mapping[str, Any]


class Browser:
    """One conversation's browser. ``guard`` fetches what the backend does not have itself.

    The backend may be shared between conversations; it is closed here only with ``owns_backend``.
    """

    def __init__(
        self,
        backend: SearchBackend,
        guard: Guard | None = None,
        *,
        session: BrowserSession | None = None,
        count: Count | None = None,
        owns_backend: bool = False,
    ) -> None:
        self.session = session or BrowserSession()
        self._owns_backend = owns_backend
        self._backend = backend
        self._guard = guard or Guard()
        self._count: Count = count or _tokens

    async def search(self, arguments: Arguments) -> ToolOutput:
        """Hits for a query, as a page of links."""
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            raise BrowserError("`query` is missing.")
        query = query.strip()[:MAX_QUERY_CHARS]
        limit = _integer(arguments.get("topn"), DEFAULT_RESULTS, "topn")
        limit = min(max(limit, 1), MAX_RESULTS)
        try:
            hits = await self._backend.search(query, limit=limit)
        except GuardError as error:
            raise BrowserError(f"Error during search for `{query}`: {error}") from error
        page = await asyncio.to_thread(results_page, query, hits[:limit])
        action = {
            "type": "search",
            "query": query,
            "sources": [{"type": "url", "url": url} for url in page.links],
        }
        return self._shown(page, action)

    async def open(self, arguments: Arguments) -> ToolOutput:
        """A link, a URL, or another part of a page that is open."""
        given = _link_or_url(arguments.get("id"))
        cursor = _integer(arguments.get("cursor"), -1, "cursor")
        loc = _integer(arguments.get("loc"), -1, "loc")
        num_lines = _integer(arguments.get("num_lines"), -1, "num_lines")
        source = arguments.get("view_source") is True
        if isinstance(given, str):
            url = given
            page = await self._fetched(url, source=source)
        else:
            current = self.session.page(cursor)
            if given >= 0:
                if given >= len(current.links):
                    raise BrowserError(f"Invalid link id `{given}`.")
                url = current.links[given]
                passage = (current.passages or {}).get(given)
                if loc < 0 and passage is not None and passage.line is not None:
                    loc = max(passage.line - BEFORE_MATCH, 0)
                opened = None if source else self.session.opened(url)
                page = opened or await self._fetched(url, source=source)
            else:
                url = current.url
                page = await self._fetched(url, source=True) if source and url else current
        action = {"type": "open_page", "url": page.url or url}
        return self._shown(page, action, loc=loc, num_lines=num_lines)

    async def find(self, arguments: Arguments) -> ToolOutput:
        """Where words stand in a page that is open."""
        pattern = arguments.get("pattern")
        if not isinstance(pattern, str):
            raise BrowserError("`pattern` is missing.")
        page = self.session.page(_integer(arguments.get("cursor"), -1, "cursor"))
        found = await asyncio.to_thread(found_in, page, pattern)
        action = {"type": "find_in_page", "pattern": pattern, "url": page.url}
        return self._shown(found, action)

    async def aclose(self) -> None:
        """Close the backend, if it is this browser's own. May be called more than once."""
        if self._owns_backend:
            self._owns_backend = False
            await self._backend.aclose()

    def leads_to(self, arguments: Arguments) -> str | None:
        """The URL of an `open` that no page led to: the model made it up or was told it."""
        try:
            given = _link_or_url(arguments.get("id"))
        except BrowserError:
            return None
        if isinstance(given, int) or self.session.has_link(given):
            return None
        return given

    def _shown(
        self, page: Page, action: dict[str, Any], *, loc: int = 0, num_lines: int = -1
    ) -> ToolOutput:
        cursor = self.session.next_cursor
        text = displayed(page, cursor, self._count, loc=loc, num_lines=num_lines)
        self.session.add(page)
        details = {"cursor": cursor, "url": page.url, "title": page.title, "action": action}
        cites = tuple([(line, source.url, source.title) for line, source in page.cites])
        return ToolOutput(text, details=details, shown=Shown(cursor, cites))

    async def _fetched(self, url: str, *, source: bool) -> Page:
        try:
            # What is inside is no business of a search service.
            inside = self._backend.web and self._guard.listed(url)
            page = None if source or inside else await self._backend.open(url)
            if page is None:
                if not self._backend.web:
                    raise GuardError(f"only pages of {self._backend.name} can be opened")
                answer = await self._guard.fetch(url)
                page = await asyncio.to_thread(page_of, answer, source=source)
                if answer.status >= 400:
                    page = msgspec.structs.replace(
                        page, title=f"{page.title} [HTTP status {answer.status}]"
                    )
        except GuardError as error:
            raise BrowserError(f"Error fetching URL `{url[:1024]}`: {error}") from error
        return page


class BrowserTool:
    """One of the three."""

    def __init__(
        self, browser: Browser, name: str, act: Callable[[Arguments], Awaitable[ToolOutput]]
    ) -> None:
        offered = next(tool for tool in BROWSER.tools if tool.name == name)
        self.name = f"browser.{name}"
        self.description = offered.description
        self.parameters = offered.parameters
        self.browser = browser
        self._act = act

    def need(self, arguments: Arguments | str) -> Need:
        """A URL that no page led to may carry what the conversation holds: someone should look."""
        if isinstance(arguments, str):
            return Need("always", self.name)
        if self.name == "browser.open":
            url = self.browser.leads_to(arguments)
            if url is not None:
                return Need("ask", f"open {url[:200]}")
        said = arguments.get("query") or arguments.get("pattern") or arguments.get("id") or ""
        return Need("always", f"{self.name} {str(said)[:200]}".strip())

    async def call(self, arguments: Arguments | str, *, emit: Emit) -> ToolOutput:
        if isinstance(arguments, str):
            return ToolOutput("Invalid function arguments: a JSON object is expected.", failed=True)
        try:
            return await self._act(arguments)
        except BrowserError as error:
            return ToolOutput(str(error), failed=True)

    async def aclose(self) -> None:
        await self.browser.aclose()


def browser_tools(browser: Browser) -> tuple[Tool, Tool, Tool]:
    """`browser.search`, `browser.open` and `browser.find`."""
    return (
        BrowserTool(browser, "search", browser.search),
        BrowserTool(browser, "open", browser.open),
        BrowserTool(browser, "find", browser.find),
    )


def _tokens(text: str) -> int:
    return len(default_tokenizer().encode(text))


def _integer(value: object, default: int, name: str) -> int:
    """The model writes numbers as ``3``, ``3.0`` and ``"3"``."""
    if value is None:
        return default
    if isinstance(value, str) and len(value) < 10 and value.strip().lstrip("-").isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return value
    raise BrowserError(f"`{name}` should be an integer, not `{str(value)[:40]}`.")


def _link_or_url(value: object) -> int | str:
    """A number is a link, also in quotes; anything else a URL, maybe without its scheme."""
    if isinstance(value, str):
        text = value.strip().strip("【】").partition("†")[0].strip()
        if text.lstrip("-").isdecimal():
            return _integer(text, -1, "id")
        if not text:
            return -1
        text = value.strip()
        return text if "://" in text else f"https://{text}"
    return _integer(value, -1, "id")
