"""What an answer cites: the pages that tools showed, as footnotes under it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from antiphon.api.citations import CitationText, Sources
from antiphon.tools.protocol import Shown, Tool

if TYPE_CHECKING:
    from antiphon.tools.browser.session import BrowserSession

__all__ = ["Footnotes", "sources_in", "sources_of"]


def sources_of(tools: Sequence[Tool]) -> Sources:
    """What the browser among the tools can be cited for; where there is none, nothing."""
    browsers = [tool for tool in tools if tool.name.startswith("browser.")]
    if browsers:
        from antiphon.tools.browser.tool import BrowserTool

        for tool in browsers:
            if isinstance(tool, BrowserTool):
                return _of_session(tool.browser.session)
    return lambda cursor, line: None


def _of_session(session: BrowserSession) -> Sources:
    def source(cursor: int, line: int) -> tuple[str, str] | None:
        found = session.source(cursor, line)
        return None if found is None else (found.url, found.title)

    return source


def sources_in(shown: Iterable[Shown]) -> Sources:
    """What pages that were shown once can be cited for."""
    known = {page.cursor: page.cites for page in shown}

    def source(cursor: int, line: int) -> tuple[str, str] | None:
        cites = known.get(cursor, ())
        at = bisect_right(cites, line, key=lambda cite: cite[0]) - 1
        return cites[at][1:] if at >= 0 else None

    return source


class Footnotes:
    """Texts with ``[1]`` where they cite, numbered over all of them; each text as it comes."""

    def __init__(self, sources: Sources, form: str = "[{}]") -> None:
        self._sources = sources
        self._form = form
        self._numbers: dict[str, int] = {}
        self._titles: dict[str, str] = {}
        self._new: list[str] = []
        self._text = self._reader()

    def feed(self, text: str) -> str:
        """The next piece of a text, maybe empty: what may become a citation is held back."""
        return self._text.feed(text).text

    def end(self) -> str:
        """What was held back: the text is over, the next one may begin."""
        left = self._text.end().text
        self._text = self._reader()
        return left

    def notes(self) -> list[tuple[int, str, str]]:
        """Number, title and URL of what is cited since this was asked last for the first time."""
        new, self._new = self._new, []
        return [(self._numbers[url], self._titles[url], url) for url in new]

    def _reader(self) -> CitationText:
        return CitationText(self._sources, self._mark)

    def _mark(self, url: str, title: str) -> str:
        if url not in self._numbers:
            self._numbers[url] = len(self._numbers) + 1
            self._titles[url] = title
            self._new.append(url)
        return self._form.format(self._numbers[url])
