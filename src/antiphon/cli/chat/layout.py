"""Markdown's tokens → rows of a screen.

Not rich's Markdown: laying out a table or a list of some pages takes it a quarter of a second, and
an answer is laid out again for each frame while it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from markdown_it.token import Token
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from antiphon.cli.chat.code import Row, cut_runs, highlighted

__all__ = ["Continued", "lay_out"]

LEAST_WIDTH: Final = 8
"""Cells that a block has at least, however deep it is nested."""
LEAST_COLUMN: Final = 3

BOLD: Final = Style(bold=True)
DIM: Final = Style(dim=True)
ITALIC: Final = Style(italic=True)
STRUCK: Final = Style(strike=True)
CODE: Final = Style(color="cyan")
LINK: Final = Style(underline=True)
ADDRESS: Final = Style(dim=True)
MARKER: Final = Style(color="yellow", bold=True)
QUOTE: Final = Style(color="magenta")
_HEADINGS: Final = {
    "h1": Style(bold=True, underline=True, color="yellow"),
    "h2": Style(bold=True, underline=True),
    "h3": BOLD,
}

Run = tuple[str, Style | None]


class Continued(NamedTuple):
    """How the first block goes on from one that was cut: the number of the next item of a list, the
    widths of a table's columns.
    """

    number: int | None = None
    columns: tuple[int, ...] = ()


def lay_out(
    tokens: Sequence[Token], width: int, *, bar: str = "▌", continued: Continued | None = None
) -> tuple[list[Row], Continued]:
    """The rows, and how what comes behind would go on."""
    layout = _Layout(tokens, bar, continued)
    return layout.blocks(0, len(tokens), width), Continued(layout.number, layout.columns)


class _Layout:
    def __init__(self, tokens: Sequence[Token], bar: str, continued: Continued | None) -> None:
        self._tokens = tokens
        self._bar = f"{bar} "
        self._ascii = bar.isascii()
        self._continued = continued
        self.number: int | None = None
        self.columns: tuple[int, ...] = ()

    def blocks(self, at: int, end: int, width: int, *, item: bool = False) -> list[Row]:
        """The blocks from ``at`` to ``end``."""
        width = max(LEAST_WIDTH, width)
        rows: list[Row] = []
        kinds = {
            "paragraph_open": self._paragraph,
            "heading_open": self._heading,
            "bullet_list_open": self._list,
            "ordered_list_open": self._list,
            "blockquote_open": self._quote,
            "table_open": self._table,
        }
        before = ""
        while at < end:
            token = self._tokens[at]
            close = self._close(at)
            lay: Callable[[int, int, int], list[Row]] | None = kinds.get(token.type)
            if lay is not None:
                made = lay(at, close, width)
            elif token.type in ("fence", "code_block"):
                language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
                made = highlighted(token.content.rstrip("\n"), language, width)
            elif token.type == "hr":
                made = [[Segment(("-" if self._ascii else "─") * width, DIM)]]
            else:
                made = cut_runs([(token.content.rstrip("\n"), None)], width)
            loose = not item or (before == token.type == "paragraph_open" and not token.hidden)
            if made and rows and loose:
                rows.append([])
            rows += made
            before, at = token.type, close + 1
            self._continued = None
        return rows

    def _close(self, at: int) -> int:
        """The token that closes the one at ``at``, which may be itself."""
        if self._tokens[at].nesting != 1:
            return at
        depth = 0
        for n in range(at, len(self._tokens)):
            depth += self._tokens[n].nesting
            if depth == 0:
                return n
        return len(self._tokens) - 1

    def _paragraph(self, at: int, close: int, width: int) -> list[Row]:
        return cut_runs(_runs(self._tokens[at + 1]), width)

    def _heading(self, at: int, close: int, width: int) -> list[Row]:
        style = _HEADINGS.get(self._tokens[at].tag, BOLD)
        return cut_runs(_runs(self._tokens[at + 1], style), width)

    def _quote(self, at: int, close: int, width: int) -> list[Row]:
        rows = self.blocks(at + 1, close, width - 2)
        return [[Segment(self._bar, QUOTE), *row] for row in rows]

    def _list(self, at: int, close: int, width: int) -> list[Row]:
        ordered = self._tokens[at].type == "ordered_list_open"
        number = int(self._tokens[at].attrs.get("start", 1)) if ordered else 0
        if ordered and self._continued is not None and self._continued.number is not None:
            number = self._continued.number
        self._continued = None
        rows: list[Row] = []
        at += 1
        while at < close:
            end = self._close(at)
            marker = f"{number}. " if ordered else "* " if self._ascii else "• "
            inner = self.blocks(at + 1, end, width - len(marker), item=True) or [[]]
            rows.append([Segment(marker, MARKER), *inner[0]])
            indent = Segment(" " * len(marker))
            rows += [[indent, *row] if row else row for row in inner[1:]]
            number, at = number + 1, end + 1
        self.number = number if ordered else None
        return rows

    # Tables.

    def _table(self, at: int, close: int, width: int) -> list[Row]:
        table: list[list[list[Run]]] = []
        for n in range(at, close):
            token = self._tokens[n]
            if token.type == "tr_open":
                table.append([])
            elif token.type == "inline" and table:
                table[-1].append(_runs(token, None if len(table) > 1 else BOLD))
        columns = self._continued.columns if self._continued is not None else ()
        head = 0 if not columns else 1
        if not columns:
            columns = _columns(table, width)
        self.columns = columns
        rows: list[Row] = []
        for number, cells in enumerate(table[head:], head):
            rows += _table_row(cells, columns)
            if number == 0:
                dash = "-" if self._ascii else "─"
                rows.append([Segment("  ".join([dash * c for c in columns]), DIM)])
        return rows


def _columns(table: list[list[list[Run]]], width: int) -> tuple[int, ...]:
    """How wide each column is: what it needs, or its share."""
    count = max((len(cells) for cells in table), default=0)
    needs = [LEAST_COLUMN] * count
    for cells in table:
        for n, runs in enumerate(cells):
            needs[n] = max(needs[n], sum(cell_len(text) for text, _ in runs))
    space = width - 2 * (count - 1)
    while sum(needs) > space and max(needs) > LEAST_COLUMN:
        # The widest give way first: those that are narrow lose most by it.
        widest = max(needs)
        second = max([need for need in needs if need < widest], default=LEAST_COLUMN)
        number = needs.count(widest)
        least = max(second, widest - -(-(sum(needs) - space) // number), LEAST_COLUMN)
        needs = [least if need == widest else need for need in needs]
    return tuple(needs)


def _table_row(cells: list[list[Run]], columns: tuple[int, ...]) -> list[Row]:
    folded = [cut_runs(runs, width) for runs, width in zip(cells, columns, strict=False)]
    rows: list[Row] = []
    for n in range(max((len(cell) for cell in folded), default=0)):
        row: Row = []
        for number, (cell, width) in enumerate(zip(folded, columns, strict=False)):
            shown = cell[n] if n < len(cell) else []
            row += shown
            if number < len(folded) - 1:
                used = sum(segment.cell_length for segment in shown)
                row.append(Segment(" " * (max(0, width - used) + 2)))
        rows.append(row)
    return rows


# Words.


def _runs(inline: Token, base: Style | None = None) -> list[Run]:
    """Words with their styles. What a link leads to stands behind it."""
    runs: list[Run] = []
    styles: list[Style | None] = [base]
    links: list[tuple[str, int]] = []

    def push(style: Style) -> None:
        top = styles[-1]
        styles.append(style if top is None else top + style)

    for token in inline.children or ():
        kind = token.type
        if kind == "softbreak":
            runs.append((" ", styles[-1]))
        elif kind == "hardbreak":
            runs.append(("\n", None))
        elif kind == "code_inline":
            runs.append((token.content, CODE if styles[-1] is None else styles[-1] + CODE))
        elif kind in _MARKS:
            push(_MARKS[kind])
        elif kind == "link_open":
            push(LINK)
            links.append((str(token.attrs.get("href", "")), len(runs)))
        elif token.nesting == -1 and len(styles) > 1:
            styles.pop()
            if kind == "link_close" and links:
                address, begin = links.pop()
                if address and address != "".join([text for text, _ in runs[begin:]]):
                    runs.append((f" ({address})", ADDRESS))
        elif kind == "image":
            runs.append((f"[{token.content}]", styles[-1]))
            runs.append((f" ({token.attrs.get('src', '')})", ADDRESS))
        else:
            runs.append((token.content, styles[-1]))
    return runs


_MARKS: Final = {"strong_open": BOLD, "em_open": ITALIC, "s_open": STRUCK}
