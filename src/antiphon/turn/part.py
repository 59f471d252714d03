"""How a turn is read, and one part of it while it is open."""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.api.turn import PartKind
from antiphon.codec.events import Header
from antiphon.model.content import TextContent
from antiphon.model.message import Author, Message, Role
from antiphon.turn.arguments import ArgumentStream
from antiphon.turn.custom_input import InputStream
from antiphon.turn.offer import OfferedTool
from antiphon.turn.stops import StopStrings

__all__ = ["FoldOptions", "Part"]

_ASSISTANT: Final = Author(Role.ASSISTANT)
_CHANNELS: Final = {
    PartKind.REASONING: "analysis",
    PartKind.PREAMBLE: "commentary",
    PartKind.ANSWER: "final",
}


class FoldOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one turn is read."""

    stops: tuple[str, ...] = ()
    adopt: bool = True
    structured: bool = False
    """The answer is one JSON value: there is one answer."""
    hold_answer: bool = False
    """Whether answers wait in `TurnFold.held` until they were checked."""
    hold_calls: frozenset[str] = frozenset()
    """Recipients whose calls wait likewise."""
    opening: str | None = None
    """The characters a structured answer may begin with; one that does not is held after all."""
    logprobs: bool = False


class Part:
    """The open part."""

    __slots__ = (
        "call_id",
        "foreign",
        "header",
        "kept",
        "kind",
        "raw",
        "reader",
        "started",
        "texts",
        "tool",
    )

    def __init__(self, kind: PartKind, header: Header) -> None:
        self.kind = kind
        self.header = header
        self.tool: OfferedTool | None = None
        self.call_id: str | None = None
        self.reader: StopStrings | ArgumentStream | InputStream | None = None
        self.started = False
        self.foreign = False
        self.texts: list[str] = []
        """What was passed on."""
        self.raw: list[str] | None = None
        """What waits until it is clear what it is."""
        self.kept = False
        """Whether it waits for the end of the message."""

    def message(self, text: str) -> Message:
        """What was said, as it will be rendered when it comes back as history."""
        header, tool = self.header, self.tool
        if tool is None:
            kind = header.content_type if self.kind is PartKind.ANSWER else None
            return Message(_ASSISTANT, (TextContent(text),), _CHANNELS[self.kind], None, kind)
        channel = "analysis" if header.channel == "analysis" else "commentary"
        if isinstance(self.reader, InputStream):
            text = msgspec.json.encode({"input": text}).decode()
        content = (TextContent(text),)
        return Message(_ASSISTANT, content, channel, tool.recipient, header.content_type)
