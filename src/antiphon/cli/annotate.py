"""Parser events with what a person wants beside them: the raw header, and token counts.

Memory is bounded: of the input, only the last stretch that a header can cover is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from antiphon.cli.feeding import Chunk, InputKind
from antiphon.codec.events import (
    Diagnostic,
    Event,
    Header,
    MessageEnd,
    MessageStart,
    Span,
    Stop,
    TextDelta,
)
from antiphon.codec.state import MAX_HEADER_CHARS
from antiphon.vocab.table import token_bytes

if TYPE_CHECKING:
    from antiphon.cli.counting import TextEncoder

__all__ = ["Annotated", "Annotator", "Close", "ControlText", "Open", "Totals"]

_KEEP: Final = 4 * MAX_HEADER_CHARS


class Open(NamedTuple):
    """A message begins. ``raw`` is its header as the input had it, control tokens spelled out."""

    number: int
    header: Header
    raw: str
    tokens: int
    """Tokens of the header, control tokens included."""


class Close(NamedTuple):
    """A message ends. ``tokens`` counts its text."""

    stop: Stop
    tokens: int


class ControlText(NamedTuple):
    """A control token in the text of a message, spelled out."""

    text: str


class Totals(NamedTuple):
    """The whole input."""

    messages: int
    tokens: int
    diagnostics: int


Annotated = Open | TextDelta | ControlText | Close | Diagnostic


class Annotator:
    """Turns events into annotated ones. ``exact`` says whether the counts are the input's own.

    Without ``counting`` the counts are 0 for text, which saves loading the tokenizer.
    """

    def __init__(self, kind: InputKind, *, counting: bool = True) -> None:
        self.exact = kind != "stripped"
        self.totals = Totals(0, 0, 0)
        self._ids = kind == "ids"
        self._encodes = counting and not self._ids
        self._window: Chunk = [] if self._ids else ""
        self._window_start = 0
        self._encoder: TextEncoder | None = None
        self._body = 0
        self._spelled_out = False

    def saw(self, chunk: Chunk) -> None:
        """Note the raw input, before its events are annotated."""
        if self._ids:
            messages, tokens, diagnostics = self.totals
            self.totals = Totals(messages, tokens + len(chunk), diagnostics)
        excess = len(self._window) - _KEEP
        if excess > 0:
            self._window = self._window[excess:]
            self._window_start += excess
        self._window += chunk  # type: ignore[operator]

    def annotate(self, events: Iterable[Event]) -> Iterator[Annotated]:
        for event in events:
            if isinstance(event, TextDelta):
                yield self._text(event)
            elif isinstance(event, MessageStart):
                yield self._open(event)
            elif isinstance(event, MessageEnd):
                yield self._close(event)
            else:
                messages, tokens, diagnostics = self.totals
                self.totals = Totals(messages, tokens, diagnostics + 1)
                self._spelled_out = event.code == "control-token-in-content"
                yield event

    def _open(self, event: MessageStart) -> Open:
        self._body = 0
        raw = self._raw(event.span)
        tokens = event.span.stop - event.span.start if self._ids else 0
        if self._encodes:
            from antiphon.cli.counting import encode_marked

            tokens = sum(1 for _ in encode_marked(raw if self.exact else _marked(event.header)))
        messages, total, diagnostics = self.totals
        self.totals = Totals(messages + 1, total + (0 if self._ids else tokens), diagnostics)
        return Open(messages + 1, event.header, raw, tokens)

    def _close(self, event: MessageEnd) -> Close:
        tokens = event.span.stop - event.span.start if self._ids else 0
        if self._encodes:
            tokens = self._body + len(self._text_encoder().finish())
        messages, total, diagnostics = self.totals
        if not self._ids:
            stop = 0 if event.stop in (Stop.EOF, Stop.RESTART) else 1
            self.totals = Totals(messages, total + tokens + stop, diagnostics)
        return Close(event.stop, tokens)

    def _text(self, delta: TextDelta) -> TextDelta | ControlText:
        if self._spelled_out:
            # The delta after this diagnostic is the control token itself: one token.
            self._spelled_out = False
            if self._encodes:
                self._body += len(self._text_encoder().finish()) + 1
            return ControlText(delta.text)
        if self._encodes:
            self._body += len(self._text_encoder().feed(delta.text))
        return delta

    def _text_encoder(self) -> TextEncoder:
        if self._encoder is None:
            from antiphon.cli.counting import TextEncoder

            self._encoder = TextEncoder()
        return self._encoder

    def _raw(self, span: Span) -> str:
        start = max(span.start - self._window_start, 0)
        piece = self._window[start : span.stop - self._window_start]
        if isinstance(piece, str):
            return piece
        return b"".join([token_bytes(token) or b"" for token in piece]).decode("utf-8", "replace")


def _marked(header: Header) -> str:
    """The header as the model would have written it, for input that has lost its control tokens."""
    text = f"<|start|>{header.name or header.role}"
    if header.channel:
        text += f"<|channel|>{header.channel}"
    if header.recipient:
        text += f" to={header.recipient}"
    if header.content_type:
        text += f" {header.content_type}"
    return text + "<|message|>"
