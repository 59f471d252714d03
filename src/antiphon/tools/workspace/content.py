"""Bytes of a file as text, and back with the same marks and line ends."""

from __future__ import annotations

import codecs
from typing import Final

import msgspec

__all__ = ["Text", "decode", "is_binary"]

_SNIFF_BYTES: Final = 8192
_BOM: Final = codecs.BOM_UTF8
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Text(msgspec.Struct, frozen=True):
    """A text file."""

    text: str
    """Line ends are ``\\n``, whatever they are in the file."""
    crlf: bool = False
    encoding: str = "utf-8"

    def encode(self, text: str) -> bytes:
        """Another text in this file's encoding and with its line ends."""
        return (text.replace("\n", "\r\n") if self.crlf else text).encode(self.encoding)


def is_binary(data: bytes) -> bool:
    """Whether these are not the bytes of a text."""
    return b"\0" in data[:_SNIFF_BYTES] and not data.startswith(_WIDE)


def decode(data: bytes) -> Text | None:
    """The text, if it can be written back unchanged; None for anything else.

    A file with both kinds of line ends keeps them: its ``\\r`` are characters like others.
    """
    if is_binary(data):
        return None
    encoding = "utf-8"
    if data.startswith(_BOM):
        encoding = "utf-8-sig"
    elif data.startswith(_WIDE):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    crlf = text.count("\r\n")
    if crlf and crlf == text.count("\n") == text.count("\r"):
        return Text(text.replace("\r\n", "\n"), crlf=True, encoding=encoding)
    return Text(text, encoding=encoding)
