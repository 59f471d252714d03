"""From a command line to a chat on the screen, and back to the shell."""

from __future__ import annotations

import asyncio
import gc
import locale
import os
import sys
import time
from typing import Final

from antiphon.cli.agent_options import Given
from antiphon.cli.chat.talk import history_file, open_talk
from antiphon.cli.run_view import TextView
from antiphon.cli.running import NEEDED, need

__all__ = ["converse"]

COLOURLESS: Final = ("vt1", "vt2", "vt3", "vt4", "vt5", "ansi-m")
"""How the names of terminals without colours begin."""

FRAMES: Final = "TEXTUAL_FPS"
"""How Textual is told how often it may draw in a second; it draws only what changed."""
SWITCH: Final = 0.001
"""Seconds for which a thread of Python works while others wait."""


class _Told:
    """What is told while the chat is opened: on stderr, and then in the chat."""

    def __init__(self) -> None:
        self._view = TextView(sys.stdout, sys.stderr)
        self.notes: list[str] = []

    def progress(self, text: str) -> None:
        self._view.progress(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def end(self) -> None:
        """Leave no trace of what was waited for."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def converse(given: Given, *, mouse: bool) -> None:
    """Open everything, chat, and say how to go on. Raises what the command line reports."""
    need(NEEDED, "agent")
    _favour_keys()
    kept = asyncio.run(_converse(given, mouse=mouse))
    if kept is not None:
        sys.stderr.write(f"go on with: antiphon chat --resume {kept}\n")


def _favour_keys() -> None:
    """A key is to be on the screen at once, whatever the model writes meanwhile. Raises
    MissingExtraError.
    """
    # Textual reads and writes the terminal in threads of their own: they wait this long for their
    # turn while a frame is drawn.
    sys.setswitchinterval(SWITCH)
    mine = FRAMES not in os.environ
    if mine:
        os.environ[FRAMES] = "120"
    try:
        need(("textual", "textual.constants"), "tui")
    finally:
        if mine:
            del os.environ[FRAMES]


async def _converse(given: Given, *, mouse: bool) -> str | None:
    told = _Told()
    async with open_talk(given, told) as talk:
        told.end()
        from antiphon.cli.chat.app import ChatApp
        from antiphon.cli.chat.blocks import PLAIN, SIGNS
        from antiphon.cli.chat.history import History

        if os.environ.get("TERM", "").startswith(COLOURLESS):
            os.environ["NO_COLOR"] = "1"
        utf8 = locale.getpreferredencoding(do_setlocale=False).lower().replace("-", "") == "utf8"
        app = ChatApp(
            talk,
            History(history_file() if given.save else None),
            notes=tuple(told.notes),
            signs=SIGNS if utf8 and os.environ.get("TERM") != "vt100" else PLAIN,
            clock=time.monotonic,
        )
        told.note = app.note  # type: ignore[method-assign]  # from now on in the chat
        told.progress = app.progress  # type: ignore[method-assign]
        # What is there now stays: looking through it again and again would hold up keys.
        gc.collect()
        gc.freeze()
        await app.run_async(mouse=mouse)
        if app.fault is not None:
            raise app.fault
        return talk.session
