"""``【6†L9-L11】`` in an answer → a link that people can follow, and where it stands.

gpt-oss cites what its browser showed by cursor and line. Clients cannot know cursors: a citation
becomes ``([example.com](https://example.com/page))`` and an annotation over it, as OpenAI's web
search has them. A citation of nothing that was opened stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

__all__ = [
    "CitationText",
    "Cited",
    "CitedFile",
    "Citing",
    "FileCitation",
    "Mark",
    "Sources",
    "UrlCitation",
    "cited",
    "file_citations",
    "linked",
    "marks",
]

MAX_MARK_CHARS: Final = 80
"""Of what stands behind a cursor; a longer one is no citation."""

_WHOLE: Final = re.compile(r"【 ?(\d{1,9}) ?†([^†【】\n]{0,80})(?:†[^†【】\n]{0,80})?】")
_BEGUN: Final = re.compile(r"【 ?(?:\d{1,9} ?(?:†[^†【】\n]{0,80}(?:†[^†【】\n]{0,80})?)?)?\Z")
_LINE: Final = re.compile(r"L(\d{1,9})")
_ESCAPED: Final = str.maketrans(
    {"(": "%28", ")": "%29", " ": "%20", "<": "%3C", ">": "%3E", '"': "%22", "\\": "%5C"}
)
"""Neither the Markdown around it nor JSON may end in it."""

Sources = Callable[[int, int], "tuple[str, str] | None"]
"""Cursor and line → URL and title; None: nothing was opened there."""

Mark = Callable[[str, str], str]
"""URL and title → what stands in the text for a citation of it."""


class UrlCitation(msgspec.Struct, frozen=True, kw_only=True, tag="url_citation", tag_field="type"):
    """An annotation. Offsets are characters of the text it is in; ``end_index`` is behind it."""

    start_index: int
    end_index: int
    url: str
    title: str


class FileCitation(
    msgspec.Struct, frozen=True, kw_only=True, tag="container_file_citation", tag_field="type"
):
    """An annotation over the path of a file, or behind the text where it names none."""

    container_id: str
    file_id: str
    filename: str
    start_index: int
    end_index: int


class CitedFile(msgspec.Struct, frozen=True):
    """A file that code made: ``name`` is its path below /mnt/data."""

    container_id: str
    file_id: str
    name: str


class Citing(msgspec.Struct, frozen=True):
    """What an answer may cite."""

    sources: Sources
    files: Callable[[], Sequence[CitedFile]] = tuple
    """Those that were made so far."""


class Cited(msgspec.Struct, frozen=True):
    """A piece of text, and the annotations that are complete with it."""

    text: str
    annotations: tuple[UrlCitation, ...] = ()


class CitationText:
    """One text, as it comes; the same in whatever pieces. Holds back no more than a citation.

    ``mark`` writes what stands for one; by default a link in parentheses.
    """

    def __init__(self, sources: Sources, mark: Mark | None = None) -> None:
        self._sources = sources
        self._mark: Mark = mark or linked
        self._held = ""
        self._length = 0
        self._last = ""
        """The last character given."""
        self._just_cited: str | None = None
        """What the text ends with a citation of."""

    def feed(self, text: str) -> Cited:
        """The next piece; maybe empty."""
        if not self._held and "【" not in text:
            self._give(text)
            return Cited(text)
        return self._read(self._held + text, over=False)

    def end(self) -> Cited:
        """What was held back: the text is over."""
        return self._read(self._held, over=True)

    def _read(self, text: str, *, over: bool) -> Cited:
        out: list[str] = []
        annotations: list[UrlCitation] = []
        at = 0
        self._held = ""
        while (begin := text.find("【", at)) >= 0:
            if begin > at:
                out.append(self._give(text[at:begin]))
            found = _WHOLE.match(text, begin)
            if found is not None:
                out.append(self._cite(found, annotations))
                at = found.end()
            elif not over and _BEGUN.match(text, begin):
                self._held = text[begin:]
                return Cited("".join(out), tuple(annotations))
            else:
                out.append(self._give("【"))
                at = begin + 1
        if at < len(text):
            out.append(self._give(text[at:]))
        return Cited("".join(out), tuple(annotations))

    def _cite(self, found: re.Match[str], annotations: list[UrlCitation]) -> str:
        source = _source(found, self._sources)
        if source is None:
            return self._give(found[0])
        url, title = source
        if url == self._just_cited:
            return ""
        space = " " if self._last and not (self._last.isspace() or self._last in "([") else ""
        link = self._mark(url, title)
        start = self._length + len(space)
        annotations.append(
            UrlCitation(start_index=start, end_index=start + len(link), url=url, title=title)
        )
        self._give(space + link)
        self._just_cited = url
        return space + link

    def _give(self, text: str) -> str:
        if text:
            self._length += len(text)
            self._last = text[-1]
            self._just_cited = None
        return text


def linked(url: str, _title: str) -> str:
    """``([example.com](https://example.com/page))``, as OpenAI's web search writes it."""
    return f"([{_domain(url)}]({url.translate(_ESCAPED)}))"


def marks(text: str, sources: Sources) -> tuple[UrlCitation, ...]:
    """The citations of a text as the model wrote it: where its marks stand and what they cite."""
    return tuple(
        [
            UrlCitation(
                start_index=found.start(), end_index=found.end(), url=source[0], title=source[1]
            )
            for found in _WHOLE.finditer(text)
            if (source := _source(found, sources)) is not None
        ]
    )


def cited(text: str, sources: Sources, mark: Mark | None = None) -> Cited:
    """A whole text."""
    reader = CitationText(sources, mark)
    first, rest = reader.feed(text), reader.end()
    return Cited(first.text + rest.text, first.annotations + rest.annotations)


def file_citations(text: str, files: Sequence[CitedFile]) -> list[FileCitation]:
    """An annotation for each file, where the text names it first: as ``sandbox:/mnt/data/NAME``,
    or as a path.
    """
    newest = {file.name: file for file in files}
    made = []
    for name, file in newest.items():
        path = f"/mnt/data/{name}"
        start, end = text.find(path), len(text)
        if start < 0:
            start = end
        else:
            end = start + len(path)
            if text.startswith("sandbox:", max(0, start - 8)):
                start = max(0, start - 8)
        made.append(
            FileCitation(
                container_id=file.container_id,
                file_id=file.file_id,
                filename=name.rpartition("/")[2],
                start_index=start,
                end_index=end,
            )
        )
    return made


def _source(found: re.Match[str], sources: Sources) -> tuple[str, str] | None:
    line = _LINE.search(found[2])
    return sources(int(found[1]), int(line[1]) if line else 0)


def _domain(url: str) -> str:
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    return authority.rpartition("@")[2].translate(_BRACKETS) or "source"


_BRACKETS: Final = str.maketrans("", "", '[]"\\')
