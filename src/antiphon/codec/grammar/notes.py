"""What a grammar is: its text, and what it could not express."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["MAX_NOTES", "GrammarText", "Note", "Notes"]

MAX_NOTES: Final = 100
"""Most notes kept for one grammar; a schema that earns more is told so in the last one."""


class Note(msgspec.Struct, frozen=True):
    """One keyword that was loosened.

    ``where`` is the place as a JSON pointer behind the recipient or ``final``, for example
    ``functions.find/properties/age``.
    """

    where: str
    keyword: str
    detail: str


class GrammarText(msgspec.Struct, frozen=True):
    """A grammar in one dialect. If there are notes, it accepts more than what is valid."""

    text: str
    notes: tuple[Note, ...] = ()


class Notes:
    """Collects notes, each once, up to MAX_NOTES."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str, str], None] = {}

    def add(self, where: str, keyword: str, detail: str) -> None:
        if len(self._notes) < MAX_NOTES - 1:
            self._notes[where, keyword, detail] = None
        else:
            self._notes["", "", "there are more places than are listed here"] = None

    def done(self) -> tuple[Note, ...]:
        return tuple([Note(*note) for note in self._notes])
