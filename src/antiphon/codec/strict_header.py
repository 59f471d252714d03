"""The reference library's reading of a message header, exactly (openai-harmony 0.0.8).

It works on decoded text, so ordinary tokens that spell a control token count as that token.
The steps, in its order: cut out the first channel marker and its value; put a space before every
constrain marker; split at ASCII white space; take the role, the recipient and the content type;
refuse what is left over.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from antiphon.codec.events import Header
from antiphon.codec.strict_decode import DecodeError, decode_utf8
from antiphon.model.message import Author, Role
from antiphon.vocab import spellings

__all__ = [
    "HEADERS_BY_BYTES",
    "HeaderError",
    "header_of_bytes",
    "header_of_ids",
    "read_header",
    "read_header_only",
]

_CHANNEL: Final = "<|channel|>"
_CONSTRAIN: Final = "<|constrain|>"
_WHITE_SPACE: Final = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space property. ``str.isspace`` also holds for U+001C to U+001F."""
_CHANNEL_END: Final = re.compile(f"[<{_WHITE_SPACE}]")
_words: Final = re.compile("[^ \t\n\x0c\r]+").findall
"""Words between ASCII white space, as Rust sees it: U+000B is none."""
_ROLES: Final = {role.value: role for role in Role}


class HeaderError(ValueError):
    """A header that the reference refuses; the text is the reference's."""


def _cut_channel(text: str) -> tuple[str | None, str]:
    """The first channel's name, and the words of the header without it as one string."""
    at = text.find(_CHANNEL)
    if at < 0:
        return None, _tidy(text)
    start = at + len(_CHANNEL)
    found = _CHANNEL_END.search(text, start)
    end = found.start() if found else len(text)
    if end == start:
        raise HeaderError("channel marker present but no channel value found in header")
    return text[start:end], _tidy(text[:at] + text[end:])


def _tidy(text: str) -> str:
    return text.strip(_WHITE_SPACE).replace(_CONSTRAIN, " " + _CONSTRAIN)


def read_header_only(text: str, role: Role) -> tuple[Header, str]:
    """A message that ended inside its header, and its text: the words but for role and channel.

    Raises HeaderError if the channel has no name.
    """
    channel, rest = _cut_channel(text)
    words = _words(rest)
    if words and words[0] == role.value:
        del words[0]
    return Header(Author(role), channel), " ".join(words)


def read_header(text: str, role: Role | None) -> Header:
    """The fields of a header. ``role`` is the role a caller fixed beforehand.

    Raises HeaderError where the reference raises.
    """
    channel, rest = _cut_channel(text)
    words = _words(rest)
    name = None
    if role is None:
        if not words:
            raise HeaderError("message header did not contain a role")
        role = _ROLES.get(words[0])
        if role is None:
            if len(words) == 1 and not words[0].startswith("to="):
                raise HeaderError(f"Unknown role: {words[0]}")
            role = Role.TOOL
        if role is Role.TOOL:
            name = words[0]
        del words[0]
    elif words and words[0] == role.value:
        del words[0]

    recipient = content_type = None
    if words:
        last = words.pop()
        if last.startswith("to="):
            recipient = last[3:]
        elif not words:
            recipient = last
        else:
            content_type = last
            recipient = words.pop().removeprefix("to=")
    if words:
        left = _quoted(" ".join(words))
        raise HeaderError(f"unexpected tokens remaining in message header: Some({left})")
    return Header(Author(role, name), channel, recipient, content_type)


_ESCAPES: Final = {"\0": "\\0", "\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\"}


def _quoted(text: str) -> str:
    """``text`` as the reference prints a string in an error.

    Characters that are younger than this Python's Unicode tables are shown escaped.
    """
    shown = [
        _ESCAPES.get(c)
        or (c if c.isprintable() and not _extends_grapheme(c) else f"\\u{{{ord(c):x}}}")
        for c in text
    ]
    return '"' + "".join(shown) + '"'


_SPACING_EXTENDERS: Final = re.compile(
    "[\u09be\u09d7\u0b3e\u0b57\u0bbe\u0bd7\u0cc0\u0cc2\u0cc7\u0cc8\u0cca\u0ccb\u0cd5\u0cd6\u0d3e\u0d57"
    "\u0dcf\u0ddf\u1715\u1734\u1b35\u1b3b\u1b3d\u1b43\u1b44\u1baa\u1bf2\u1bf3\u302e\u302f\ua953\ua9c0"
    "\uff9e\uff9f\U000111c0\U00011235\U0001133e\U0001134d\U00011357\U000114b0\U000114bd"
    "\U000115af\U000116b6\U00011930\U0001193d\U00016ff0\U00016ff1\U0001d165\U0001d166"
    "\U0001d16d-\U0001d172]"
)
"""Characters with Unicode's Grapheme_Extend that are not of category Mn or Me."""


def _extends_grapheme(char: str) -> bool:
    if char < "\u0300":
        return False
    return unicodedata.category(char) in ("Mn", "Me") or bool(_SPACING_EXTENDERS.match(char))


# Headers repeat: nearly all of a model's come from a handful.

_MEMO_LIMIT: Final = 4096
"""Headers remembered, of each kind."""
_MEMO_LONGEST: Final = 128
"""Longest header remembered, in tokens or bytes."""

HEADERS_BY_BYTES: Final[dict[Role | None, dict[bytes, Header]]] = {
    None: {},
    **{role: {} for role in Role},
}
"""What `header_of_bytes` remembers, for a caller to look into before he calls it."""
_by_ids: dict[tuple[Role | None, tuple[int, ...]], Header] = {}


def header_of_ids(ids: list[int], role: Role | None) -> Header:
    """The fields of a header of these tokens. Raises HeaderError where the reference raises."""
    key = (role, tuple(ids))
    header = _by_ids.get(key)
    if header is None:
        try:
            text = decode_utf8(ids)
        except DecodeError:
            raise HeaderError("could not decode header") from None
        header = read_header(text, role)
        if len(ids) <= _MEMO_LONGEST:
            if len(_by_ids) >= _MEMO_LIMIT:
                _by_ids.clear()
            _by_ids[key] = header
    return header


def header_of_bytes(joined: bytes, role: Role | None) -> Header | None:
    """The fields of a header as `spellings.join` gives it, None where the reference raises."""
    try:
        header = read_header(spellings.named(joined).decode(), role)
    except (HeaderError, UnicodeDecodeError):
        return None
    if len(joined) <= _MEMO_LONGEST:
        memo = HEADERS_BY_BYTES[role]
        if len(memo) >= _MEMO_LIMIT:
            memo.clear()
        memo[joined] = header
    return header
