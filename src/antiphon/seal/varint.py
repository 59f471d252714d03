"""Variable-length integers (RFC 9000, section 16): two bits of length, 6 to 62 bits of value."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_VARINT", "read_varint", "varint"]

MAX_VARINT: Final = (1 << 62) - 1

_SHORT: Final = [bytes([n]) for n in range(0x40)]


def varint(value: int) -> bytes:
    """The shortest encoding. Raises OverflowError beyond 62 bits or below zero."""
    if 0 <= value < 0x40:
        return _SHORT[value]
    if 0 <= value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if 0 <= value <= MAX_VARINT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise OverflowError("a variable-length integer holds 0 to 2**62 - 1")


def read_varint(data: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """The integer at ``at`` and the position behind it; None if ``data`` ends before that.

    Longer encodings than needed are allowed, as everywhere that uses this format.
    """
    if at >= len(data):
        return None
    length = 1 << (data[at] >> 6)
    end = at + length
    if end > len(data):
        return None
    if length == 1:
        return data[at], end
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * length - 2)) - 1), end
