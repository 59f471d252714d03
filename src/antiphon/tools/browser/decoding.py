"""Bytes of a page → text, whatever they say of themselves.

Only the encodings that pages are written in are used (WHATWG's list): Python knows others that are
slow, or that are no text.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

__all__ = ["decoded"]

_SNIFFED: Final = 1024
"""Bytes in which a page may name its encoding."""
_META: Final = re.compile(rb"""charset\s{0,8}=\s{0,8}["']?\s{0,8}([\w.:\-]{1,40})""", re.IGNORECASE)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LATIN: Final = "cp1252"
"""What pages mean when they say Latin 1 or ASCII."""
_OTHERS: Final = {
    "utf8": "utf-8",
    "ascii": _LATIN,
    "us-ascii": _LATIN,
    "iso-8859-1": _LATIN,
    "iso8859-1": _LATIN,
    "latin1": _LATIN,
    "l1": _LATIN,
    "utf-16": "utf-16-le",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "windows-31j": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "windows-949": "cp949",
    "tis-620": "cp874",
    "iso-8859-11": "cp874",
    "iso-8859-9": "cp1254",
    "latin5": "cp1254",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "ibm866": "cp866",
}
_SAME: Final = frozenset(
    "utf-8 gb18030 euc-jp iso-2022-jp koi8-r koi8-u cp866 cp932 cp949".split()
    + [f"windows-{n}" for n in (874, *range(1250, 1259))]
    + [f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)]
)


def decoded(body: bytes, charset: str | None, *, markup: bool = True) -> str:
    """The text: by its byte order mark, else what the server said, else what the page says, else
    UTF-8. Bytes that are none of it become U+FFFD.
    """
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    encoding = _known(charset) or ""
    if not encoding and markup and (said := _META.search(body, 0, _SNIFFED)):
        # What can be read as ASCII up to here is not UTF-16.
        encoding = _known(said[1].decode("ascii", "replace")) or ""
        encoding = "utf-8" if encoding.startswith("utf-16") else encoding
    return body.decode(encoding or "utf-8", "replace")


def _known(label: str | None) -> str | None:
    if label is None:
        return None
    label = label.strip().strip("\"'").lower()
    if label in _SAME:
        return label
    return _OTHERS.get(label)
