"""Ids and keys in a form that every database takes.

They may come from clients: PostgreSQL refuses the character 0, and neither database has a place for
half of a surrogate pair.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

__all__ = ["original_text", "stored_key", "stored_text"]

_MARK: Final = "\x01"
_LONG_MARK: Final = "\x02"
_AWKWARD: Final = re.compile("[\x00\ud800-\udfff]|\\A[\x01\x02]")
_LONGEST_KEY: Final = 400
"""Characters. An entry of PostgreSQL's indices has room for 2,700 bytes."""


def stored_text(text: str) -> str:
    """``text`` itself nearly always; else an escaped form that no other text has."""
    if _AWKWARD.search(text) is None:
        return text
    return _MARK + text.encode("unicode_escape").decode("ascii")


def stored_key(text: str) -> str:
    """`stored_text` of a key, or a hash that stands for a long one: it need not be read back."""
    if len(text) > _LONGEST_KEY:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{_LONG_MARK}{digest}"
    return stored_text(text)


def original_text(stored: str) -> str:
    """What `stored_text` was given."""
    if not stored.startswith(_MARK):
        return stored
    return stored[1:].encode("ascii").decode("unicode_escape")
