"""An answer of the network → a page, by what it says it is."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

from antiphon.tools.browser.decoding import decoded
from antiphon.tools.browser.html import MAX_LINKS, MAX_TITLE_CHARS, html_to_text
from antiphon.tools.browser.page import Page, clean, domain_of, make_page
from antiphon.tools.guard import Fetched, GuardError

__all__ = ["page_of", "page_of_html", "page_of_markdown", "page_of_text"]

_HTML: Final = ("text/html", "application/xhtml+xml")
_MARKDOWN: Final = ("text/markdown", "text/x-markdown")
_TEXT: Final = ("application/json", "application/xml", "application/javascript", "application/yaml")
_MARKDOWN_LINK: Final = re.compile(
    r"(?<!!)\[([^\[\]\n]{1,300})\]\((https?://[^()\s]{1,2000}|[^()\s:]{1,2000})\)"
)
_MARKDOWN_TITLE: Final = re.compile(r"^#{1,6}\s+(.{1,300})$", re.MULTILINE)
_CUT: Final = "\n\n[The rest of this page is not shown: it is too long.]"


def page_of(fetched: Fetched, *, source: bool = False) -> Page:
    """The page; with ``source``, as it was written. Takes time: not for the event loop.

    Raises GuardError for what is no text.
    """
    kind = fetched.media_type
    if not kind:
        kind = "text/html" if _looks_like_html(fetched.body) else "text/plain"
    markup = kind in _HTML
    is_text = kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml"))
    if not markup and not is_text:
        raise GuardError(f"{fetched.url[:200]} is {kind[:80]}, which cannot be shown as text")
    text = decoded(fetched.body, fetched.charset, markup=markup)
    if fetched.truncated:
        # Inside markup this may land in a tag, and is gone with it: then it said nothing anyway.
        text += f"<p>{_CUT.strip()}</p>" if markup and not source else _CUT
    if source:
        return page_of_text(text, fetched.url)
    if markup:
        return page_of_html(text, fetched.url)
    if kind in _MARKDOWN:
        return page_of_markdown(text, fetched.url)
    return page_of_text(text, fetched.url)


def page_of_html(html: str, url: str, *, title: str = "") -> Page:
    """Takes any text."""
    read = html_to_text(html, url)
    return make_page(
        url, title or read.title or domain_of(url), _headed(url, read.text), read.links
    )


def page_of_markdown(text: str, url: str, *, title: str = "") -> Page:
    """Markdown stays as it is, but for its links, which get numbers."""
    numbers: dict[str, int] = {}
    domain = domain_of(url)

    def link(found: re.Match[str]) -> str:
        said, href = found[1], found[2]
        try:
            target = urljoin(url, href)
        except ValueError:
            return found[0]
        if not target.startswith(("http://", "https://")) or href.startswith("#"):
            return found[0]
        if target not in numbers and len(numbers) >= MAX_LINKS:
            return found[0]
        number = numbers.setdefault(target, len(numbers))
        said = said.replace("†", "‡")
        there = domain_of(target)
        return f"【{number}†{said}】" if there == domain else f"【{number}†{said}†{there}】"

    heading = _MARKDOWN_TITLE.search(text[:20_000])
    made = _MARKDOWN_LINK.sub(link, clean(text))
    name = clean(title or (heading[1].strip() if heading else "") or domain_of(url))
    return make_page(url, name, _headed(url, made), tuple(numbers))


def page_of_text(text: str, url: str, *, title: str = "") -> Page:
    """Text as it stands."""
    name = clean(title)[:MAX_TITLE_CHARS] or domain_of(url)
    return make_page(url, name, _headed(url, clean(text)))


def _headed(url: str, text: str) -> str:
    """The reference's first lines."""
    return f"\nURL: {clean(url)}\n{text.rstrip()}"


def _looks_like_html(body: bytes) -> bool:
    start = body[:512].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
