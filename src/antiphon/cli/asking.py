"""Asking a person at the terminal whether a call may be made."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from antiphon.agent.approval import Ask, Decision
from antiphon.agent.events import ApprovalAsked
from antiphon.cli.run_view import RunView

__all__ = ["asker", "decision"]

_QUESTION: Final = "  allow? [y]es, [n]o, [a]lways for this tool, or why not: "
MAX_ANSWER: Final = 4096


def asker(view: RunView) -> Ask | None:
    """Asks on the terminal; None if nobody sits there."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    async def ask(asked: ApprovalAsked) -> Decision:
        view.ask(asked, _QUESTION)
        return decision(await _line(sys.stdin.fileno()))

    return ask


def decision(line: str) -> Decision:
    """What a person's line means. An empty one, and the end of the input, are a no."""
    word = line.strip()
    short = word.lower()
    if short in ("y", "yes"):
        return Decision(allowed=True)
    if short in ("a", "always"):
        return Decision(allowed=True, remember=True)
    if short in ("", "n", "no"):
        return Decision(allowed=False)
    return Decision(allowed=False, reason=word)


async def _line(descriptor: int) -> str:
    """The next line, without a thread that would outlive an interrupt."""
    loop = asyncio.get_running_loop()
    try:
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
    except NotImplementedError:  # Windows
        return await asyncio.to_thread(sys.stdin.readline)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    # A terminal gives whole lines.
    return os.read(descriptor, MAX_ANSWER).decode("utf-8", "replace")
