"""What parsing a whole input gives: messages, stops, diagnostics and spans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

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
from antiphon.model.content import TextContent
from antiphon.model.message import Conversation, Message

__all__ = ["MessageSpan", "Parsed", "fold", "message_of"]


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
        replay: Callable[[], Parsed] | None = None,
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
            self._spans = self._replay().spans
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
            messages.append(message_of(start.header, "".join(text)))
            stops.append(event.stop)
            spans.append(MessageSpan(start.span, event.span, start.fields))
    return Parsed(messages, stops, diagnostics, spans)


def message_of(header: Header, text: str) -> Message:
    """The message that a header and its text make."""
    return Message(
        header.author,
        (TextContent(text),),
        header.channel,
        header.recipient,
        header.content_type,
    )
