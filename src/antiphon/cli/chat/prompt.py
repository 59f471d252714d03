"""Where the person writes: several lines, a history, and pastes of any size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from antiphon.cli.chat.history import History

__all__ = ["Prompt"]

MAX_PASTED: Final = 32 * 1024 * 1024
"""Characters of a paste that are taken."""
SHOWN_CHARS: Final = 1_000
SHOWN_LINES: Final = 8
"""A paste that is larger is shown as one word and sent whole."""

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NEW_LINE: Final = frozenset({"ctrl+j", "shift+enter", "alt+enter", "ctrl+enter"})


class Prompt(TextArea):
    """Enter sends; Ctrl+J, or a backslash before Enter, begins a line."""

    DEFAULT_CSS = """
    Prompt, Prompt:focus {
        height: auto;
        min-height: 1;
        max-height: 8;
        border: none;
        padding: 0;
        background: ansi_default;
        scrollbar-size-vertical: 1;
    }
    Prompt .text-area--cursor-line { background: ansi_default; }
    Prompt .text-area--cursor {
        text-style: reverse;
        color: ansi_default;
        background: ansi_default;
    }
    Prompt .text-area--placeholder { text-style: dim; color: ansi_default; }
    """

    @dataclass
    class Sent(Message):
        """The person is done writing."""

        text: str

    @dataclass
    class Ended(Message):
        """Ctrl+D in an empty prompt."""

    def __init__(self, history: History, *, commands: Sequence[str] = ()) -> None:
        super().__init__(
            soft_wrap=True,
            show_line_numbers=False,
            tab_behavior="focus",
            highlight_cursor_line=False,
            compact=True,
        )
        self.cursor_blink = False
        self.typed = 0
        """Counts what is typed, so that others can tell when a person is typing."""
        self._history = history
        self._commands = commands
        self._pasted: dict[str, str] = {}

    # What is written.

    @property
    def whole(self) -> str:
        """The text, with what was pasted in its place."""
        text = self.text
        if not self._pasted:
            return text
        names = "|".join([re.escape(name) for name in self._pasted])
        return re.sub(names, lambda found: self._pasted[found[0]], text)

    def put(self, text: str) -> None:
        """Show this instead of what was written."""
        self._pasted.clear()
        self.load_text(self._short(text))
        self.move_cursor(self.document.end)

    def take(self) -> str:
        """What was written; the prompt is empty then."""
        text = self.whole
        self.put("")
        return text

    def put_back(self, text: str) -> None:
        """It could not be used: it stands before what was written since."""
        self.put(text + self.whole)

    def _short(self, text: str) -> str:
        """What is shown of a text that was pasted."""
        text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))[:MAX_PASTED]
        lines = text.count("\n") + 1
        if len(text) <= SHOWN_CHARS and lines <= SHOWN_LINES:
            return text
        name = f"[paste {len(self._pasted) + 1}: {lines:,} lines, {len(text):,} characters]"
        self._pasted[name] = text
        return name

    # Keys.

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self.typed += 1
        self.insert(self._short(event.text))

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        handled = True
        if key == "enter":
            self._enter()
        elif key in _NEW_LINE:
            self.insert("\n")
        elif key == "up" and self._at_edge(top=True):
            self._show(self._history.older(self.whole))
        elif key == "down" and self._at_edge(top=False):
            self._show(self._history.newer())
        elif key == "ctrl+d" and not self.text:
            self.post_message(self.Ended())
        elif key == "tab":
            self._complete()
        else:
            if event.is_printable or key in ("backspace", "delete"):
                self.typed += 1
                self._history.leave()
            handled = not event.is_printable and await self._bound(key)
        if handled:
            event.prevent_default()
            event.stop()

    async def _bound(self, key: str) -> bool:
        """Do what a key is bound to here, now: Textual does it when letters that were typed behind
        it stand already.
        """
        for binding in self._bindings.key_to_bindings.get(key, ()):
            await self.run_action(binding.action)
            return True
        return False

    def _enter(self) -> None:
        row, column = self.cursor_location
        if column and self.document.get_line(row)[:column].endswith("\\"):
            self.replace("\n", (row, column - 1), (row, column))
            return
        if self.text:
            # At once: what is typed from now on is not part of it.
            self.post_message(self.Sent(self.take()))
        else:
            self.post_message(self.Sent(""))

    def _at_edge(self, *, top: bool) -> bool:
        if not self.selection.is_empty:
            return False
        if top:
            return self.navigator.is_first_wrapped_line(self.cursor_location)
        return self.navigator.is_last_wrapped_line(self.cursor_location)

    def _show(self, text: str | None) -> None:
        if text is not None:
            self.put(text)

    def _complete(self) -> None:
        """The rest of a command."""
        text = self.text
        if not text.startswith("/") or " " in text or "\n" in text:
            return
        found = [f"/{name}" for name in self._commands if f"/{name}".startswith(text)]
        if len(found) == 1:
            self.put(found[0] + " ")
        elif found:
            common = found[0]
            while not all(name.startswith(common) for name in found):
                common = common[:-1]
            self.put(common)
