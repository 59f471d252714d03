"""Ids and keys in a form that every database takes.

They may come from clients: PostgreSQL refuses the character 0, and neither database has a place for
half of a surrogate pair.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["original_text", "stored_text"]

_MARK: Final = "\x01"
_AWKWARD: Final = re.compile("[\x00\ud800-\udfff]|\\A\x01")


def stored_text(text: str) -> str:
    """``text`` itself nearly always; else an escaped form that no other text has."""
    if _AWKWARD.search(text) is None:
        return text
    return _MARK + text.encode("unicode_escape").decode("ascii")


def original_text(stored: str) -> str:
    """What `stored_text` was given."""
    if not stored.startswith(_MARK):
        return stored
    return stored[1:].encode("ascii").decode("unicode_escape")
