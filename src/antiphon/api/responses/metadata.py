"""``metadata``: what clients write on what is kept for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from antiphon.errors import MessageError

__all__ = ["MAX_KEY_CHARS", "MAX_PAIRS", "MAX_VALUE_CHARS", "check_metadata"]

MAX_PAIRS: Final = 16
MAX_KEY_CHARS: Final = 64
MAX_VALUE_CHARS: Final = 512
"""All three are OpenAI's limits."""


def check_metadata(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """Raises MessageError if there is too much of it."""
    if not given:
        return {}
    if len(given) > MAX_PAIRS:
        raise MessageError(
            f"metadata: has {len(given)} entries, the limit is {MAX_PAIRS}", field="metadata"
        )
    for key, value in given.items():
        if len(key) > MAX_KEY_CHARS:
            raise MessageError(
                f"metadata: a key has {len(key)} characters, the limit is {MAX_KEY_CHARS}",
                field="metadata",
            )
        if len(value) > MAX_VALUE_CHARS:
            raise MessageError(
                f"metadata.{key}: has {len(value)} characters, the limit is {MAX_VALUE_CHARS}",
                field=f"metadata.{key}",
            )
    return given
