"""Text in, machine symbols out: marked text, where control tokens are spelled out."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from antiphon.codec.state import Machine
from antiphon.vocab.control import CONTROL_IDS

__all__ = ["MarkedText", "find_control"]

CONTROL: Final = re.compile(
    r"<\|(?:start|end|message|channel|constrain|return|call|startoftext|endoftext|reserved_\d{6})\|>"
)


def find_control(text: str) -> bool:
    """Whether any control token is spelled out in the text."""
    return any(found.group() in CONTROL_IDS for found in CONTROL.finditer(text))


@cache
def _prefixes() -> frozenset[str]:
    return frozenset(name[:i] for name in CONTROL_IDS for i in range(1, len(name)))


def hold_back(text: str) -> int:
    """Where the part of ``text`` begins that may be the start of a control token's name."""
    at = text.rfind("<")
    return at if at >= 0 and text[at:] in _prefixes() else len(text)


class MarkedText:
    """Finds control tokens in a stream of text; at most 18 characters wait for the next chunk."""

    __slots__ = ("_machine", "held", "position")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.held = ""
        self.position = 0

    def feed(self, chunk: str) -> None:
        text = self.held + chunk
        done = 0
        for found in CONTROL.finditer(text):
            token = CONTROL_IDS.get(found.group())
            if token is not None:
                self._pass_on(text[done : found.start()])
                done = found.end()
                start, self.position = self.position, self.position + done - found.start()
                self._machine.control(token, start, self.position)
        keep = hold_back(text)
        self._pass_on(text[done:keep])
        self.held = text[keep:]

    def eof(self) -> None:
        self._pass_on(self.held)
        self.held = ""
        self._machine.eof(self.position)

    def _pass_on(self, text: str) -> None:
        if text:
            start, self.position = self.position, self.position + len(text)
            self._machine.text(text, start, self.position)
