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

_HEADER: Final = re.compile(rb"(?:\xffS)?[^\xff]*(?:\xff[CJ][^\xff]*)*")
_STOPS: Final = {
    spellings.END[1]: Stop.END,
    spellings.RETURN[1]: Stop.RETURN,
    spellings.CALL[1]: Stop.CALL,
    spellings.ENDOFTEXT[1]: Stop.ENDOFTEXT,
}
_STOP_BY_LETTER: Final = [_STOPS.get(letter) for letter in range(256)]
_MEMO_ENTRIES: Final = 4096
_MEMO_LONGEST: Final = 700
"""Bytes of a header that is remembered; a model's are shorter."""
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
    find = data.find
    eof = Stop.EOF
    try:
        while end < size:
            begin = find(b"\xffM", end)
            if begin < 0:
                return None
            raw = data[end:begin]
            begin += 2
            end = find(b"\xff", begin)
            if end < 0:
                body = data[begin:]
                stop = eof
                end = size
            else:
                body = data[begin:end]
                known = _STOP_BY_LETTER[data[end + 1]]
                if known is None:
                    return None
                stop = known
                end += 2
            try:
                header = headers[raw]
            except KeyError:
                header = _clean_header(raw, place, tools)
                if len(raw) <= _MEMO_LONGEST:
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
            stops.append(stop)
            place = None
            headers = memo[None]
    except UnicodeDecodeError:
        return None
    return messages, stops


def _clean_header(raw: bytes, place: _Place, tools: ToolTable | None) -> Header | None:
    """The header if it reads without any diagnostic."""
    from antiphon.codec.header import HeaderContext, read_header
    from antiphon.codec.limits import EARLY_TEXT_CHARS, MAX_HEADER_CHARS

    if _HEADER.fullmatch(raw) is None:
        return None
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
