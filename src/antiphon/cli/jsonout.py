"""Messages as JSON, written while the input is still being read.

Neither a message nor the list of messages is ever held whole: the text of a message is written as
it comes, what is known only at its end follows it. Every message has the keys of the canonical form
(so that ``antiphon render`` reads it), and then

    stop          what ended it: a stop token, ``restart`` or ``eof``
    span          [start, stop) of its header and its text in the input
    fields        [start, stop) of each header value
    diagnostics   what had to be mended in it, or between it and the message before

Spans count tokens if the input was ids, else characters.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.cli.terminal import Terminal
from antiphon.codec.events import Diagnostic, Event, MessageEnd, MessageStart, Span, TextDelta

__all__ = ["MAX_DIAGNOSTICS", "JsonWriter"]

MAX_DIAGNOSTICS: Final = 1000
"""Kept for one message. What is beyond is counted in ``diagnostics_omitted``."""

_ENCODE: Final = msgspec.json.Encoder().encode


class JsonWriter:
    """Events → one object ``{"messages": [...]}``, or with ``lines`` one message a line."""

    def __init__(self, terminal: Terminal, *, lines: bool) -> None:
        self._write = terminal.write
        self._lines = lines
        self._count = 0
        self._header: Span | None = None
        self._fields: dict[str, list[int]] = {}
        self._diagnostics: list[dict[str, Any]] = []
        self._omitted = 0
        if not lines:
            self._write('{"messages":[')

    def event(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._write(_ENCODE(event.text).decode()[1:-1])
        elif isinstance(event, MessageStart):
            self._start(event)
        elif isinstance(event, MessageEnd):
            self._end(event)
        else:
            self._diagnostic(event)

    def finish(self, error: Exception | None = None) -> None:
        """Close what is open, also after an ``error`` in the input, so that it stays JSON."""
        if self._header is not None:
            self._write(f'"}}],{self._details({"span": {"header": _span(self._header)}})}')
        rest: dict[str, Any] = self._take_diagnostics()
        if error is not None:
            rest["error"] = str(error)
        if not self._lines:
            self._write("\n]" if self._count else "]")
            self._write(f",{_inner(rest)}}}\n" if rest else "}\n")
        elif rest:
            self._write(f"{_json(rest)}\n")

    def _start(self, event: MessageStart) -> None:
        header = event.header
        known = {
            "role": header.role,
            "name": header.name,
            "channel": header.channel,
            "recipient": header.recipient,
            "content_type": header.content_type,
        }
        if not self._lines:
            self._write(",\n" if self._count else "\n")
        self._count += 1
        self._header = event.span
        self._fields = {name: _span(span) for name, span in event.fields.items()}
        fields = _inner({k: v for k, v in known.items() if v is not None})
        self._write(f'{{{fields},"content":[{{"type":"text","text":"')

    def _end(self, event: MessageEnd) -> None:
        assert self._header is not None
        span = {"header": _span(self._header), "text": _span(event.span)}
        self._write(f'"}}],{self._details({"stop": event.stop, "span": span})}')
        self._header = None
        if self._lines:
            self._write("\n")

    def _details(self, known: dict[str, Any]) -> str:
        return _inner({**known, "fields": self._fields, **self._take_diagnostics()}) + "}"

    def _diagnostic(self, event: Diagnostic) -> None:
        if len(self._diagnostics) == MAX_DIAGNOSTICS:
            self._omitted += 1
            return
        self._diagnostics.append(
            {
                "code": event.code,
                "rule": event.rule,
                "span": _span(event.span),
                "detail": event.detail,
            }
        )

    def _take_diagnostics(self) -> dict[str, Any]:
        taken: dict[str, Any] = {}
        if self._diagnostics:
            taken["diagnostics"] = self._diagnostics
        if self._omitted:
            taken["diagnostics_omitted"] = self._omitted
        self._diagnostics, self._omitted = [], 0
        return taken


def _span(span: Span) -> list[int]:
    return [span.start, span.stop]


def _json(value: Any) -> str:
    return _ENCODE(value).decode()


def _inner(value: dict[str, Any]) -> str:
    """The members of an object, without its braces."""
    return _json(value)[1:-1]
