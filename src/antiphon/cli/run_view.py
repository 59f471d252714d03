"""How a run looks: the answer on stdout; thinking and tools on stderr, or all of it as JSON."""

from __future__ import annotations

from typing import Final, Protocol, TextIO

from antiphon.agent.citing import Footnotes
from antiphon.agent.events import (
    AgentEvent,
    Answer,
    ApprovalAsked,
    ApprovalGiven,
    CallInput,
    CallMade,
    CallStarted,
    Mended,
    PartBecame,
    PartEnded,
    Preamble,
    RunEnded,
    RunStarted,
    Thinking,
    ToolEnded,
    ToolPiece,
    encode_event,
)
from antiphon.api.citations import Sources
from antiphon.cli.blocks import counted
from antiphon.cli.errors import one_line
from antiphon.cli.terminal import Terminal, printable

__all__ = ["JsonView", "Notes", "RunView", "TextView"]

MAX_LINES: Final = 12
"""Lines of a result that are shown."""
MAX_LINE: Final = 200
"""Characters of arguments, and of a line of a result, that are shown."""


def _nothing(cursor: int, line: int) -> None:
    """Nothing can be cited."""


class Notes(Protocol):
    """Where is told what comes before a run, and what lies beside it."""

    def progress(self, text: str) -> None:
        """What is being waited for, before the run."""
        ...

    def note(self, text: str) -> None: ...


class RunView(Notes, Protocol):
    """What a run tells whoever watches."""

    sources: Sources
    """What the answer can cite; set before the run."""

    def event(self, event: AgentEvent) -> None: ...

    def ask(self, asked: ApprovalAsked, question: str) -> None:
        """Put a question to the person at the terminal; the answer is read elsewhere."""
        ...


class JsonView:
    """Every event as a line on stdout. What comes before the run is told on stderr."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.sources: Sources = _nothing
        self._out = out
        self._err = err

    def progress(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self._err.write(f"{printable(one_line(text))}\n")
        self._err.flush()

    def event(self, event: AgentEvent) -> None:
        self._out.write(encode_event(event).decode() + "\n")
        self._out.flush()

    def ask(self, asked: ApprovalAsked, question: str) -> None:
        raise NotImplementedError("nobody is asked where events are JSON")


class TextView:
    """For people: live on a terminal, whole lines in a pipe.

    The answer is written as it comes only where stdout is a terminal. In a pipe it is written when
    it is certain to be the answer, and nothing else is.
    """

    def __init__(self, out: TextIO, err: TextIO, *, quiet: bool = False) -> None:
        self._sources: Sources = _nothing
        self._footnotes = Footnotes(_nothing)
        self._out = Terminal(out)
        self._err = Terminal(err)
        self._quiet = quiet
        self._live = self._err.is_tty and not quiet
        self._waiting = False
        self._part = 0
        self._text: list[str] = []
        self._shown = ""
        """What of the answer stands on the terminal already."""
        self._open: Terminal | None = None
        """Where the cursor is behind text without a line feed."""

    @property
    def sources(self) -> Sources:
        return self._sources

    @sources.setter
    def sources(self, sources: Sources) -> None:
        self._sources, self._footnotes = sources, Footnotes(sources)

    # Before the run.

    def progress(self, text: str) -> None:
        if self._live:
            line = one_line(text)[: max(20, self._err.width - 1)]
            self._err.write(f"\r\x1b[K{self._err.style(line, 'dim')}")
            self._err.flush()
            self._waiting = True

    def note(self, text: str) -> None:
        if not self._quiet:
            self._say(one_line(text), "dim")

    # The run.

    def event(self, event: AgentEvent) -> None:
        if isinstance(event, Thinking | Preamble):
            self._words(event)
        elif isinstance(event, Answer):
            self._answer(event)
        elif isinstance(event, PartEnded):
            self._part_ended(event)
        elif isinstance(event, RunEnded):
            self._ended(event)
        elif self._quiet:
            pass
        elif isinstance(event, RunStarted):
            self._clear()
            kept = f", session {event.session}" if event.session else ""
            self.note(f"{event.model}, {event.engine}{kept}")
        elif isinstance(event, CallMade):
            arguments = _short(event.arguments)
            self._say(f"call {event.tool} {arguments}".rstrip(), "yellow")
        elif isinstance(event, ApprovalGiven):
            if not event.allowed:
                why = f": {one_line(event.reason)}" if event.reason else ""
                self._say(f"refused{why}", "red")
        elif isinstance(event, ToolPiece):
            self._piece(event)
        elif isinstance(event, ToolEnded):
            self._result(event)
        elif isinstance(event, PartBecame):
            self._shown = ""
        elif isinstance(event, Mended | CallStarted | CallInput):
            pass

    def ask(self, asked: ApprovalAsked, question: str) -> None:
        self._say(f"{asked.tool} wants to: {one_line(asked.summary)}", "bold")
        self._err.write(question)
        self._err.flush()

    def _words(self, event: Thinking | Preamble) -> None:
        if self._quiet:
            return
        if not self._live:
            self._text.append(event.text)
            return
        self._begin_part(event.part, self._err)
        style = "dim" if isinstance(event, Thinking) else "cyan"
        self._write(self._err, self._err.style(printable(event.text), style), event.text)

    def _answer(self, event: Answer) -> None:
        if not self._out.is_tty:
            return
        if event.part != self._part and self._shown:
            self._write(self._out, "\n\n", "\n\n")
            self._shown += "\n\n"
        self._begin_part(event.part, self._out)
        self._shown += event.text
        self._cited(self._footnotes.feed(event.text))

    def _cited(self, text: str) -> None:
        """Words of the answer, citations written as footnotes."""
        if text:
            self._write(self._out, printable(text), text)

    def _begin_part(self, part: int, where: Terminal) -> None:
        self._clear()
        if part != self._part:
            if self._open is not None and self._open is not where:
                self._end_line()
            self._part = part

    def _part_ended(self, event: PartEnded) -> None:
        text, self._text = "".join(self._text), []
        if text.strip() and not self._live:
            lines = printable(text.strip()).split("\n")
            self._say(f"{event.kind}: " + "\n  ".join(lines))
        elif event.kind != "answer":
            self._end_line()
        elif self._out.is_tty:
            self._cited(self._footnotes.end())

    def _piece(self, event: ToolPiece) -> None:
        if self._live:
            self._write(self._err, self._err.style(printable(event.text), "dim"), event.text)

    def _result(self, event: ToolEnded) -> None:
        self._end_line()
        if event.refused:
            return
        style = "red" if event.failed else "green"
        head = f"{'failed' if event.failed else 'result'} {event.tool}: "
        self._say(head + "\n  ".join(_lines(event.text)), style)
        for file in event.files:
            self._say(f"file {one_line(file.name)} ({len(file.data)} bytes)", style)

    def _ended(self, end: RunEnded) -> None:
        if self._out.is_tty:
            self._cited(self._footnotes.end())
        self._end_line()
        self._clear()
        if end.answer and end.reason != "cancelled" and end.answer != self._shown:
            footnotes = self._footnotes = Footnotes(self._sources)
            text = footnotes.feed(end.answer) + footnotes.end()
            text = printable(text) if self._out.is_tty else text
            self._out.write(text if text.endswith("\n") else text + "\n")
        for number, title, url in self._footnotes.notes() if end.reason != "cancelled" else ():
            # A page's own words: on one line, whatever they are.
            named = "" if title == url else f"{one_line(printable(title))[:MAX_LINE]} "
            before = "\n" if number == 1 else ""
            self._out.write(f"{before}[{number}] {named}{printable(url)}\n")
        self._out.flush()
        if end.reason not in ("answer", "cancelled"):
            self._say(f"antiphon run: {one_line(end.detail)}", "red")
        elif not self._quiet and end.reason == "answer":
            usage = end.usage
            self._say(
                f"{counted(end.turns, 'turn')}, {counted(end.calls, 'call')},"
                f" {counted(usage.prompt_tokens, 'token')} read,"
                f" {usage.completion_tokens:,} written, {end.seconds:.1f} s",
                "dim",
            )

    # Writing.

    def _write(self, where: Terminal, shown: str, text: str) -> None:
        where.write(shown)
        where.flush()
        self._open = None if text.endswith("\n") else where

    def _end_line(self) -> None:
        where, self._open = self._open, None
        if where is not None:
            where.write("\n")
            where.flush()

    def _clear(self) -> None:
        if self._waiting:
            self._err.write("\r\x1b[K")
            self._waiting = False

    def _say(self, text: str, *styles: str) -> None:
        self._end_line()
        self._clear()
        self._err.write(self._err.style(printable(text), *styles) + "\n")
        self._err.flush()


def _short(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…"


def _lines(text: str) -> list[str]:
    """The beginning of a result."""
    lines = text.strip("\n").split("\n", MAX_LINES)
    more = lines[MAX_LINES:]
    shown = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in lines[:MAX_LINES]]
    return [*shown, f"… and {more[0].count(chr(10)) + 1} more lines"] if more else shown
