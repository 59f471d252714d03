"""Search services over HTTP: SearXNG, Exa and You.com.

Their answers are read leniently: a hit that lacks its URL is passed over. Keys are sent to the
service alone, and to nowhere it might redirect to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from antiphon.tools.browser.backend import SearchResult, asked_json
from antiphon.tools.browser.page import Page
from antiphon.tools.browser.reading import page_of_html, page_of_markdown
from antiphon.tools.guard import Guard, GuardError, GuardPolicy

__all__ = ["ExaBackend", "SearxngBackend", "YouBackend"]

EXA_URL: Final = "https://api.exa.ai"
YOU_URL: Final = "https://ydc-index.io"
MAX_QUERY_CHARS: Final = 2000


class _Service:
    """What they share: a guard that opens the service wherever the operator says it is."""

    name: str
    web: bool = True

    def __init__(self, url: str, *, guard: Guard | None = None) -> None:
        self._url = url.rstrip("/")
        place = urlsplit(self._url).netloc.rpartition("@")[2]
        self._guard = guard or Guard(GuardPolicy(allow=(place,)))

    async def open(self, url: str) -> Page | None:
        return None

    async def aclose(self) -> None:
        """It holds nothing."""


class SearxngBackend(_Service):
    """A SearXNG instance, with ``json`` among its ``search.formats``.

    https://docs.searxng.org/dev/search_api.html
    """

    name = "SearXNG"

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        asked = urlencode({"q": query[:MAX_QUERY_CHARS], "format": "json"}, quote_via=quote)
        answer = await asked_json(self._guard, self.name, f"{self._url}/search?{asked}", headers={})
        return _hits(_list(answer, "results"), limit, "content")


class ExaBackend(_Service):
    """Exa's search and contents. https://docs.exa.ai/reference"""

    name = "Exa"

    def __init__(self, key: str, *, url: str = EXA_URL, guard: Guard | None = None) -> None:
        super().__init__(url, guard=guard)
        self._headers = {"x-api-key": key, "Content-Type": "application/json"}

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        body = {
            "query": query[:MAX_QUERY_CHARS],
            "numResults": limit,
            "contents": {"highlights": True},
        }
        found = await self._post("/search", body)
        return _hits(_list(found, "results"), limit, "highlights", "summary", "text")

    async def open(self, url: str) -> Page | None:
        """What Exa read there, which may be more than a fetch would bring; None: fetch it."""
        wanted = {"urls": [url], "text": {"includeHtmlTags": True}}
        try:
            found = _list(await self._post("/contents", wanted), "results")
        except GuardError:
            return None
        for result in found:
            text = _string(result, "text")
            if text:
                title = _string(result, "title")
                return await asyncio.to_thread(page_of_html, text, url, title=title)
        return None

    async def _post(self, path: str, body: object) -> Any:
        return await asked_json(
            self._guard, self.name, f"{self._url}{path}", headers=self._headers, body=body
        )


class YouBackend(_Service):
    """You.com's search and contents. https://documentation.you.com/api-reference"""

    name = "You.com"

    def __init__(self, key: str, *, url: str = YOU_URL, guard: Guard | None = None) -> None:
        super().__init__(url, guard=guard)
        self._headers = {"X-API-Key": key}

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        asked = urlencode({"query": query[:MAX_QUERY_CHARS], "count": limit}, quote_via=quote)
        url = f"{self._url}/v1/search?{asked}"
        answer = await asked_json(self._guard, self.name, url, headers=self._headers)
        results = answer.get("results") if isinstance(answer, dict) else None
        hits = [*_list(results, "web"), *_list(results, "news")]
        return _hits(hits, limit, "snippets", "description")

    async def open(self, url: str) -> Page | None:
        """What You.com read there, as Markdown; None: fetch it."""
        try:
            answer = await asked_json(
                self._guard,
                self.name,
                f"{self._url}/v1/contents",
                headers={**self._headers, "Content-Type": "application/json"},
                body={"urls": [url], "formats": ["markdown"]},
            )
        except GuardError:
            return None
        for result in answer if isinstance(answer, list) else ():
            text = _string(result, "markdown")
            if text:
                title = _string(result, "title")
                return await asyncio.to_thread(page_of_markdown, text, url, title=title)
        return None


def _list(value: object, field: str) -> list[Any]:
    found = value.get(field) if isinstance(value, dict) else None
    if found is None and not isinstance(value, dict):
        raise GuardError("the search service's answer has another form than documented")
    return found if isinstance(found, list) else []


def _string(value: object, field: str) -> str:
    found = value.get(field) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _hits(found: Sequence[object], limit: int, *snippets: str) -> list[SearchResult]:
    """The hits; their snippets are the first of these fields that says something."""
    hits: dict[str, SearchResult] = {}
    for each in found:
        url = _string(each, "url")
        if not url.startswith(("http://", "https://")) or url in hits:
            continue
        said = ""
        for field in snippets:
            value = each.get(field) if isinstance(each, dict) else None
            if isinstance(value, list):
                value = " … ".join(part for part in value if isinstance(part, str))
            if isinstance(value, str) and value.strip():
                said = " ".join(value.split())
                break
        hits[url] = SearchResult(url, _string(each, "title"), said)
        if len(hits) == limit:
            break
    return list(hits.values())
