"""``web_search``: gpt-oss's browser as a tool of the server.

Each response in an open turn goes on with the browser of the one before, so that cursors keep their
meaning; a new turn begins with a new one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from antiphon.api.responses.items import open_turn
from antiphon.api.responses.served import ServedTools, as_functions
from antiphon.api.responses.web_search import (
    TYPES,
    SearchOptions,
    WebSearchItem,
    location_line,
    read_search_options,
)
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.gateway.servertools.history import given_text, origin_of
from antiphon.gateway.servertools.named import read_alike
from antiphon.gateway.servertools.protocol import Asked, Limited, NamedTool, Outcome, ServerCall
from antiphon.gateway.servertools.sessions import Sessions
from antiphon.model.message import Message
from antiphon.model.tools import BROWSER
from antiphon.tools.browser.backend import SearchBackend, SearchResult
from antiphon.tools.browser.page import Page
from antiphon.tools.browser.session import BrowserError, BrowserSession
from antiphon.tools.browser.tool import Browser, browser_tools
from antiphon.tools.guard import Fetched, Guard, GuardError

__all__ = ["WebSearchKind"]

MAX_SESSION_BYTES: Final = 8 * 1024 * 1024
"""Of one response's pages; an agent's own browser keeps more."""
_NAMES: Final = frozenset(f"{BROWSER.name}.{tool.name}" for tool in BROWSER.tools)
_NOT_JSON: Final = "Invalid function arguments: a JSON object is expected."
_UNKNOWN_URL: Final = (
    "The URL was not opened: only links of pages that were shown, and URLs that the user gave, can"
    " be opened. Search for the page instead."
)


class WebSearchKind:
    """The kind. The backend is shared by all requests."""

    name = "web_search"
    types = TYPES

    def __init__(
        self, backend: SearchBackend, guard: Guard, sessions: Sessions, *, any_url: bool
    ) -> None:
        self._backend = backend
        self._guard = guard
        self._sessions = sessions
        self._any_url = any_url

    async def check(self) -> str | None:
        return None

    async def open(self, named: Sequence[NamedTool], asked: Asked) -> WebSearch:
        options = read_alike(
            named, read_search_options, "a second web search with other parameters"
        )
        return WebSearch(
            self._backend,
            self._guard,
            self._sessions,
            options,
            named,
            asked,
            any_url=self._any_url,
        )

    async def aclose(self) -> None:
        await self._backend.aclose()


class WebSearch:
    """The tool of one request."""

    names = _NAMES

    def __init__(
        self,
        backend: SearchBackend,
        guard: Guard,
        sessions: Sessions,
        options: SearchOptions,
        named: Sequence[NamedTool],
        asked: Asked,
        *,
        any_url: bool,
    ) -> None:
        self._sessions = sessions
        self._options = options
        self._asked = asked
        self._any_url = any_url or not backend.web
        turn = open_turn([*asked.previous, *asked.own])
        session = None
        cursors = 0
        for placed in turn:
            if placed.type == "web_search_call":
                cursors += 1
                known = sessions.find(asked.context.tenant, origin_of(placed.read.id))
                session = known or session
        self._session = session or BrowserSession(max_bytes=MAX_SESSION_BYTES, first=cursors)
        filtered = _Filtered(backend, options) if options.allowed or options.blocked else backend
        fetching: Guard | _FilteredGuard = guard
        if options.allowed or options.blocked or not options.live:
            fetching = _FilteredGuard(guard, options)
        self._browser = Browser(filtered, fetching, session=self._session)
        self._calls = {tool.name: tool for tool in browser_tools(self._browser)}
        self._text: str | None = None
        line = location_line(options.location)
        tools = ServedTools(
            spaces={BROWSER.name: BROWSER},
            makers={
                name: partial(
                    WebSearchItem,
                    recipient=name,
                    describe=self._describe,
                    sources="web_search_call.action.sources" in asked.include,
                )
                for name in sorted(_NAMES)
            },
            instructions=(line,) if line else (),
            taken=frozenset([tool.index for tool in named]),
            choices=dict.fromkeys(TYPES, tuple(sorted(_NAMES))),
            sources=self._source,
        )
        self.tools = as_functions(tools, named[0].where) if asked.functions else tools

    async def opening(
        self,
        request: TurnRequest,
        limited: Limited,
    ) -> AsyncGenerator[Sequence[TurnEvent | Message], None]:
        return
        yield

    async def call(self, call: ServerCall) -> Outcome:
        arguments = None if call.arguments is None else call.arguments.value
        if arguments is None:
            return Outcome(
                text="Invalid function arguments: a JSON object is expected.", failed=True
            )
        if call.name == "browser.search":
            arguments = self._sized(arguments)
        elif call.name == "browser.open" and not self._may_open(arguments):
            return Outcome(text=_UNKNOWN_URL, failed=True)
        done = await self._calls[call.name].call(arguments, emit=_nobody)
        details = {"action": done.details["action"]} if "action" in done.details else {}
        return Outcome(text=done.text, failed=done.failed, details=details)

    async def aclose(self) -> None:
        asked = self._asked
        if asked.origin and self._session.next_cursor:
            self._sessions.put(asked.context.tenant, asked.origin, self._session)

    def _source(self, cursor: int, line: int) -> tuple[str, str] | None:
        found = self._session.source(cursor, line)
        return None if found is None else (found.url, found.title)

    def _describe(self, recipient: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What a call will do, as far as can be said before."""
        if recipient == "browser.search":
            return {"type": "search", "query": str(arguments.get("query") or "")}
        if recipient == "browser.find":
            return {
                "type": "find_in_page",
                "pattern": str(arguments.get("pattern") or ""),
                "url": self._page_url(arguments),
            }
        return {"type": "open_page", "url": self._target(arguments)}

    def _page_url(self, arguments: Mapping[str, Any]) -> str:
        cursor = arguments.get("cursor", -1)
        try:
            return self._session.page(cursor if isinstance(cursor, int) else -1).url
        except BrowserError:
            return ""

    def _target(self, arguments: Mapping[str, Any]) -> str | None:
        url = self._browser.leads_to(arguments)
        if url is not None:
            return url
        given = arguments.get("id", -1)
        cursor = arguments.get("cursor", -1)
        try:
            page = self._session.page(cursor if isinstance(cursor, int) else -1)
        except BrowserError:
            return None
        if isinstance(given, int) and 0 <= given < len(page.links):
            return page.links[given]
        return page.url or None

    def _sized(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As many results as the request wants, or fewer if the model says so."""
        wanted, most = arguments.get("topn"), self._options.results
        if isinstance(wanted, int | float) and 0 < wanted < most:
            return dict(arguments)
        return {**arguments, "topn": most}

    def _may_open(self, arguments: Mapping[str, Any]) -> bool:
        """A URL that the model made up can carry what the conversation holds to its host."""
        if self._any_url:
            return True
        url = self._browser.leads_to(arguments)
        if url is None:
            return True
        if self._text is None:
            asked = self._asked
            self._text = asked.given + given_text([*asked.previous, *asked.own])
        plain = url.partition("://")[2].rstrip("/")
        return bool(plain) and plain in self._text


class _Filtered:
    """A backend that knows only what a request allows."""

    def __init__(self, backend: SearchBackend, options: SearchOptions) -> None:
        self._backend = backend
        self._options = options
        self.name = backend.name
        self.web = backend.web

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        hits = await self._backend.search(query, limit=limit)
        return [hit for hit in hits if _allows(self._options, hit.url)]

    async def open(self, url: str) -> Page | None:
        _check(self._options, url)
        return await self._backend.open(url)

    async def aclose(self) -> None:
        """It is shared."""


class _FilteredGuard(Guard):
    """A guard that fetches only what a request allows."""

    def __init__(self, guard: Guard, options: SearchOptions) -> None:
        self._guard = guard
        self._options = options

    def listed(self, url: str) -> bool:
        return self._guard.listed(url)

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        redirects: int | None = None,
    ) -> Fetched:
        if not self._options.live:
            raise GuardError("the request allows no access to the live web")
        _check(self._options, url)
        found = await self._guard.fetch(
            url, method=method, headers=headers, body=body, redirects=redirects
        )
        _check(self._options, found.url)
        return found


def _check(options: SearchOptions, url: str) -> None:
    if not _allows(options, url):
        raise GuardError("the request allows no pages of this domain")


def _allows(options: SearchOptions, url: str) -> bool:
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    if any(_inside(host, domain) for domain in options.blocked):
        return False
    return not options.allowed or any(_inside(host, domain) for domain in options.allowed)


def _inside(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _nobody(text: str) -> None:
    """Nobody watches."""
