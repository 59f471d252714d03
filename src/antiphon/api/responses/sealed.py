"""What is inside ``encrypted_content``, before it is sealed and after it is opened.

The label keeps a sealed thought from being taken for a sealed compaction.
"""

from __future__ import annotations

from typing import Final

__all__ = ["compaction_text", "pack_compaction", "pack_reasoning", "reasoning_text"]

_REASONING: Final = b"reasoning\n"
_COMPACTION: Final = b"compaction\n"


def pack_reasoning(text: str) -> bytes:
    """A thought, ready to be sealed."""
    return _REASONING + text.encode("utf-8", "replace")


def pack_compaction(text: str) -> bytes:
    """The summary of what came before, ready to be sealed."""
    return _COMPACTION + text.encode("utf-8", "replace")


def reasoning_text(data: bytes | None) -> str | None:
    """The thought; None if it is something else."""
    return _unpack(data, _REASONING)


def compaction_text(data: bytes | None) -> str | None:
    """The summary; None if it is something else."""
    return _unpack(data, _COMPACTION)


def _unpack(data: bytes | None, label: bytes) -> str | None:
    if data is None or not data.startswith(label):
        return None
    return data[len(label) :].decode("utf-8", "replace")
