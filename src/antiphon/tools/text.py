"""Text for the model and for people: kept to a limit, without what a terminal would obey."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["counted", "one_line", "shorten"]

MAX_LINE_CHARS: Final = 120
"""Longest summary of a call that a person is shown."""


def shorten(text: str, limit: int) -> str:
    """`text`, or its first two thirds and its end with a word between on what is missing."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    missing = counted(len(text) - limit, "character")
    return f"{text[:head]}\n[… {missing} left out …]\n{text[len(text) - tail :]}"


def counted(number: int, thing: str) -> str:
    """``1 line``, ``2,000 lines``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def one_line(text: str, limit: int = MAX_LINE_CHARS) -> str:
    """`text` as one line to show: control and direction characters become ``\\x1b`` and the like,
    so that what a person approves is what they see.
    """
    cut = text[:limit]
    shown = "".join(
        char if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escape(char)
        for char in cut
    )
    return shown + "…" if len(text) > limit else shown


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
