"""What the parser says: message starts, text, message ends, and what it had to mend.

Spans count in the parser's own input unit: tokens for ids, code points for text.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from antiphon.model.message import Author, Role

__all__ = [
    "Diagnostic",
    "Event",
    "Header",
    "MessageEnd",
    "MessageStart",
    "Span",
    "Stop",
    "TextDelta",
]


class Span(msgspec.Struct, frozen=True, gc=False):
    """Half-open range ``[start, stop)`` of tokens or code points, from the start of the input."""

    start: int
    stop: int


class Stop(StrEnum):
    """What ended a message."""

    END = "<|end|>"
    RETURN = "<|return|>"
    CALL = "<|call|>"
    ENDOFTEXT = "<|endoftext|>"
    RESTART = "restart"
    """No stop token: the next header began."""
    EOF = "eof"
    """No stop token: the input ended."""


class Header(msgspec.Struct, frozen=True):
    """The fields of a message header, after recovery."""

    author: Author
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @property
    def role(self) -> Role:
        return self.author.role

    @property
    def name(self) -> str | None:
        return self.author.name


class MessageStart(msgspec.Struct, frozen=True):
    """A message begins. ``span`` covers its header; ``fields`` its values within the input."""

    header: Header
    span: Span
    fields: dict[str, Span]


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """The next piece of the open message's text. Never empty."""

    text: str


class MessageEnd(msgspec.Struct, frozen=True):
    """The open message is complete. ``span`` covers its text, without the stop token."""

    stop: Stop
    span: Span


class Diagnostic(msgspec.Struct, frozen=True):
    """Something the input should not have held, and the rule that was applied.

    ``code`` is stable and listed in docs/recovery.md, ``rule`` is R1 to R8 there, ``detail`` is
    what was seen. Diagnostics never carry text that is not also in a message, but for white space
    and control tokens.
    """

    code: str
    rule: str
    span: Span
    detail: str


Event = MessageStart | TextDelta | MessageEnd | Diagnostic
