"""An answer in Markdown → strips of a screen, while it is written.

What is written so far ends in an open block: a paragraph, a list, a fence of code. Only that is
read again for each frame; blocks before it are final. A block that grows too long is cut at a line,
so that no answer costs more than its length.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme
from textual.strip import Strip

from antiphon.cli.chat.wrapping import clean

__all__ = ["MarkdownText", "strip_of"]

MAX_OPEN: Final = 1_500
"""Characters of a block that may be read again and again; a longer one is cut."""
MAX_MARKS: Final = 1_500
"""Characters that mean something to Markdown in one block; with more it is shown as it is, as
reading it might take very long."""

_MARKS: Final = re.compile(r"[\[\]*_`<~!(\\&>]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_THEME: Final = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "italic",
        "markdown.h6": "italic",
        "markdown.h7": "italic",
        "markdown.code": "cyan",
        "markdown.code_block": "cyan",
        "markdown.block_quote": "magenta",
        "markdown.list": "default",
        "markdown.item": "default",
        "markdown.item.bullet": "bold yellow",
        "markdown.item.number": "bold yellow",
        "markdown.hr": "dim",
        "markdown.link": "blue",
        "markdown.link_url": "underline blue",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


class _Heading(Heading):
    """At the left, without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _Code(CodeBlock):
    """In the terminal's own colours, on its own background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        yield Syntax(
            code, self.lexer_name, theme="ansi_dark", word_wrap=True, background_color="default"
        )


class _Markdown(Markdown):
    elements = {  # noqa: RUF012 - as rich has it
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }


@cache
def _console() -> Console:
    """It only lays out: what is written to the terminal is Textual's."""
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        theme=_THEME,
        width=80,
        height=24,
    )


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt().enable("strikethrough").enable("table")


def strip_of(segments: list[Segment]) -> Strip:
    """A row. Markdown can spell any character by its number: none drives the terminal."""
    made = []
    for text, style, control in segments:
        if not control:
            if style is not None and (style.link or style.meta):
                style = style.update_link(None).clear_meta_and_links()
            made.append(Segment(clean(text), style))
    return Strip(made)


class MarkdownText:
    """Markdown in pieces; `strips` is how it looks in ``width`` cells."""

    def __init__(self, width: int, *, plain: bool = False) -> None:
        self._width = max(8, width)
        self._plain = plain
        """Whether it is shown as it is written."""
        self._pieces: list[str] = []
        self._open = ""
        """The block that is not final, and what came behind it."""
        self._prefix = ""
        """What makes the rest of a block that was cut a block of its own."""
        self._final: list[Strip] = []
        self._tail: list[Strip] = []
        self._gap = False
        """Whether a blank row is due before the next block."""

    @property
    def source(self) -> str:
        return "".join(self._pieces)

    def feed(self, text: str) -> None:
        """Add text as the model wrote it. Call `layout` when it is to be seen."""
        text = clean(text)
        self._pieces.append(text)
        self._open += text

    def layout(self, *, ended: bool = False) -> None:
        """Bring the strips up to date."""
        while len(self._open) > MAX_OPEN:
            # Blocks that are whole leave from the front; the open one is cut if it is too long.
            head = self._open[:MAX_OPEN]
            at = self._settled(head) or self._cut(head)
            self._make_final(at)
        if at := self._settled(self._open):
            self._make_final(at)
        if ended and self._open:
            self._make_final(len(self._open))
        self._tail = self._blocks(self._open) if self._open.strip() else []

    @property
    def strips(self) -> list[Strip]:
        return [*self._final, *self._tail]

    def __len__(self) -> int:
        return len(self._final) + len(self._tail)

    def strip(self, row: int) -> Strip:
        final = len(self._final)
        return self._final[row] if row < final else self._tail[row - final]

    def resize(self, width: int) -> None:
        """Lay everything out anew."""
        again = MarkdownText(width, plain=self._plain)
        again._pieces, again._open = [self.source], self.source
        again.layout()
        self.__dict__.update(again.__dict__)

    def _settled(self, text: str) -> int:
        """Where the last block of ``text`` begins: what is before cannot change any more."""
        if self._plain:
            return text.rfind("\n") + 1
        source = self._prefix + text
        if "\n" not in text or _wild(source):
            return 0
        starts = [token.map[0] for token in _top(_reader().parse(source)) if token.map]
        if len(starts) < 2:
            return 0
        return max(0, _offset(source, starts[-1]) - len(self._prefix))

    def _cut(self, head: str) -> int:
        """Where to cut a block that is too long."""
        return head.rfind("\n") + 1 or head.rfind(" ") + 1 or len(head)

    def _make_final(self, at: int) -> None:
        done, self._open = self._open[:at], self._open[at:]
        prefix = "" if self._plain else _continued(self._prefix + done)
        self._final += self._blocks(done)
        self._gap = bool(self._final) and not prefix
        self._prefix = prefix

    def _blocks(self, text: str) -> list[Strip]:
        source = self._prefix + text
        console = _console()
        if self._plain or _wild(source):
            shown: Markdown | Text = Text(text.rstrip("\n"))
        else:
            shown = _Markdown(source, code_theme="ansi_dark", hyperlinks=False)
        options = console.options.update(width=self._width, height=None)
        rows = [
            list(row) for row in console.render_lines(shown, options, pad=False, new_lines=False)
        ]
        while rows and _blank(rows[0]):
            del rows[0]
        while rows and _blank(rows[-1]):
            del rows[-1]
        gap = [Strip([])] if self._gap and rows and not self._plain else []
        return [*gap, *[strip_of(row) for row in rows]]


def _blank(row: list[Segment]) -> bool:
    return not any(segment.text.strip() for segment in row)


def _wild(text: str) -> bool:
    """Whether a block might take very long to read."""
    return len(_MARKS.findall(text)) > MAX_MARKS


def _top(tokens: list[Token]) -> Iterator[Token]:
    return (token for token in tokens if token.level == 0 and token.nesting >= 0)


def _offset(text: str, line: int) -> int:
    at = 0
    for _ in range(line):
        at = text.index("\n", at) + 1
    return at


def _continued(done: str) -> str:
    """What the rest of ``done`` has to begin with, if its last block was cut within: the fence's
    first line, or a table's head.
    """
    if _wild(done):
        return ""
    last = next(iter(list(_top(_reader().parse(done)))[-1:]), None)
    if last is None or last.map is None:
        return ""
    lines = done[_offset(done, last.map[0]) :].split("\n")
    if last.type == "fence":
        closed = len(lines) > 1 and last.map[1] - last.map[0] > 1 and _closes(lines, last)
        return "" if closed else lines[0] + "\n"
    if last.type == "table_open" and done.endswith("\n") and lines[-2:] != ["", ""]:
        return "\n".join(lines[:2]) + "\n"
    return ""


def _closes(lines: list[str], fence: Token) -> bool:
    rows = [line for line in lines[1:] if line.strip()]
    if not rows:
        return False
    found = _FENCE.fullmatch(rows[-1].rstrip())
    return found is not None and found[1].startswith(fence.markup)
