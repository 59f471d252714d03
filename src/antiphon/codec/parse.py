"""Batch parsing: a whole completion or transcript in, messages out.

Well-formed ids take a fast path: all tokens are joined to bytes in one call, in which control
tokens are markers that no valid UTF-8 holds, and messages are cut out at memory speed. Anything
else goes through `antiphon.codec.stream.Parser`; the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, overload

import msgspec

from antiphon.codec.events import (
    Diagnostic,
    Event,
    Header,
    MessageStart,
    Span,
    Stop,
    TextDelta,
)
from antiphon.codec.header import HeaderContext, read_header
from antiphon.codec.state import EARLY_TEXT_CHARS, MAX_HEADER_CHARS
from antiphon.codec.stream import Input, Parser, Tools
from antiphon.codec.text import find_control
from antiphon.codec.tooltable import ToolTable
from antiphon.model.content import TextContent
from antiphon.model.message import Conversation, Message, Role
from antiphon.vocab import spellings
from antiphon.vocab.control import CALL, END, RETURN

__all__ = ["MessageSpan", "Parsed", "fold", "parse"]


class MessageSpan(msgspec.Struct, frozen=True):
    """Where a message stands in the input: tokens for ids, code points for text.

    ``header`` runs from `<|start|>` to behind `<|message|>`, ``text`` covers the content without
    the stop token, ``fields`` the header's values: role, name, channel, recipient, content_type.
    """

    header: Span
    text: Span
    fields: dict[str, Span]


class Parsed(Sequence[Message]):
    """The messages of one input, and what is known about them.

    A sequence of messages; ``stops[i]`` is what ended message ``i``.
    """

    __slots__ = ("_diagnostics", "_replay", "_spans", "messages", "stops")

    def __init__(
        self,
        messages: list[Message],
        stops: list[Stop],
        diagnostics: list[Diagnostic] | None = None,
        spans: list[MessageSpan] | None = None,
        replay: _Replay | None = None,
    ) -> None:
        self.messages = messages
        self.stops = stops
        self._diagnostics = diagnostics
        self._spans = spans
        self._replay = replay

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """What had to be mended, in input order."""
        return self._diagnostics or []

    @property
    def spans(self) -> list[MessageSpan]:
        """Where each message stands in the input. Worked out on first use."""
        if self._spans is None:
            assert self._replay is not None
            self._spans = self._replay.run().spans
        return self._spans

    @property
    def conversation(self) -> Conversation:
        return Conversation(tuple(self.messages))

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        return self.messages[index]

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __repr__(self) -> str:
        return f"Parsed({self.messages!r}, stops={[s.value for s in self.stops]!r})"


class _Replay(msgspec.Struct):
    """What the stream parser needs to go over an input again."""

    source: Sequence[int] | str
    role: Role | None
    tools: ToolTable | None
    strict: bool
    input: Input

    def run(self) -> Parsed:
        parser = Parser(role=self.role, tools=self.tools, strict=self.strict, input=self.input)
        events = [*parser.feed(self.source), *parser.eof()]
        return fold(events)


def parse(
    source: Sequence[int] | str,
    *,
    role: Role | str | None = None,
    tools: Tools = None,
    strict: bool = False,
    input: Input = "auto",
) -> Parsed:
    """Parse ids, marked text or stripped text as a whole.

    ``role``: the role the prompt already names; for a completion, `Role.ASSISTANT`. ``tools``: the
    recipients on offer; None accepts every recipient. ``input``: ``auto`` takes text without any
    control token as stripped if it looks like it. Never raises on what a model wrote, unless
    ``strict``: then `ParseError` where the reference's strict mode raises.
    """
    given = None if role is None else Role(role)
    table = tools if tools is None or isinstance(tools, ToolTable) else ToolTable(tools)
    if isinstance(source, str):
        if input == "auto":
            input = _detect(source)
    elif strict and input in ("auto", "ids"):
        return _parse_strictly(source, given)
    elif input in ("auto", "ids", "hybrid"):
        parsed = _parse_well_formed(source, given, table)
        if parsed is not None:
            return parsed
    return _Replay(source, given, table, strict, input).run()


def fold(events: Sequence[Event]) -> Parsed:
    """Messages, stops, diagnostics and spans out of a parser's events.

    A message that has not ended yet is left out.
    """
    messages: list[Message] = []
    stops: list[Stop] = []
    diagnostics: list[Diagnostic] = []
    spans: list[MessageSpan] = []
    start: MessageStart | None = None
    text: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            text.append(event.text)
        elif isinstance(event, MessageStart):
            start, text = event, []
        elif isinstance(event, Diagnostic):
            diagnostics.append(event)
        elif start is not None:
            messages.append(_message(start.header, "".join(text)))
            stops.append(event.stop)
            spans.append(MessageSpan(start.span, event.span, start.fields))
    return Parsed(messages, stops, diagnostics, spans)


def _message(header: Header, text: str) -> Message:
    return Message(
        header.author,
        (TextContent(text),),
        header.channel,
        header.recipient,
        header.content_type,
    )


def _detect(text: str) -> Input:
    if find_control(text):
        return "marked"
    from antiphon.codec.stripped import looks_stripped

    return "stripped" if looks_stripped(text) else "marked"


def _parse_strictly(ids: Sequence[int], role: Role | None) -> Parsed:
    from antiphon.codec.strict import parse_strict

    read = parse_strict(ids, role)
    return Parsed(
        [_message(message.header, message.text) for message in read],
        [_STOPS_BY_ID[message.stop] for message in read],
        replay=_Replay(ids, role, None, True, "ids"),
    )


# The fast path.

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
_STOPS_BY_ID: Final = {END: Stop.END, RETURN: Stop.RETURN, CALL: Stop.CALL, None: Stop.EOF}
_MEMO_ENTRIES: Final = 4096
_HeaderKey = tuple[bytes, Role | None, bool]
_HEADERS: Final[dict[_HeaderKey, Header | None]] = {}
"""Headers read without any diagnostic, without a tool table; None for those that need care."""


def _parse_well_formed(
    ids: Sequence[int], role: Role | None, tools: ToolTable | None
) -> Parsed | None:
    """The result if every message is well formed, None if the stream parser has to do it."""
    data = spellings.join(ids)
    if data is None:
        return None
    headers = _HEADERS if tools is None else {}
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
            messages.append(_message(header, body.decode()))
            stops.append(_STOPS[stop])
    except UnicodeDecodeError:
        return None
    return Parsed(messages, stops, replay=_Replay(ids, role, tools, False, "ids"))


def _clean_header(key: _HeaderKey, tools: ToolTable | None) -> Header | None:
    """The header if it reads without any diagnostic."""
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
