"""Ids and text of a prompt or a raw output as one marked text, for people."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.vocab.control import control_name, is_control
from antiphon.vocab.table import token_bytes

__all__ = ["as_text"]


def as_text(parts: Iterable[int | str]) -> str:
    """Control tokens by name, everything else as it reads. What is not UTF-8 becomes U+FFFD."""
    pieces: list[str] = []
    data = bytearray()
    for part in parts:
        if isinstance(part, int) and not is_control(part):
            data += token_bytes(part) or b""
            continue
        pieces.append(data.decode("utf-8", "replace"))
        data.clear()
        pieces.append(control_name(part) if isinstance(part, int) else part)
    pieces.append(data.decode("utf-8", "replace"))
    return "".join(pieces)
