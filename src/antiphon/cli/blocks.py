"""A transcript as people want to see it: one block a message, notes where something was mended.

    #2 assistant  channel=commentary  to=functions.f  type=<|constrain|>json  (header: 12 tokens)
       <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>
     ! R2 repeated-channel at 74..84: 'commentary'
     │ {"city": "Oslo"}
       <|call|> (text: 6 tokens)

Text flows as it comes. A note stands in the margin under the line that it belongs to.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from antiphon.cli.annotate import Annotated, Close, ControlText, Open, Totals
from antiphon.cli.terminal import Terminal, printable
from antiphon.codec.events import Diagnostic, Header, Stop, TextDelta

__all__ = ["MAX_NOTES", "BlockWriter", "counted", "ending", "header_values", "note"]

MAX_NOTES: Final = 100
"""Notes shown under one line; what is beyond is counted."""

_TEXT: Final = "  │ "
_NOTE: Final = "  ! "
_ASIDE: Final = "    "
# Around a control token in a row. `printable` has escaped them in the text itself.
_SHADE: Final = "\x0e"
_UNSHADE: Final = "\x0f"
_MAX_DETAIL: Final = 200
_MIN_WIDTH: Final = 24
_ROLE_STYLES: Final = {
    "user": "cyan",
    "assistant": "green",
    "system": "magenta",
    "developer": "magenta",
    "tool": "yellow",
}


def header_values(header: Header) -> Iterator[tuple[str, str]]:
    """The values of a header by the names people know them by."""
    for label, value in (
        ("name", header.name),
        ("channel", header.channel),
        ("to", header.recipient),
        ("type", header.content_type),
    ):
        if value is not None:
            yield label, value


def note(diagnostic: Diagnostic) -> str:
    """A diagnostic in one line."""
    span, detail = diagnostic.span, diagnostic.detail
    where = f"{span.start}" if span.stop - span.start <= 1 else f"{span.start}..{span.stop}"
    text = f"{diagnostic.rule} {diagnostic.code} at {where}"
    if not detail:
        return text
    return f"{text}: {detail[:_MAX_DETAIL]!r}{'…' if len(detail) > _MAX_DETAIL else ''}"


def ending(stop: Stop) -> str:
    """What ended a message, for people."""
    if stop is Stop.EOF:
        return "no stop token: the input ends"
    if stop is Stop.RESTART:
        return "no stop token: the next message begins"
    return stop.value


def counted(count: int, noun: str) -> str:
    """``1 token``, ``2 tokens``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class BlockWriter:
    """Annotated events → blocks on the terminal. ``full`` adds raw headers, counts and totals."""

    def __init__(self, terminal: Terminal, *, full: bool, exact: bool = True) -> None:
        self._write = terminal.write
        self._style = terminal.style
        self._color = terminal.color
        self._full = full
        self._about = "" if exact else "about "
        self._width = max(terminal.width - len(_TEXT), _MIN_WIDTH) if terminal.width else 0
        self._row = ""
        self._row_open = False
        self._notes: list[Diagnostic] = []
        self._more_notes = 0

    def event(self, event: Annotated) -> None:
        if isinstance(event, TextDelta):
            self._text(printable(event.text))
        elif isinstance(event, ControlText):
            self._text(f"{_SHADE}{event.text}{_UNSHADE}" if self._color else event.text)
        elif isinstance(event, Diagnostic):
            if len(self._notes) < MAX_NOTES:
                self._notes.append(event)
            else:
                self._more_notes += 1
        elif isinstance(event, Open):
            self._open(event)
        else:
            self._close(event)

    def finish(self, totals: Totals) -> None:
        """The input is over."""
        if self._row_open:
            self._end_row()
        self._print_notes()
        if self._full:
            shown = ", ".join(
                (
                    counted(totals.messages, "message"),
                    self._about + counted(totals.tokens, "token"),
                    counted(totals.diagnostics, "diagnostic"),
                )
            )
            self._write(f"{self._style(shown, 'bold')}\n")

    def _open(self, event: Open) -> None:
        role = event.header.role
        parts = [f"#{event.number} {self._style(role, 'bold', _ROLE_STYLES[role])}"]
        parts += [
            f"{self._style(f'{label}=', 'dim')}{printable(value)}"
            for label, value in header_values(event.header)
        ]
        if self._full:
            tokens = f"(header: {self._about}{counted(event.tokens, 'token')})"
            parts.append(self._style(tokens, "dim"))
        self._write("  ".join(parts) + "\n")
        if self._full and event.raw.strip():
            self._write(f"{_ASIDE}{self._style(_one_row(event.raw), 'dim')}\n")
        self._print_notes()

    def _close(self, event: Close) -> None:
        if self._row_open:
            self._end_row()
        self._print_notes()
        if self._full or event.stop is not Stop.END:
            shown = ending(event.stop)
            if self._full:
                shown += f" (text: {self._about}{counted(event.tokens, 'token')})"
            self._write(f"{_ASIDE}{self._style(shown, 'dim')}\n")
        self._write("\n")

    def _print_notes(self) -> None:
        for diagnostic in self._notes:
            self._write(self._style(f"{_NOTE}{_one_row(note(diagnostic))}", "yellow") + "\n")
        if self._more_notes:
            self._write(self._style(f"{_NOTE}… and {self._more_notes:,} more", "yellow") + "\n")
        self._notes.clear()
        self._more_notes = 0

    def _text(self, text: str) -> None:
        first, *rest = text.split("\n")
        self._extend_row(first)
        for line in rest:
            self._end_row()
            self._extend_row(line)

    def _extend_row(self, text: str) -> None:
        """Add to the line of text that is being written; a terminal gets only whole rows."""
        if not self._width:
            if text:
                self._write(_shaded(text if self._row_open else _TEXT + text))
                self._row_open = True
            return
        self._row_open = True
        self._row += text.replace("\t", "    ")
        while (cut := _overflow(self._row, self._width)) is not None:
            self._write(f"{_TEXT}{_shaded(self._row[:cut])}\n")
            self._row = self._row[cut:]

    def _end_row(self) -> None:
        if self._width or not self._row_open:
            self._write(f"{_TEXT}{_shaded(self._row)}".rstrip(" "))
        self._write("\n")
        self._row, self._row_open = "", False
        self._print_notes()


def _shaded(row: str) -> str:
    """The row with its shade marks as escape sequences; a mark that is left open ends here."""
    if _SHADE not in row and _UNSHADE not in row:
        return row
    return row.replace(_SHADE, "\x1b[2m").replace(_UNSHADE, "\x1b[0m") + "\x1b[0m"


def _one_row(text: str) -> str:
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def _overflow(row: str, width: int) -> int | None:
    """Where to cut a row that is too wide: after a space near its end if there is one."""
    if len(row) * 2 <= width or (len(row) <= width and row.isascii()):
        return None
    cells = 0
    for i, character in enumerate(row):
        cells += _cells(character)
        if cells > width:
            space = row.rfind(" ", width // 2, i)
            return space + 1 if space >= 0 else max(i, 1)
    return None


def _cells(character: str) -> int:
    """Columns that a character takes on a terminal, near enough for wrapping."""
    if character in (_SHADE, _UNSHADE):
        return 0
    if character < "\u0300":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
