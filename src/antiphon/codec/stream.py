"""The total stream parser: ids, marked text or stripped text in, events out.

It never raises on what a model wrote, gives the same events however the input is split, and drops
nothing: what fits nowhere becomes content or reasoning, with a diagnostic.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal

from antiphon.codec.diagnostics import CODES
from antiphon.codec.events import Diagnostic, Event, Span, TextDelta
from antiphon.codec.state import Machine, State
from antiphon.codec.text import MarkedText
from antiphon.codec.tooltable import ToolTable
from antiphon.model.message import Role
from antiphon.model.tools import ToolNamespace
from antiphon.vocab.control import FIRST_CONTROL_ID, LAST_CONTROL_ID, ORDINARY_COUNT
from antiphon.vocab.table import vocabulary

if TYPE_CHECKING:
    from antiphon.codec.stripped import StrippedText

    _TextSource = MarkedText | StrippedText

__all__ = ["Input", "Parser", "Tools"]

Input = Literal["auto", "ids", "marked", "stripped", "hybrid"]
"""What is fed. ``auto``: integers are ids, text is marked. ``hybrid``: control tokens come as ids
and everything else as plain text in which nothing is looked for (llama.cpp's raw stream)."""

Tools = Iterable[str] | Mapping[str, ToolNamespace] | ToolTable | None
"""Recipients on offer. None: not known, every recipient is accepted. Empty: none on offer."""

_INPUTS: Final = ("auto", "ids", "marked", "stripped", "hybrid")
_IDS: Final = LAST_CONTROL_ID + 1
_DELTAS: Final[list[tuple[TextDelta] | None]] = [None] * (2 * _IDS)
"""Token → its event, for tokens that are whole characters. Filled as tokens come; shared. The
second half is what negative ids index, and stays empty."""
_NO_DELTAS: Final[list[tuple[TextDelta] | None]] = [None] * (2 * _IDS)
"""In place of `_DELTAS` where a token is not simply the next text."""
_SPELLINGS: Final[dict[int, bytes]] = {}
"""Token → its bytes, for tokens met as parts of characters. Filled as tokens come; shared."""
_Part = tuple[tuple[TextDelta, ...], bytes]
_PARTS: Final[dict[tuple[bytes, int], _Part]] = {}
"""Unfinished bytes and the token after them → its events and the bytes unfinished then."""
_TEXTS: Final[dict[str, tuple[TextDelta]]] = {}
"""Short chunk of text without `<` → its event. What is streamed is mostly one token a chunk."""
_NO_TEXTS: Final[dict[str, tuple[TextDelta]]] = {}
_MEMO_ENTRIES: Final = 16_384
_MEMO_CHARS: Final = 32
"""Longer chunks hardly ever come again."""


class Parser:
    """Feed it chunks of any size, take the events, and call `eof` when the model has stopped.

    ``role``: the role the prompt already names; for a completion, `Role.ASSISTANT`.
    ``tools``: the recipients on offer, qualified (`functions.f`, `browser.search`, `python`).
    ``strict``: raise `ParseError` where the reference library's strict mode raises.
    """

    __slots__ = (
        "_cached",
        "_content",
        "_flowing",
        "_input",
        "_machine",
        "_pending",
        "_pending_start",
        "_position",
        "_text",
        "_tools",
    )

    def __new__(
        cls,
        *,
        role: Role | str | None = None,
        tools: Tools = None,
        strict: bool = False,
        input: Input = "auto",
    ) -> Parser:
        if strict and cls is Parser:
            from antiphon.codec.strict_events import StrictEventParser

            return object.__new__(StrictEventParser)
        return object.__new__(cls)

    def __init__(
        self,
        *,
        role: Role | str | None = None,
        tools: Tools = None,
        strict: bool = False,
        input: Input = "auto",
    ) -> None:
        if input not in _INPUTS:
            raise ValueError(f"input must be one of {', '.join(_INPUTS)}, not {input!r}")
        table = tools if tools is None or isinstance(tools, ToolTable) else ToolTable(tools)
        self._tools: ToolTable | None = table
        self._machine = Machine(None if role is None else Role(role), table)
        self._input: Input = input
        self._text: _TextSource | None = None
        self._pending = b""
        self._pending_start = 0
        self._position = 0
        self._cached = _NO_DELTAS
        self._content = False
        self._flowing = _NO_TEXTS

    def feed(self, chunk: int | Sequence[int] | str) -> Sequence[Event]:
        """Take one id, some ids, or some text; return the events that are certain now.

        Raises TypeError if ids and text are mixed (but for ``hybrid``) or if an id is no integer.
        """
        if chunk.__class__ is int:
            try:
                events = self._cached[chunk]
            except IndexError:
                events = None
            if events is not None:
                self._position += 1
                return events
            if self._content and 0 <= chunk < ORDINARY_COUNT:
                return self._part(chunk)
            return self._feed_ids((chunk,))
        flowing = self._flowing
        if flowing:
            try:
                events = flowing[chunk]  # type: ignore[index]
            except (KeyError, TypeError):
                pass
            else:
                self._position += len(chunk)  # type: ignore[arg-type]
                return events
        if isinstance(chunk, str):
            if flowing is _TEXTS and chunk and "<" not in chunk:
                return self._feed_content(chunk)
            return self._feed_text(chunk)
        return self._feed_ids((chunk,) if isinstance(chunk, int) else chunk)

    def eof(self) -> Sequence[Event]:
        """The input is over: return the last events. Feeding may go on with a new message."""
        if self._text is not None:
            self._catch_up(self._text)
            self._text.eof()
        else:
            self._flush(self._position)
            self._machine.eof(self._position)
        return self._take()

    @property
    def position(self) -> int:
        """Tokens (or code points) taken so far."""
        return self._position if self._text is None else self._position + self._text.position

    def _take(self) -> Sequence[Event]:
        machine = self._machine
        events, machine.events = machine.events, []
        source = self._text
        if machine.state is not State.CONTENT:
            self._cached, self._content, self._flowing = _NO_DELTAS, False, _NO_TEXTS
        elif source is None:
            self._cached = _NO_DELTAS if self._pending else _DELTAS
            self._content = True
        else:
            steady = source.__class__ is MarkedText and not source.held
            self._flowing = _TEXTS if steady else _NO_TEXTS
        return events

    # Ids.

    def _feed_ids(self, ids: Sequence[int]) -> Sequence[Event]:
        if self._text is not None or self._input in ("marked", "stripped"):
            raise TypeError(f"this parser reads text, not ids such as {ids[:1]!r}")
        if self._cached is _DELTAS:
            try:
                events = list(chain.from_iterable(itemgetter(*ids)(_DELTAS)))
            except (TypeError, IndexError):
                pass  # a token that is not simply the next text, or fewer than two
            else:
                self._position += len(events)
                return events
        machine = self._machine
        position = self._position
        whole = _DELTAS
        emit = machine.events.append
        flowing = machine.state is State.CONTENT and not self._pending
        for token in ids:
            if flowing and 0 <= token < _IDS and (delta := whole[token]):
                emit(delta[0])
            else:
                if FIRST_CONTROL_ID <= token <= LAST_CONTROL_ID:
                    if self._pending:
                        self._flush(position)
                    machine.control(token, position, position + 1)
                else:
                    self._ordinary(token, position)
                flowing = machine.state is State.CONTENT and not self._pending
            position += 1
        self._position = position
        return self._take()

    def _part(self, token: int) -> Sequence[Event]:
        """An ordinary token in content whose bytes, or those before it, are no whole characters."""
        self._position += 1
        pending = self._pending
        known = _PARTS.get((pending, token))
        if known is not None:
            events, rest = known
        else:
            data = pending + _spelling(token)
            text, used = utf_8_decode(data, "replace", False)
            events = (TextDelta(text),) if text else ()
            rest = data[used:]
            if pending or rest:
                if len(_PARTS) >= _MEMO_ENTRIES:
                    _PARTS.clear()
                _PARTS[pending, token] = events, rest
            else:
                _DELTAS[token] = (TextDelta(text),)
        self._pending = rest
        self._cached = _NO_DELTAS if rest else _DELTAS
        return events

    def _ordinary(self, token: int, position: int) -> None:
        if not 0 <= token < ORDINARY_COUNT:
            self._flush(position)
            self._unknown(token, position)
            return
        data = _spelling(token)
        start = position
        pending = self._pending
        if pending:
            data = pending + data
            start = self._pending_start
        text, used = utf_8_decode(data, "replace", False)
        rest = data[used:]
        if text:
            self._machine.text(text, start, position + 1)
            start = position
            if not (pending or rest):
                _DELTAS[token] = (TextDelta(text),)
        self._pending, self._pending_start = rest, start

    def _unknown(self, token: int, position: int) -> None:
        """An id outside the vocabulary is one U+FFFD; what follows is read on."""
        where = Span(position, position + 1)
        rule = CODES["unknown-token"][0]
        self._machine.events.append(Diagnostic("unknown-token", rule, where, str(token)))
        self._machine.text("\ufffd", position, position + 1)

    def _flush(self, position: int) -> None:
        """The bytes of an unfinished character become U+FFFD."""
        if self._pending:
            text = self._pending.decode("utf-8", "replace")
            self._pending = b""
            self._machine.text(text, self._pending_start, position)

    # Text.

    def _feed_content(self, chunk: str) -> Sequence[Event]:
        """Text in which no control token can begin, in content."""
        self._position += len(chunk)
        events = (TextDelta(chunk),)
        if len(chunk) <= _MEMO_CHARS:
            if len(_TEXTS) >= _MEMO_ENTRIES:
                _TEXTS.clear()
            _TEXTS[str(chunk)] = events
        return events

    def _feed_text(self, chunk: str) -> Sequence[Event]:
        source = self._text
        if source is None:
            if self._input == "hybrid":
                return self._feed_plain(chunk)
            source = self._text = self._source()
        self._catch_up(source)
        source.feed(chunk)
        return self._take()

    def _catch_up(self, source: _TextSource) -> None:
        """Tell the text source of what went past it."""
        source.position += self._position
        self._position = 0

    def _source(self) -> _TextSource:
        if self._input == "ids" or self._position:
            raise TypeError("this parser reads ids, not text")
        if self._input == "stripped":
            from antiphon.codec.stripped import StrippedText

            return StrippedText(self._machine, self._tools)
        return MarkedText(self._machine)

    def _feed_plain(self, chunk: str) -> Sequence[Event]:
        if chunk:
            self._flush(self._position)
            start, self._position = self._position, self._position + len(chunk)
            self._machine.text(chunk, start, self._position)
        return self._take()


def _spelling(token: int) -> bytes:
    """The bytes of an ordinary token."""
    data = _SPELLINGS.get(token)
    if data is None:
        data = _SPELLINGS[token] = vocabulary().ordinary(token)
    return data
