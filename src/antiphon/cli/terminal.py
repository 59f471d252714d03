"""How output looks: colour on a terminal that wants it, plain text anywhere else.

Colour is used if stdout is a terminal, NO_COLOR is not set and TERM is not ``dumb``. FORCE_COLOR
turns it on for a pipe.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Final, TextIO

__all__ = ["Terminal", "printable"]

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

# Line feed and tab are left alone. The rest of C0 and C1 could drive the terminal, bidirectional
# controls could make a line read as something else.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


def printable(text: str) -> str:
    """``text`` with characters that could drive or deceive a terminal spelled as escapes."""
    return _UNPRINTABLE.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


class Terminal:
    """Stdout, and what it can show."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self.is_tty = self._stream.isatty()
        self.color = _wants_color(is_tty=self.is_tty)
        self.width = shutil.get_terminal_size().columns if self.is_tty else 0
        """Columns; 0 for output that is not a terminal and must not be wrapped."""

    def write(self, text: str) -> None:
        self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def style(self, text: str, *styles: str) -> str:
        """``text`` in these styles, or as it is without colour."""
        if not self.color or not text or not styles:
            return text
        return f"\x1b[{';'.join([_STYLES[s] for s in styles])}m{text}\x1b[0m"


def _wants_color(*, is_tty: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_tty and os.environ.get("TERM") != "dumb"
