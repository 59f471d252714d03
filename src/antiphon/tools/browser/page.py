"""A page as the model sees it: a title, lines of text, and the links in them, by number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

__all__ = ["WIDTH", "Page", "Passage", "Source", "clean", "domain_of", "make_page", "wrapped"]

WIDTH: Final = 80
"""Characters of a line, as gpt-oss was trained."""

_REPLACED: Final = str.maketrans(
    {"【": "〖", "】": "〗", "◼": "◾", "\u200b": None, "\r": None}
    | dict.fromkeys([chr(n) for n in (*range(9), 11, *range(14, 32), 127)])
)
"""Brackets that would be links or citations if a page could write them, and control characters."""
_REPLACEABLE: Final = re.compile(r"[【】◼\u200b\r\x00-\x08\x0b\x0e-\x1f\x7f]")
_LINE: Final = re.compile(r".{1,80}(?:\s|$)|.{80}", re.DOTALL)
"""Ends at the last space that fits; a word that fits in no line is cut."""


class Passage(msgspec.Struct, frozen=True):
    """Where a link of a page of results leads: for a match, the line too."""

    line: int | None = None


class Source(msgspec.Struct, frozen=True):
    """What a citation cites."""

    url: str
    title: str


class Page(msgspec.Struct, frozen=True, eq=False):
    """What `open`, `search` and `find` show. ``url`` is empty for search results."""

    url: str
    title: str
    lines: tuple[str, ...]
    links: tuple[str, ...] = ()
    """What ``【n†…】`` leads to."""
    passages: Mapping[int, Passage] | None = None
    """Set for results of a search or a find, by link: `find` does not work on those."""
    cites: tuple[tuple[int, Source], ...] = ()
    """From which line on a citation means which source, in order."""
    size: int = 0
    """About how many bytes it takes."""


def make_page(
    url: str,
    title: str,
    text: str,
    links: tuple[str, ...] = (),
    *,
    passages: Mapping[int, Passage] | None = None,
    cites: Sequence[tuple[int, str, str]] | None = None,
) -> Page:
    """The page of a text, in lines of 80 characters. Citations mean itself unless ``cites`` says
    otherwise: line, URL, title.
    """
    lines = tuple(wrapped(text))
    if cites is None:
        cites = [(0, url, title)] if url else []
    sources = tuple((line, Source(where, name)) for line, where, name in cites)
    size = 4 * len(text) + 60 * len(lines) + sum(map(len, links)) + 60 * len(links)
    return Page(url, title, lines, links, passages, sources, size)


def clean(text: str) -> str:
    """Text of a page or a backend, without what only we may write into a display."""
    # Looking costs little; translating a page of Chinese, a tenth of a second.
    return text.translate(_REPLACED) if _REPLACEABLE.search(text) else text


def wrapped(text: str) -> list[str]:
    """Its lines, long ones broken, spaces at their ends gone."""
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= WIDTH:
            lines.append(line.rstrip())
        else:
            lines += [piece.rstrip() for piece in _LINE.findall(line)]
    return lines


def domain_of(url: str) -> str:
    """``example.com`` of a URL; empty if it has none."""
    _, found, rest = url.partition("://")
    if not found:
        return ""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return authority.rpartition("@")[2]
