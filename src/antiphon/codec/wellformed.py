"""The fast path for ids: completions in which every message is well formed.

All tokens are joined to bytes in one call, in which control tokens are markers that no valid UTF-8
holds; messages are then cut out at memory speed. The result is the stream parser's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from antiphon.codec.events import Header, Stop
from antiphon.model.content import TextContent
from antiphon.model.message import Author, Message, Role
from antiphon.vocab import spellings

if TYPE_CHECKING:
    from antiphon.codec.tooltable import ToolTable

__all__ = ["read_well_formed"]

_PIECE: Final = re.compile(
    rb"((?:\xffS)?[^\xff]*(?:\xff[CJ][^\xff]*)*)\xffM([^\xff]*)(?:\xff([ERAT])|\Z)"
)
_STOPS: Final = {
    b"E": Stop.END,
    b"R": Stop.RETURN,
    b"A": Stop.CALL,
    b"T": Stop.ENDOFTEXT,
    None: Stop.EOF,
}
_MEMO_ENTRIES: Final = 4096
_Place = Role | None
"""Where a header stands: first, in a prompt that names this role, or (None) after a message."""
HeaderMemo = dict[_Place, dict[bytes, Header | None]]
"""Place → spelled header → its fields if it reads without any diagnostic, None if it does not."""
_HEADERS: Final[HeaderMemo] = {}


def _usual_headers() -> HeaderMemo:
    """The headers of every conversation: with them a cold process needs no header reader."""
    usual: dict[bytes, Header | None] = {}
    authors = {role: Author(role) for role in Role}
    implied: dict[bytes, Header | None] = {}
    for channel in ("analysis", "commentary", "final"):
        marked = spellings.CHANNEL + channel.encode()
        header = Header(authors[Role.ASSISTANT], channel)
        usual[spellings.START + b"assistant" + marked] = header
        implied[marked] = header
    for role in (Role.SYSTEM, Role.DEVELOPER, Role.USER):
        usual[spellings.START + role.value.encode()] = Header(authors[role])
    memo: HeaderMemo = {role: usual.copy() for role in Role}
    memo[Role.ASSISTANT] |= implied
    memo[None] = usual
    return memo


def read_well_formed(
    ids: Sequence[int], role: Role | None, tools: ToolTable | None
) -> tuple[list[Message], list[Stop]] | None:
    """Messages and stops if every message is well formed, None if it takes the stream parser."""
    data = spellings.join(ids)
    if data is None:
        return None
    memo = _HEADERS if tools is None else tools.headers
    if not memo:
        memo.update(_usual_headers())
    place: _Place = role or Role.ASSISTANT
    headers = memo[place]
    messages: list[Message] = []
    stops: list[Stop] = []
    end = 0
    size = len(data)
    match = _PIECE.match
    try:
        while end < size:
            found = match(data, end)
            if found is None:
                return None
            raw, body, stop = found.groups()
            try:
                header = headers[raw]
            except KeyError:
                header = _clean_header(raw, place, tools)
                if len(headers) >= _MEMO_ENTRIES:
                    headers.clear()
                headers[raw] = header
            if header is None:
                return None
            messages.append(
                Message(
                    header.author,
                    (TextContent(body.decode()),),
                    header.channel,
                    header.recipient,
                    header.content_type,
                )
            )
            stops.append(_STOPS[stop])
            end = found.end()
            place = None
            headers = memo[None]
    except UnicodeDecodeError:
        return None
    return messages, stops


def _clean_header(raw: bytes, place: _Place, tools: ToolTable | None) -> Header | None:
    """The header if it reads without any diagnostic."""
    from antiphon.codec.header import HeaderContext, read_header
    from antiphon.codec.limits import EARLY_TEXT_CHARS, MAX_HEADER_CHARS

    started = raw.startswith(spellings.START)
    if not started and place is None:
        return None
    text = spellings.named(raw[len(spellings.START) :] if started else raw).decode()
    if len(text) >= MAX_HEADER_CHARS:
        return None
    role = None if started else place
    if role is not None:
        lead = text.partition("<|channel|>")[0]
        if len(lead) >= EARLY_TEXT_CHARS or lead.lstrip().startswith("<|constrain|>"):
            return None
    reading = read_header(text, HeaderContext(role, True, place is not None, tools))
    return None if reading.notes or reading.stray else reading.header
