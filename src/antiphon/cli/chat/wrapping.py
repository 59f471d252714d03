"""Text of others → rows of a screen: harmless, folded at words, and never folded twice.

Text comes in pieces. A row that is full never changes again, so each piece costs what it is long.
"""

from __future__ import annotations

import re
from typing import Final

from rich.cells import cell_len, chop_cells

from antiphon.cli.terminal import printable

__all__ = ["Rows", "clean", "fold", "fold_at"]

TAB: Final = "    "
_WORDS: Final = re.compile(r"\s+|\S+")
_HALVES: Final = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """``text`` with all that could drive or deceive a terminal spelled out, tabs as spaces."""
    return _HALVES.sub("\ufffd", printable(text)).replace("\t", TAB)


def fold(line: str, width: int) -> list[str]:
    """One line as rows of at most ``width`` cells, at least one. What is behind the last row may
    be added to it and folded again: the rows before it stay as they are.
    """
    return [line[start:end] for start, end in fold_at(line, width)]


def fold_at(line: str, width: int) -> list[tuple[int, int]]:
    """Where the rows of a line begin and end. The space at which it is folded is in none."""
    rows: list[tuple[int, int]] = []
    start, used = 0, 0
    for found in _WORDS.finditer(line):
        begin, end = found.span()
        size = cell_len(found[0])
        if used + size <= width:
            used += size
        elif found[0][0].isspace():
            rows.append((start, begin))
            start, used = end, 0
        else:
            if used:
                rows.append((start, start + len(line[start:begin].rstrip())))
            start, used = begin, size
            if size > width:
                *full, last = chop_cells(found[0], width)
                for piece in full:
                    rows.append((start, start + len(piece)))
                    start += len(piece)
                used = cell_len(last)
    return [*rows, (start, len(line))]


class Rows:
    """Text as rows of ``width`` cells, in pieces."""

    def __init__(self, width: int) -> None:
        self.width = max(2, width)
        self._most = self.width * 16
        self.full: list[str] = []
        """Rows that are final."""
        self.open = ""
        """The last row, which more may be added to."""
        self._folded = False
        """Whether the open row began because the one before was full."""

    def feed(self, text: str) -> None:
        """Add text, which is clean."""
        for number, part in enumerate(text.split("\n")):
            if number:
                if self.open or not self._folded:
                    self.full.append(self.open)
                self.open, self._folded = "", False
            if self._folded and not self.open:
                part = part.lstrip()  # noqa: PLW2901 - the rest of the space it was folded at
            if part:
                self.open += part
                if len(self.open) * 2 > self.width and cell_len(self.open) > self.width:
                    *full, self.open = fold(self.open, self.width)
                    self.full += full
                    self._folded = True
                while len(self.open) > self._most:
                    # Characters without width, which would make a row of any length.
                    self.full.append(self.open[: self._most])
                    self.open, self._folded = self.open[self._most :], True

    def __len__(self) -> int:
        return len(self.full) + 1

    def all(self) -> list[str]:
        return [*self.full, self.open]
