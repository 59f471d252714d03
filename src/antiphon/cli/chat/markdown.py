"""An answer in Markdown → strips of a screen, while it is written.

What is written so far ends in an open block: a paragraph, the last item of a list, a fence of code.
Only that is read again for each frame; what is before it is final. A block that grows too long is
cut at a line, so that no answer costs more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.segment import Segment
from textual.strip import Strip

from antiphon.cli.chat.code import cut_runs
from antiphon.cli.chat.layout import Continued, lay_out
from antiphon.cli.chat.wrapping import clean

__all__ = ["MarkdownText"]

MAX_OPEN: Final = 3_000
"""Characters of a block that may be read again and again; a longer one is cut."""
MAX_ROWS_OPEN: Final = 1_000
"""The same for code and tables, of which each line is a row that does not change any more."""
MAX_MARKS: Final = 1_000
"""Characters that mean something to Markdown in one block; with more it is shown as it is, as
reading it might take very long."""

_MARKS: Final = re.compile(r"[\[\]*_`<~!(\\&>]")
_CLOSED_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,}) *")


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt().enable("strikethrough").enable("table")


class _Cut(NamedTuple):
    """Where what is final ends. ``goes_on``: within a block, whose rest begins with ``prefix``."""

    at: int
    goes_on: bool = False
    prefix: str = ""


class MarkdownText:
    """Markdown in pieces, ``width`` cells wide. ``bar`` stands at quotes; an ASCII one means that
    nothing else may be used either. ``plain``: it is shown as it is written.
    """

    def __init__(self, width: int, *, bar: str = "▌", plain: bool = False) -> None:
        self._width = max(8, width)
        self._bar = bar
        self._plain = plain
        self._pieces: list[str] = []
        self._open = ""
        """What is not final."""
        self._prefix = ""
        """What makes the rest of a block that was cut a block of its own."""
        self._final: list[Strip] = []
        self._tail: list[Strip] = []
        self._last = ""
        """What kind of block is open."""
        self._goes_on: Continued | None = None
        """Set if what is open begins within a block that was cut."""

    def feed(self, text: str) -> None:
        """Add text as the model wrote it. Call `layout` when it is to be seen."""
        text = clean(text)
        self._pieces.append(text)
        self._open += text

    def layout(self, *, ended: bool = False) -> None:
        """Bring the rows up to date."""
        while len(self._open) > MAX_OPEN:
            head = self._open[:MAX_OPEN]
            self._make_final(self._settled(head) or self._forced(head))
        cut = self._settled(self._open)
        if cut is not None:
            self._make_final(cut)
        if self._last in ("fence", "table_open") and len(self._open) > MAX_ROWS_OPEN:
            self._make_final(self._forced(self._open))
        if ended and self._open:
            self._make_final(_Cut(len(self._open)))
        self._tail, _ = self._rows(self._open)

    def resize(self, width: int) -> None:
        """Lay everything out anew."""
        source = "".join(self._pieces)
        again = MarkdownText(width, bar=self._bar, plain=self._plain)
        again._pieces, again._open = [source], source
        again.layout()
        self.__dict__.update(again.__dict__)

    def __len__(self) -> int:
        return len(self._final) + len(self._tail)

    def strip(self, row: int) -> Strip:
        final = len(self._final)
        return self._final[row] if row < final else self._tail[row - final]

    # What is final.

    def _make_final(self, cut: _Cut) -> None:
        done, self._open = self._open[: cut.at], self._open[cut.at :]
        rows, continued = self._rows(done)
        self._final += rows
        self._prefix = cut.prefix
        self._goes_on = continued if cut.goes_on else None

    def _settled(self, text: str) -> _Cut | None:
        """Where the last block, or the last item of a list, begins, if there is one before it."""
        if self._plain:
            at = text.rfind("\n") + 1
            return _Cut(at, goes_on=True) if at else None
        # A line that is not over may still become anything.
        whole = text.rfind("\n") + 1
        source = self._prefix + text[:whole]
        self._last = ""
        if not whole or _wild(source):
            return None
        tokens = _reader().parse(source)
        tops = [t for t in tokens if t.level == 0 and t.nesting >= 0 and t.map]
        if not tops:
            return None
        last = tops[-1]
        assert last.map is not None
        self._last = last.type
        if last.type.endswith("_list_open"):
            begin = tokens.index(last)
            items = [t for t in tokens[begin:] if t.type == "list_item_open" and t.level == 1]
            if len(items) > 1 and items[-1].map:
                return self._cut(source, items[-1].map[0], goes_on=True)
        return self._cut(source, last.map[0]) if len(tops) > 1 else None

    def _cut(self, source: str, line: int, *, goes_on: bool = False) -> _Cut | None:
        at = _offset(source, line) - len(self._prefix)
        return _Cut(at, goes_on) if at > 0 else None

    def _forced(self, head: str) -> _Cut:
        """A cut within a block that is too long: behind a line, a word, or anywhere."""
        at = head.rfind("\n") + 1 or head.rfind(" ") + 1 or len(head)
        prefix = "" if self._plain else _continued(self._prefix + head[:at])
        return _Cut(at, goes_on=True, prefix=prefix)

    def _rows(self, text: str) -> tuple[list[Strip], Continued]:
        """The rows of what is open, or of a part of it, and how it would go on."""
        source = self._prefix + text
        if not text.strip():
            return [], self._goes_on or Continued()
        gap = self._final and self._goes_on is None
        if self._plain or _wild(source):
            rows = cut_runs([(text.rstrip("\n"), None)], self._width)
            continued = Continued()
        else:
            rows, continued = lay_out(
                _reader().parse(source), self._width, bar=self._bar, continued=self._goes_on
            )
        if gap and rows:
            rows.insert(0, [])
        return [_strip(row) for row in rows], continued


def _strip(row: Sequence[Segment]) -> Strip:
    """A row. Markdown can spell any character by its number: none drives the terminal."""
    return Strip([Segment(clean(text), style) for text, style, _ in row])


def _wild(text: str) -> bool:
    """Whether a block might take very long to read."""
    return len(_MARKS.findall(text)) > MAX_MARKS


def _offset(text: str, line: int) -> int:
    at = 0
    for _ in range(line):
        at = text.index("\n", at) + 1
    return at


def _continued(done: str) -> str:
    """What the rest of ``done`` has to begin with: the first line of an open fence, or the head of
    a table.
    """
    if _wild(done):
        return ""
    tops = [t for t in _reader().parse(done) if t.level == 0 and t.nesting >= 0 and t.map]
    if not tops:
        return ""
    last: Token = tops[-1]
    assert last.map is not None
    lines = done[_offset(done, last.map[0]) :].split("\n")
    if last.type == "fence" and not _closed(lines, last.markup):
        return lines[0] + "\n"
    if last.type == "table_open":
        return "\n".join(lines[:2]) + "\n"
    return ""


def _closed(lines: Sequence[str], markup: str) -> bool:
    written = [line for line in lines[1:] if line.strip()]
    found = _CLOSED_FENCE.fullmatch(written[-1]) if written else None
    return found is not None and found[1].startswith(markup)
