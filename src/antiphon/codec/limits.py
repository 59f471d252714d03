"""The parser's named limits. Both count characters of held text."""

from __future__ import annotations

from typing import Final

__all__ = ["EARLY_TEXT_CHARS", "MAX_HEADER_CHARS"]

MAX_HEADER_CHARS: Final = 4096
"""A header longer than this is text whose `<|message|>` never came. Real ones are below 700."""

EARLY_TEXT_CHARS: Final = 64
"""Text outside a message that does not start like a header is released after this many."""
