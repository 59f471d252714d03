"""What stands in the transcript: blocks of rows, each of which knows how it looks in a width."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from antiphon.cli.chat.markdown import MarkdownText
from antiphon.cli.chat.wrapping import Rows, clean

__all__ = ["PLAIN", "SIGNS", "Answer", "Block", "Call", "Note", "Question", "Signs", "Thinking"]

MAX_RESULT: Final = 12
"""Rows of a result that are shown before somebody asks for more."""
MAX_ROWS: Final = 2_000
"""Rows of a result that are shown at all."""
MAX_KEPT: Final = 400_000
"""Characters of a result, or of a tool's output, that are kept to be shown."""
MAX_LIVE: Final = 8
"""Rows of what a tool says while it works: the last ones."""

BOLD: Final = Style(bold=True)
DIM: Final = Style(dim=True)
RED: Final = Style(color="red")
GREEN: Final = Style(color="green")
YELLOW: Final = Style(color="yellow")
THOUGHT: Final = Style(dim=True, italic=True)
USER: Final = Style(color="cyan", bold=True)


class Signs(NamedTuple):
    """What marks blocks."""

    prompt: str
    opened: str
    closed: str
    bar: str
    call: str
    more: str


SIGNS: Final = Signs("›", "▾", "▸", "│", "●", "…")
PLAIN: Final = Signs(">", "v", ">", "|", "*", "...")
"""For terminals that have ASCII only."""


def row(text: str, style: Style | None = None) -> Strip:
    return Strip([Segment(text, style)])


def pair(head: str, head_style: Style | None, text: str, style: Style | None = None) -> Strip:
    return Strip([Segment(head, head_style), Segment(text, style)])


class Block:
    """Rows. ``strips`` is what they were when `layout` was called last."""

    gap = 0
    """Blank rows before it."""

    def __init__(self, signs: Signs) -> None:
        self.signs = signs
        self.width = 0
        self.fresh = False
        """Whether the strips show the block as it is."""

    def layout(self, width: int) -> None:
        """Make the strips anew for this width."""
        if width != self.width:
            self.width = width
            self.resized()
        self.fresh = True

    def resized(self) -> None:
        """The width is another."""

    def __len__(self) -> int:
        raise NotImplementedError

    def strip(self, at: int) -> Strip:
        raise NotImplementedError

    def toggle(self, opened: bool | None = None) -> bool:
        """Open or close it; False for a block that cannot be."""
        return False


class _Listed(Block):
    """A block that is small enough to be made anew whenever it changes."""

    def __init__(self, signs: Signs) -> None:
        super().__init__(signs)
        self._strips: list[Strip] = []

    def layout(self, width: int) -> None:
        super().layout(width)
        self._strips = self.made()

    def made(self) -> list[Strip]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._strips)

    def strip(self, at: int) -> Strip:
        return self._strips[at]


class Note(_Listed):
    """A word of the program itself."""

    def __init__(self, signs: Signs, text: str, kind: Literal["note", "error", "text"]) -> None:
        super().__init__(signs)
        self._text = clean(text)
        self._style = {"note": DIM, "error": RED, "text": None}[kind]
        self.gap = 0 if kind == "note" else 1

    def made(self) -> list[Strip]:
        rows = Rows(self.width)
        rows.feed(self._text)
        return [row(text, self._style) for text in rows.all()]


class Question(_Listed):
    """What the person said."""

    gap = 1

    def __init__(self, signs: Signs, text: str) -> None:
        super().__init__(signs)
        self._text = clean(text)
        self.opened = False

    def made(self) -> list[Strip]:
        rows = Rows(self.width - 2)
        rows.feed(self._text[:MAX_KEPT])
        shown = rows.all()
        most = MAX_ROWS if self.opened else MAX_RESULT
        out = [
            pair(f"{self.signs.prompt} " if at == 0 else "  ", USER, text, BOLD)
            for at, text in enumerate(shown[:most])
        ]
        if len(shown) > most:
            out.append(row(f"  {self.signs.more} {len(shown) - most:,} more rows", DIM))
        return out

    def toggle(self, opened: bool | None = None) -> bool:
        self.opened = not self.opened if opened is None else opened
        self.fresh = False
        return True


class Thinking(Block):
    """What the model thinks: open while it does, closed when it is done."""

    def __init__(self, signs: Signs, *, opened: bool = True, keep: bool = False) -> None:
        super().__init__(signs)
        self.opened = opened
        self._keep = keep
        self._pieces: list[str] = []
        self._rows = Rows(78)
        self._strips: list[Strip] = []
        self._done = False
        self._cut = False
        self._seconds: float | None = None

    def feed(self, text: str) -> None:
        text = clean(text)
        self._pieces.append(text)
        self._rows.feed(text)
        self.fresh = False

    def end(self, *, seconds: float | None = None, complete: bool = True) -> None:
        self._done, self._seconds, self._cut = True, seconds, not complete
        if not self._keep:
            self.opened = False
        self.fresh = False

    def toggle(self, opened: bool | None = None) -> bool:
        self.opened = not self.opened if opened is None else opened
        self._keep = self.opened
        self.fresh = False
        return True

    def resized(self) -> None:
        text = "".join(self._pieces)
        self._pieces, self._strips = [text], []
        self._rows = Rows(self.width - 2)
        self._rows.feed(text)

    def layout(self, width: int) -> None:
        super().layout(width)
        bar = f"{self.signs.bar} "
        for text in self._rows.full[len(self._strips) :]:
            self._strips.append(pair(bar, DIM, text, THOUGHT))

    def __len__(self) -> int:
        if not self.opened:
            return 1
        return 1 + len(self._rows.full) + bool(self._rows.open.strip())

    def strip(self, at: int) -> Strip:
        if at == 0:
            sign = self.signs.opened if self.opened else self.signs.closed
            said = "thinking"
            if self._done:
                seconds = self._seconds or 0.0
                took = f" for {seconds:.1f} s" if seconds >= 0.05 else ""
                said = f"thought{took}{', cut off' if self._cut else ''}"
            return row(f"{sign} {said}", DIM)
        if at <= len(self._strips):
            return self._strips[at - 1]
        return pair(f"{self.signs.bar} ", DIM, self._rows.open, THOUGHT)


class Answer(Block):
    """Markdown to the user: an answer, or a word beside calls."""

    gap = 1

    def __init__(self, signs: Signs, *, plain: bool = False) -> None:
        super().__init__(signs)
        self._markdown = MarkdownText(78, bar="|" if signs is PLAIN else "▌", plain=plain)
        self._ended = False

    def feed(self, text: str) -> None:
        self._markdown.feed(text)
        self.fresh = False

    def end(self) -> None:
        self._ended = True
        self.fresh = False

    def resized(self) -> None:
        self._markdown.resize(self.width)

    def layout(self, width: int) -> None:
        super().layout(width)
        self._markdown.layout(ended=self._ended)

    def __len__(self) -> int:
        return len(self._markdown)

    def strip(self, at: int) -> Strip:
        return self._markdown.strip(at)


class Call(_Listed):
    """A call: what the model writes, what becomes of it."""

    def __init__(self, signs: Signs, tool: str) -> None:
        super().__init__(signs)
        self.tool = clean(tool)
        self.opened = False
        self._input: list[str] = []
        self._kept = 0
        self._output: list[str] = []
        self._said = 0
        self._state = "is being written"
        self._style = YELLOW
        self._result: str | None = None
        self._result_style: Style | None = DIM
        self._files: list[str] = []

    # What happens to it.

    def feed(self, text: str) -> None:
        if self._kept < MAX_KEPT:
            self._kept += len(text)
            self._input.append(clean(text))
        self.fresh = False

    def made_with(self, arguments: str) -> None:
        """The call is whole."""
        self._input, self._kept = [clean(arguments[:MAX_KEPT])], len(arguments)
        self.state("waits")

    def state(self, text: str, style: Style = YELLOW) -> None:
        self._state, self._style = clean(text), style
        self.fresh = False

    def output(self, text: str) -> None:
        if self._said < MAX_KEPT:
            self._said += len(text)
            self._output.append(clean(text))
        self.fresh = False

    def ended(self, text: str, *, failed: bool, refused: bool, seconds: float) -> None:
        if refused:
            self.state("refused", RED)
        else:
            took = f" in {seconds:.1f} s" if seconds >= 0.05 else ""
            self.state(f"{'failed' if failed else 'done'}{took}", RED if failed else GREEN)
        self._result = clean(text[:MAX_KEPT].strip("\n"))
        self._result_style = RED if failed else DIM
        self.fresh = False

    def left(self) -> None:
        """Nothing more will happen to it."""
        if self._result is None:
            self.state("interrupted", RED)
            self._result = ""

    def file(self, text: str) -> None:
        self._files.append(clean(text))
        self.fresh = False

    def toggle(self, opened: bool | None = None) -> bool:
        self.opened = not self.opened if opened is None else opened
        self.fresh = False
        return True

    # How it looks.

    def made(self) -> list[Strip]:
        width = self.width
        state = self._state
        head = f"{self.signs.call} {self.tool} "
        arguments = "".join(self._input)
        one_line = " ".join(arguments.split())
        space = width - cell_len(head) - cell_len(state) - 2
        fits = cell_len(one_line) <= space and "\n" not in arguments.strip()
        if not fits and not self.whole and self._result is not None:
            one_line = set_cell_size(one_line, max(0, space - 4)).rstrip() + self.signs.more
            fits = True
        out = [
            Strip(
                [
                    Segment(head, Style(bold=True, color=self._style.color)),
                    Segment(f"{one_line} " if fits and one_line else ""),
                    Segment(state, self._style),
                ]
            )
        ]
        if not fits:
            out += self._rows(arguments, None, MAX_ROWS)
        if self._result is None:
            if self._output:
                rows = Rows(width - 2)
                rows.feed("".join(self._output)[-MAX_LIVE * width * 4 :])
                said = rows.all()
                if not said[-1]:
                    said.pop()
                out += [self._barred(text, DIM) for text in said[-MAX_LIVE:]]
        elif self._result:
            out += self._rows(
                self._result, self._result_style, MAX_ROWS if self.opened else MAX_RESULT
            )
        out += [self._barred(text, GREEN) for text in self._files]
        return out

    @property
    def whole(self) -> bool:
        """Whether all of the arguments are to be seen."""
        return self.opened or self._result is None

    def _rows(self, text: str, style: Style | None, most: int) -> list[Strip]:
        rows = Rows(self.width - 2)
        rows.feed(text)
        shown = rows.all()
        out = [self._barred(line, style) for line in shown[:most]]
        if len(shown) > most:
            more = f"{self.signs.more} {len(shown) - most:,} more rows"
            out.append(self._barred(f"{more} (Ctrl+O)" if most == MAX_RESULT else more, DIM))
        return out

    def _barred(self, text: str, style: Style | None) -> Strip:
        return pair(f"{self.signs.bar} ", self._style, text, style)
