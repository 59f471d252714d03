# Invariants of the total parser, for fuzz/parse.py and tests/codec/test_parser_properties.py:
#
#   Whatever ids or text a model writes, under any role, any tool table and any kind of input,
#   1. parsing never raises (`strict=True`: only `ParseError`);
#   2. however the input is cut into chunks, the events are the same once neighbouring text deltas
#      are joined, and `parse`, which has a fast path of its own, gives the same messages;
#   3. events are well nested: a start, deltas that are never empty, an end; none is left open;
#   4. spans lie in the input, in order, and do not overlap;
#   5. nothing is lost: every character that is neither white space nor a control token stands in a
#      message's text, in a header field or under a diagnostic;
#   6. nothing is invented: the texts hold no character more often than the input does, and the text
#      of ordinary tokens behind `<|message|>` is exactly their bytes, decoded with replacement;
#   7. between chunks the parser holds no more than its documented limits.
"""What must hold for every input of the parser, as one function."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from antiphon.codec.events import Event, MessageEnd, MessageStart, Span, TextDelta
from antiphon.codec.limits import MAX_HEADER_CHARS
from antiphon.codec.parse import fold, parse
from antiphon.codec.stream import Input, Parser
from antiphon.codec.text import CONTROL
from antiphon.errors import ParseError
from antiphon.vocab.control import MESSAGE, ORDINARY_COUNT, is_control
from antiphon.vocab.table import token_bytes

__all__ = ["Case", "check", "events_of", "held"]

Source = list[int] | str

_TO = re.compile(r"to=")
_BLANK = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*")
"""What separates words in a header."""
_NO_RECIPIENT = re.compile(r"to=(?=\s|\Z|[{\[(\"'<])")

_HELD_LIMIT = MAX_HEADER_CHARS + 2048 + 256
"""A header, the stripped parser's window, a control token's name, part of a character."""


class Case(NamedTuple):
    """One input of the parser. ``cuts``: where to cut it, as distances that are used in turn."""

    source: Source
    input: Input
    role: str | None
    tools: tuple[str, ...] | None
    cuts: tuple[int, ...] = ()


def check(case: Case) -> list[Event]:
    """Raise AssertionError if ``case`` breaks an invariant. Returns its events."""
    whole = events_of(case, [case.source])
    by_item = events_of(case, case.source)
    assert by_item == whole, ("one by one", case)
    if case.cuts:
        assert events_of(case, _chunks(case.source, case.cuts)) == whole, ("cut", case)
    _check_batch(case, whole)
    _check_nesting(case, whole)
    _check_spans(case, whole)
    _check_nothing_lost(case, whole)
    _check_nothing_invented(case, whole)
    _check_strict(case)
    return whole


def events_of(case: Case, chunks: Iterable[Any]) -> list[Event]:
    """The events of a parser fed with ``chunks``, neighbouring deltas joined."""
    parser = Parser(role=case.role, tools=case.tools, input=case.input)
    events: list[Event] = []
    for chunk in chunks:
        events += parser.feed(chunk)
        assert held(parser) <= _HELD_LIMIT, ("holds too much", held(parser), case)
    events += parser.eof()
    return list(_joined(events))


def held(parser: Any) -> int:
    """Characters and bytes of input that the parser keeps."""
    machine, text = parser._machine, parser._text
    size = sum(len(atom.text) + 1 for atom in machine._atoms) + len(parser._pending)
    assert not machine.events
    return size + (len(text.held) if text is not None else 0)


def _joined(events: Iterable[Event]) -> Iterator[Event]:
    pending: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            assert event.text, "an empty delta"
            pending.append(event.text)
            continue
        if pending:
            yield TextDelta("".join(pending))
            pending = []
        yield event
    if pending:
        yield TextDelta("".join(pending))


def _chunks(source: Source, cuts: Sequence[int]) -> Iterator[Source]:
    at, turn = 0, 0
    while at < len(source):
        step = max(1, cuts[turn % len(cuts)])
        yield source[at : at + step]
        at, turn = at + step, turn + 1


def _check_batch(case: Case, events: list[Event]) -> None:
    # `parse` looks at the whole text to tell stripped from marked; the stream parser cannot.
    kind = "marked" if case.input == "auto" and isinstance(case.source, str) else case.input
    batch = parse(case.source, role=case.role, tools=case.tools, input=kind)
    streamed = fold(events)
    assert batch.messages == streamed.messages, ("batch messages", case)
    assert batch.stops == streamed.stops, ("batch stops", case)
    assert batch.diagnostics == streamed.diagnostics, ("batch diagnostics", case)
    assert batch.spans == streamed.spans, ("batch spans", case)
    if isinstance(case.source, str):
        parse(case.source, role=case.role, tools=case.tools)


def _check_nesting(case: Case, events: list[Event]) -> None:
    is_open = False
    for event in events:
        if isinstance(event, MessageStart):
            assert not is_open, ("nested", case)
            is_open = True
        elif isinstance(event, TextDelta):
            assert is_open, ("text outside a message", case)
        elif isinstance(event, MessageEnd):
            assert is_open, ("an end without a start", case)
            is_open = False
    assert not is_open, ("left open", case)


def _check_spans(case: Case, events: list[Event]) -> None:
    starts = [e for e in events if isinstance(e, MessageStart)]
    ends = [e for e in events if isinstance(e, MessageEnd)]
    spans = [e.span for e in events if not isinstance(e, TextDelta)]
    spans += [span for e in starts for span in e.fields.values()]
    for span in spans:
        assert 0 <= span.start <= span.stop <= len(case.source), ("span", span, case)
    for start, end in zip(starts, ends, strict=True):
        assert start.span.start <= end.span.start, ("text before its header", case)
        for span in start.fields.values():
            assert start.span.start <= span.start, ("field before its header", case)
            assert span.stop <= max(start.span.stop, end.span.stop), ("field after it", case)
    for end, start in zip(ends, starts[1:], strict=False):
        # Words that fit nowhere in a header are a message of their own, before that header's.
        inside = start.span.start <= end.span.start and end.span.stop <= start.span.stop
        assert inside or end.span.stop <= start.span.start, ("messages overlap", case)


def _units(source: Source) -> list[str]:
    """The input unit by unit, as text, with control tokens left out."""
    if isinstance(source, str):
        units = list(source)
        for found in CONTROL.finditer(source):
            units[found.start() : found.end()] = [""] * (found.end() - found.start())
        return units
    return ["" if is_control(i) or not 0 <= i < ORDINARY_COUNT else "x" for i in source]


def _check_nothing_lost(case: Case, events: list[Event]) -> None:
    if not isinstance(case.source, str):
        return  # the texts of ids are checked against those of the marked input
    units = list(case.source)
    if case.input != "stripped":
        units = _units(case.source)
    elsewhere = bytearray(len(units))
    for found in _NO_RECIPIENT.finditer(case.source):
        _mark(elsewhere, Span(*found.span()))
    texts: list[tuple[Span, str]] = []
    text = ""
    for event in events:
        if isinstance(event, TextDelta):
            text += event.text
            continue
        if isinstance(event, MessageStart):
            text = ""
            for span in event.fields.values():
                _mark(elsewhere, span)
        elif isinstance(event, MessageEnd):
            texts.append((event.span, text))
        else:
            _mark(elsewhere, event.span)
    for found in _TO.finditer(case.source):
        if found.end() < len(units) and elsewhere[found.end()]:
            _mark(elsewhere, Span(*found.span()))
    for span, text in texts:
        inside = "".join(
            [
                unit
                for unit, marked in zip(
                    units[span.start : span.stop], elsewhere[span.start : span.stop], strict=True
                )
                if not marked
            ]
        )
        missing = Counter(_BLANK.sub("", inside)) - Counter(text)
        if missing:
            missing = Counter(_beyond_syntax(inside, case)) - Counter(text)
        assert not missing, ("lost from a text", missing, case)
        _mark(elsewhere, span)
    lost = "".join([unit for unit, marked in zip(units, elsewhere, strict=True) if not marked])
    assert not _beyond_syntax(lost, case), ("lost", lost, case)


def _mark(units: bytearray, span: Span) -> None:
    units[span.start : span.stop] = b"\x01" * (span.stop - span.start)


def _beyond_syntax(lost: str, case: Case) -> str:
    """What is left of ``lost`` without the words that the format itself consists of."""
    for word in ("to=", case.role or "", "assistant"):
        lost = lost.replace(word, "")
    return _BLANK.sub("", lost)


def _check_nothing_invented(case: Case, events: list[Event]) -> None:
    text = "".join([e.text for e in events if isinstance(e, TextDelta)])
    if isinstance(case.source, str):
        extra = Counter(text) - Counter(case.source)
        extra[" "] = 0  # joins words that stood apart in a header
        assert not +extra, ("invented", +extra, case)
        return
    streamed = fold(events)
    for message, spans in zip(streamed.messages, streamed.spans, strict=True):
        ids = case.source[spans.text.start : spans.text.stop]
        if not all(0 <= i < ORDINARY_COUNT for i in ids):
            continue
        if spans.text.start and case.source[spans.text.start - 1] == MESSAGE:
            expected = b"".join([token_bytes(i) or b"" for i in ids]).decode("utf-8", "replace")
            assert message.text == expected, ("not the bytes of its tokens", case)


def _check_strict(case: Case) -> None:
    if case.input == "stripped":
        return
    results: list[Any] = []
    for chunks in ([case.source], _chunks(case.source, case.cuts or (1,))):
        parser = Parser(role=case.role, tools=case.tools, strict=True, input=case.input)
        events: list[Event] = []
        try:
            for chunk in chunks:
                events += parser.feed(chunk)
            events += parser.eof()
        except ParseError:
            results.append("refused")
        else:
            # Marked text is encoded chunk by chunk, and spans count its tokens.
            told = isinstance(case.source, list)
            results.append(list(_joined(events)) if told else fold(events).messages)
    assert results[0] == results[1], ("strict", results, case)
