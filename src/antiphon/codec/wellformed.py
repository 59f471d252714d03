"""The fast path for ids: completions in which every message is well formed.

All tokens are joined to bytes in one call, in which control tokens are markers that no valid UTF-8
holds; messages are then cut out at memory speed. The result is the stream parser's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from antiphon.codec.events import Header, Stop
from antiphon.codec.parsed import message_of
from antiphon.model.message import Author, Message, Role
from antiphon.vocab import spellings

if TYPE_CHECKING:
    from antiphon.codec.tooltable import ToolTable

__all__ = ["read_well_formed"]

_PIECE: Final = re.compile(
    rb"(?:\xffS)?([^\xff]*(?:\xff[CJ][^\xff]*)*)\xffM([^\xff]*)(?:\xff([ERAT])|\Z)"
)
_STOPS: Final = {
    b"E": Stop.END,
    b"R": Stop.RETURN,
    b"A": Stop.CALL,
    b"T": Stop.ENDOFTEXT,
    None: Stop.EOF,
}
_MEMO_ENTRIES: Final = 4096
_HeaderKey = tuple[bytes, Role | None, bool]
_HEADERS: Final[dict[_HeaderKey, Header | None]] = {}
"""Headers read without any diagnostic, without a tool table; None for those that need care."""


def _usual_headers() -> dict[_HeaderKey, Header | None]:
    """The headers of every conversation: with them a cold process needs no header reader."""
    usual: dict[_HeaderKey, Header | None] = {}
    authors = {role: Author(role) for role in Role}
    for channel in ("analysis", "commentary", "final"):
        marked = spellings.CHANNEL + channel.encode()
        header = Header(authors[Role.ASSISTANT], channel)
        for first in (True, False):
            usual[b"assistant" + marked, None, first] = header
        usual[marked, Role.ASSISTANT, True] = header
    for role in (Role.SYSTEM, Role.DEVELOPER, Role.USER):
        for first in (True, False):
            usual[role.value.encode(), None, first] = Header(authors[role])
    return usual


def read_well_formed(
    ids: Sequence[int], role: Role | None, tools: ToolTable | None
) -> tuple[list[Message], list[Stop]] | None:
    """Messages and stops if every message is well formed, None if it takes the stream parser."""
    data = spellings.join(ids)
    if data is None:
        return None
    headers = _HEADERS if tools is None else tools.headers
    if not headers:
        headers.update(_usual_headers())
    messages: list[Message] = []
    stops: list[Stop] = []
    end = 0
    implied = role
    match = _PIECE.match
    try:
        while end < len(data):
            found = match(data, end)
            if found is None:
                return None
            started = data.startswith(b"\xffS", end)
            end = found.end()
            raw, body, stop = found.groups()
            key = (raw, None if started else implied or Role.ASSISTANT, not messages)
            if not started and messages:
                return None
            try:
                header = headers[key]
            except KeyError:
                header = headers[key] = _clean_header(key, tools)
                if len(headers) > _MEMO_ENTRIES:
                    headers.clear()
            if header is None:
                return None
            messages.append(message_of(header, body.decode()))
            stops.append(_STOPS[stop])
    except UnicodeDecodeError:
        return None
    return messages, stops


def _clean_header(key: _HeaderKey, tools: ToolTable | None) -> Header | None:
    """The header if it reads without any diagnostic."""
    from antiphon.codec.header import HeaderContext, read_header
    from antiphon.codec.limits import EARLY_TEXT_CHARS, MAX_HEADER_CHARS

    raw, role, first = key
    text = spellings.named(raw).decode()
    if len(text) >= MAX_HEADER_CHARS:
        return None
    if role is not None:
        lead = text.partition("<|channel|>")[0]
        if len(lead) >= EARLY_TEXT_CHARS or lead.lstrip().startswith("<|constrain|>"):
            return None
    reading = read_header(text, HeaderContext(role, True, first, tools))
    return None if reading.notes or reading.stray else reading.header
