"""How the demo looks: on a terminal, in a pipe, and as JSON lines."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from antiphon.codec.events import Diagnostic, Event, Header, MessageEnd, MessageStart, TextDelta
from antiphon.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["JsonView", "PlainView", "TerminalView", "View"]

_TITLE: Final = "A tiny gpt-oss, in llama.cpp's server on this computer. It is a test model."
_VISIBLE: Final = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}
"""Control characters → something to see: what a model writes must not steer a terminal."""


class View(Protocol):
    """What the demo tells whoever watches, in this order."""

    def preparing(self) -> AbstractContextManager[object]:
        """Around the time before the server runs; `progress` is called within."""
        ...

    def progress(self, what: str, done: float) -> None: ...

    def ready(self, model: str, url: str, seconds: float) -> None: ...

    def said(self, role: str, text: str) -> None:
        """The user or a tool says something, whole."""
        ...

    def event(self, event: Event) -> None:
        """The model says something, piece by piece."""
        ...

    def summary(self, line: str, numbers: dict[str, float]) -> None: ...


class PlainView:
    """Whole lines without colour, for pipes and files."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._text: list[str] = []
        self._what = ""

    def preparing(self) -> AbstractContextManager[object]:
        self._line(_TITLE)
        return nullcontext()

    def progress(self, what: str, done: float) -> None:
        if what != self._what:
            self._line(f"... {what}")
        self._what = what

    def ready(self, model: str, url: str, seconds: float) -> None:
        self._line(f"{model}, ready in {seconds:.1f} s at {url}")

    def said(self, role: str, text: str) -> None:
        if role == "user":
            self._line("")
        self._line(f"{role}: {text}")

    def event(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._text.append(event.text)
        elif isinstance(event, MessageStart):
            self._text = [f"{_label(event.header)}: "]
        elif isinstance(event, MessageEnd):
            self._line("".join(self._text))
        else:
            self._line(_remark(event))

    def summary(self, line: str, numbers: dict[str, float]) -> None:
        self._line("")
        self._line(line)

    def _line(self, text: str) -> None:
        self._out.write(text.translate(_VISIBLE).replace("\n", "\n  ") + "\n")
        self._out.flush()


class TerminalView:
    """Live and in colour. Needs rich."""

    def __init__(self, out: TextIO) -> None:
        try:
            from rich.console import Console
        except ModuleNotFoundError as error:
            raise MissingExtraError("rich", "local") from error
        self._console: Console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._style = ""

    def preparing(self) -> AbstractContextManager[object]:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._print(_TITLE + "\n", "bold")
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)
        return self._bar

    def progress(self, what: str, done: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, description=what, completed=done, total=1.0 if done else None
            )

    def ready(self, model: str, url: str, seconds: float) -> None:
        self._print(f"{model}, ready in {seconds:.1f} s at {url}\n", "dim")

    def said(self, role: str, text: str) -> None:
        user = role == "user"
        self._print(f"\n{role}: " if user else f"{role}: ", "bold blue" if user else "bold green")
        self._print(f"{text}\n", "" if user else "green")

    def event(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._print(event.text, self._style)
        elif isinstance(event, MessageStart):
            self._style = _style(event.header)
            self._print(f"{_label(event.header)}: ", f"bold {self._style}")
        elif isinstance(event, MessageEnd):
            self._print("\n", "")
        else:
            self._print(f"{_remark(event)}\n", "red")

    def summary(self, line: str, numbers: dict[str, float]) -> None:
        self._print(f"\n{line}\n", "dim")

    def _print(self, text: str, style: str) -> None:
        self._console.print(text.translate(_VISIBLE), style=style, end="", soft_wrap=True)


class JsonView:
    """Every step and every event as a line of JSON."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def preparing(self) -> AbstractContextManager[object]:
        return nullcontext()

    def progress(self, what: str, done: float) -> None:
        self._line("progress", what=what, done=round(done, 3))

    def ready(self, model: str, url: str, seconds: float) -> None:
        self._line("ready", model=model, url=url, seconds=round(seconds, 3))

    def said(self, role: str, text: str) -> None:
        self._line("said", role=role, text=text)

    def event(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._line("text", text=event.text)
        elif isinstance(event, MessageStart):
            header = event.header
            self._line(
                "start",
                role=header.role,
                channel=header.channel,
                recipient=header.recipient,
                content_type=header.content_type,
            )
        elif isinstance(event, MessageEnd):
            self._line("end", stop=event.stop)
        else:
            self._line("diagnostic", code=event.code, rule=event.rule, detail=event.detail)

    def summary(self, line: str, numbers: dict[str, float]) -> None:
        self._line("summary", **numbers)

    def _line(self, type: str, **fields: Any) -> None:
        self._out.write(json.dumps({"type": type, **fields}, ensure_ascii=False) + "\n")
        self._out.flush()


def _label(header: Header) -> str:
    label = header.channel or header.role
    return f"{label} to={header.recipient}" if header.recipient else label


def _style(header: Header) -> str:
    if header.recipient:
        return "yellow"
    return {"analysis": "italic bright_black", "commentary": "cyan"}.get(header.channel or "", "")


def _remark(event: Diagnostic) -> str:
    return f"[{event.code}: {event.detail}]"
