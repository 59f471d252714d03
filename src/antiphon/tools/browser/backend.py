"""What finds pages: the protocol of search backends, and how their answers are shown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final, Protocol

import msgspec

from antiphon.tools.browser.html import html_to_text
from antiphon.tools.browser.page import Page, Passage, Source, make_page
from antiphon.tools.guard import Fetched, Guard, GuardError

__all__ = ["SearchBackend", "SearchResult", "asked_json", "results_page"]

MAX_SNIPPET_CHARS: Final = 600


class SearchResult(msgspec.Struct, frozen=True):
    """One hit. Plain text, as the backend gives it: nothing of it is trusted."""

    url: str
    title: str
    snippet: str = ""


class SearchBackend(Protocol):
    """Something that searches. Used by several conversations at a time."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def web(self) -> bool:
        """Whether pages it does not have itself may be fetched."""
        ...

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        """The best hits. Raises GuardError, in words for the model."""
        ...

    async def open(self, url: str) -> Page | None:
        """A page that it has itself; None: it is to be fetched. Raises GuardError."""
        ...

    async def aclose(self) -> None: ...


def results_page(query: str, results: Sequence[SearchResult]) -> Page:
    """Hits as the reference shows them: a heading and a list of links with snippets."""
    items = "".join(
        f"<li><a href='{escape(hit.url)}'>{escape(hit.title.strip() or hit.url)}</a>"
        f" {escape(hit.snippet[:MAX_SNIPPET_CHARS])}</li>"
        for hit in results
    )
    read = html_to_text(f"<h1>Search Results</h1><ul>{items}</ul>", "")
    text = read.text if results else f"No results for: `{query}`"
    page = make_page("", query, f"\nURL: \n{text}", read.links, passages={})
    return msgspec.structs.replace(
        page,
        passages={number: Passage() for number in range(len(read.links))},
        cites=_cites(page, {hit.url: hit.title for hit in results}),
    )


def _cites(page: Page, titles: dict[str, str]) -> tuple[tuple[int, Source], ...]:
    """Each line of a hit cites the hit."""
    cites = []
    for number, line in enumerate(page.lines):
        found = line.find("【")
        if found < 0:
            continue
        digits = line[found + 1 :].partition("†")[0]
        if digits.isdecimal() and int(digits) < len(page.links):
            url = page.links[int(digits)]
            cites.append((number, Source(url, titles.get(url) or url)))
    return tuple(cites)


async def asked_json(
    guard: Guard,
    name: str,
    url: str,
    *,
    headers: dict[str, str],
    body: object | None = None,
) -> Any:
    """A service's answer as JSON. Raises GuardError; a key never leaves the service's host."""
    sent = None if body is None else msgspec.json.encode(body)
    answer: Fetched = await guard.fetch(
        url,
        method="GET" if sent is None else "POST",
        headers={"Accept": "application/json", **headers},
        body=sent,
        redirects=0,
    )
    if answer.status != 200:
        raise GuardError(f"{name} answered {answer.status}")
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GuardError(f"{name} answered something that is not JSON") from error
