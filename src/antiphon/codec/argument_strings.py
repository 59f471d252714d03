"""The content of a quoted string, copied as the content of a JSON string."""

from __future__ import annotations

import re
from typing import Final

from antiphon.codec.argument_codes import Repair

__all__ = ["CLOSING", "StringCopier"]

CLOSING: Final = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’"}
"""Quotes that models open strings with, and what closes each."""

_HEX2: Final = re.compile(r"[0-9a-fA-F]{2}")
_HEX4: Final = re.compile(r"[0-9a-fA-F]{4}")
_PLAIN: Final = {
    close: re.compile(rf'[^\\\x00-\x1f"{close}]+') for close in dict.fromkeys(CLOSING.values())
}
_CONTROL: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


class StringCopier:
    """Copies string content piece by piece, escaping what JSON wants escaped."""

    def __init__(self, text: str, close: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self.out: list[str] = []
        self.repairs: dict[Repair, None] = {}
        self.python = close == "'"
        self._plain = _PLAIN[close]

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def run_to_end(self) -> None:
        while not self.at_end():
            self.step()

    def step(self) -> None:
        """Copy a run of plain characters, one escape, one quote or one control character."""
        text, at = self.text, self.at
        if found := self._plain.match(text, at):
            self.out.append(found.group())
            self.at = found.end()
            return
        char = text[at]
        self.at = at + 1
        if char == "\\":
            self._escape()
        elif char == '"':
            self.out.append('\\"')
        elif char >= " ":
            self.out.append(char)
        else:
            self.repairs[Repair.CONTROL_CHARACTER] = None
            self.out.append(_CONTROL.get(char) or f"\\u{ord(char):04x}")

    def _escape(self) -> None:
        text, at = self.text, self.at
        if at >= len(text):
            return
        char = text[at]
        if char in '"\\/bfnrt':
            self.out.append("\\" + char)
            self.at = at + 1
        elif char == "u":
            if digits := _HEX4.match(text, at + 1):
                self.out.append("\\u" + digits.group())
                self.at = at + 5
            elif len(text) - at <= 4:
                self.at = len(text)
            else:
                self._literal_backslash()
        elif char == "x" and self.python and (digits := _HEX2.match(text, at + 1)):
            self.repairs[Repair.ESCAPE] = None
            self.out.append("\\u00" + digits.group())
            self.at = at + 3
        elif char in "'`":
            self.repairs[Repair.ESCAPE] = None
            self.out.append(char)
            self.at = at + 1
        else:
            self._literal_backslash()

    def _literal_backslash(self) -> None:
        self.repairs[Repair.ESCAPE] = None
        self.out.append("\\\\")
