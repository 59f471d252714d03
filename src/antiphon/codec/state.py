"""The total parser's state machine: one table, one file.

Input is a stream of symbols: control tokens and pieces of text, each with its span in the input.
There are three states.

GAP      outside any message: at the very start, or after a stop token. Text is held back here, for
         it may be a header that lost its `<|start|>`, or words between messages.
HEADER   after `<|start|>`, or after a control token that implies one. Text and header tokens are
         held until the header is over.
CONTENT  after `<|message|>`. Text is passed on as it comes.

Every symbol is legal in every state: `TRANSITIONS` says what happens. The rules (R1 to R8) are
those of docs/recovery.md. Two limits keep memory bounded and text flowing: held text that cannot
be a header any more is released after `EARLY_TEXT_CHARS` characters, any header after
`MAX_HEADER_CHARS`. Both count characters, not chunks, so that the way the input is split never
changes the result.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from antiphon.codec.diagnostics import CODES
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
from antiphon.codec.header import HeaderContext, Reading, read_header, starts_like_header
from antiphon.codec.limits import EARLY_TEXT_CHARS, MAX_HEADER_CHARS
from antiphon.codec.ruler import Atom, Ruler
from antiphon.codec.tooltable import ToolTable
from antiphon.model.message import Author, Role
from antiphon.vocab import control

__all__ = ["EARLY_TEXT_CHARS", "MAX_HEADER_CHARS", "TRANSITIONS", "Machine", "State", "Symbol"]

_MEMO_ENTRIES: Final = 4096
_STRAY: Final = Header(Author(Role.ASSISTANT), "analysis")
_NOT_A_HEADER: Final = Reading(_STRAY, {}, "", (), False, ())


class State(Enum):
    """Where in a message the machine is."""

    GAP = "gap"
    HEADER = "header"
    CONTENT = "content"


class Symbol(Enum):
    """What can come next."""

    START = "<|start|>"
    CHANNEL = "<|channel|>"
    CONSTRAIN = "<|constrain|>"
    MESSAGE = "<|message|>"
    STOP = "a stop token"
    OTHER = "any other control token"
    EOF = "end of input"


TRANSITIONS: Final[dict[tuple[State, Symbol], str]] = {
    (State.GAP, Symbol.START): "open_header",
    (State.GAP, Symbol.CHANNEL): "imply_header",
    (State.GAP, Symbol.CONSTRAIN): "imply_header_if_text",
    (State.GAP, Symbol.MESSAGE): "begin_content",
    (State.GAP, Symbol.STOP): "stop_header",
    (State.GAP, Symbol.OTHER): "drop",
    (State.GAP, Symbol.EOF): "stop_header",
    (State.HEADER, Symbol.START): "open_header",
    (State.HEADER, Symbol.CHANNEL): "hold",
    (State.HEADER, Symbol.CONSTRAIN): "hold",
    (State.HEADER, Symbol.MESSAGE): "begin_content",
    (State.HEADER, Symbol.STOP): "stop_header",
    (State.HEADER, Symbol.OTHER): "drop",
    (State.HEADER, Symbol.EOF): "stop_header",
    (State.CONTENT, Symbol.START): "restart",
    (State.CONTENT, Symbol.CHANNEL): "restart",
    (State.CONTENT, Symbol.CONSTRAIN): "spell_out",
    (State.CONTENT, Symbol.MESSAGE): "spell_out",
    (State.CONTENT, Symbol.STOP): "end",
    (State.CONTENT, Symbol.OTHER): "spell_out",
    (State.CONTENT, Symbol.EOF): "end",
}

_SYMBOLS: Final = {
    control.START: Symbol.START,
    control.CHANNEL: Symbol.CHANNEL,
    control.CONSTRAIN: Symbol.CONSTRAIN,
    control.MESSAGE: Symbol.MESSAGE,
    control.END: Symbol.STOP,
    control.RETURN: Symbol.STOP,
    control.CALL: Symbol.STOP,
    control.ENDOFTEXT: Symbol.STOP,
}
_STOPS: Final = {
    control.END: Stop.END,
    control.RETURN: Stop.RETURN,
    control.CALL: Stop.CALL,
    control.ENDOFTEXT: Stop.ENDOFTEXT,
}


class Machine:
    """Symbols in, events out. ``events`` collects them; the caller takes them away.

    ``role`` is the role that a prompt ending in `<|start|>role` implies for the first message.
    """

    __slots__ = (
        "_atoms",
        "_chars",
        "_content_start",
        "_first",
        "_memo",
        "_probed",
        "_role",
        "_tools",
        "events",
        "state",
    )

    def __init__(self, role: Role | None, tools: ToolTable | None) -> None:
        self.events: list[Event] = []
        self.state = State.GAP
        self._tools = tools
        self._role: Role | None = role or Role.ASSISTANT
        self._first = True
        self._atoms: list[Atom] = []
        self._chars = 0
        self._probed = False
        self._content_start = 0
        self._memo = _memo_for(tools)

    @property
    def expects_nothing(self) -> bool:
        """Whether the input may end here without anything being cut off."""
        return self.state is State.GAP and not self._atoms

    def control(self, token: int, start: int, stop: int) -> None:
        """Take one control token that covers ``[start, stop)`` of the input."""
        symbol = _SYMBOLS.get(token, Symbol.OTHER)
        getattr(self, TRANSITIONS[self.state, symbol])(token, start, stop)

    def eof(self, position: int) -> None:
        """The input ends at ``position``."""
        getattr(self, TRANSITIONS[self.state, Symbol.EOF])(0, position, position)

    def break_off(self, position: int) -> None:
        """A message ends at ``position`` without a stop token that anyone could have seen."""
        if self.state is State.CONTENT:
            self._end(Stop.RESTART, position)

    def text(self, text: str, start: int, stop: int) -> None:
        """Take a non-empty piece of text that covers ``[start, stop)`` of the input."""
        if self.state is State.CONTENT:
            self.events.append(TextDelta(text))
            return
        self._hold_text(text, start, stop)

    # The actions of the table.

    def open_header(self, token: int, start: int, stop: int) -> None:
        """`<|start|>`: whatever was held is over, a header that names its role begins (R4)."""
        self._close(Stop.RESTART, start)
        self.state, self._role = State.HEADER, None
        self._atoms.append(Atom("", token, start, stop))

    def imply_header(self, token: int, start: int, stop: int) -> None:
        """`<|channel|>` without `<|start|>role` after a finished message (R4)."""
        if not self._first:
            self._diagnose("missing-start", start, stop, control.control_name(token))
        self.state = State.HEADER
        self.hold(token, start, stop)

    def imply_header_if_text(self, token: int, start: int, stop: int) -> None:
        """`<|constrain|>`: part of a header if header text was held, else a stray."""
        if any(atom.text.strip() for atom in self._atoms):
            self.imply_header(token, start, stop)
        else:
            self.drop(token, start, stop)

    def hold(self, token: int, start: int, stop: int) -> None:
        self._atoms.append(Atom(control.control_name(token), token, start, stop))
        self._count(len(control.control_name(token)))

    def drop(self, token: int, start: int, stop: int) -> None:
        """A control token that means nothing here: noted, and not part of any header."""
        self._diagnose("stray-control-token", start, stop, control.control_name(token))

    def begin_content(self, token: int, start: int, stop: int) -> None:
        """`<|message|>`: read the header, begin the message."""
        if self.state is State.GAP and not self._first:
            self._diagnose("missing-start", start, stop, control.control_name(token))
        self._begin(start, stop)

    def stop_header(self, token: int, start: int, stop: int) -> None:
        """A stop token or the end of the input while something may be held (R5, R6)."""
        how = _STOPS.get(token, Stop.EOF)
        if self._atoms:
            self._close(how, start)
        elif token:
            self._diagnose("stray-control-token", start, stop, control.control_name(token))
        self._reset()

    def restart(self, token: int, start: int, stop: int) -> None:
        """`<|start|>` or `<|channel|>` inside content: the stop token is missing (R4)."""
        self._diagnose("missing-stop", start, stop, control.control_name(token))
        self._end(Stop.RESTART, start)
        if token == control.START:
            self.open_header(token, start, stop)
        else:
            # Words without a known channel behind this belong with the text before it.
            self._first = True
            self.state = State.HEADER
            self.hold(token, start, stop)

    def spell_out(self, token: int, start: int, stop: int) -> None:
        """A control token with no meaning in content stays as text, as in the reference (R1)."""
        name = control.control_name(token)
        self._diagnose("control-token-in-content", start, stop, name)
        self.events.append(TextDelta(name))

    def end(self, token: int, start: int, stop: int) -> None:
        self._end(_STOPS.get(token, Stop.EOF), start)

    # Holding back.

    def _hold_text(self, text: str, start: int, stop: int) -> None:
        last = self._atoms[-1] if self._atoms else None
        by_char = stop - start == len(text)
        if by_char and last and not last.token and last.stop == start and last.by_char:
            self._atoms[-1] = Atom(last.text + text, 0, last.start, stop)
        else:
            self._atoms.append(Atom(text, 0, start, stop))
        self._count(len(text))

    def _count(self, chars: int) -> None:
        self._chars += chars
        if self.state is State.GAP and not self._probed and self._chars >= EARLY_TEXT_CHARS:
            self._probed = True
            held = "".join([atom.text for atom in self._atoms])
            if not starts_like_header(held[:EARLY_TEXT_CHARS], self._tools):
                self._release(EARLY_TEXT_CHARS)
                return
        if self._chars >= MAX_HEADER_CHARS:
            self._diagnose_held("header-too-long")
            self._release(MAX_HEADER_CHARS)

    def _release(self, limit: int) -> None:
        """Held text turned out to be a message's: read the first ``limit`` characters, go on."""
        atoms = self._atoms
        begin = atoms[0].start
        held = "".join([atom.text for atom in atoms])
        ruler = Ruler(atoms)
        reading = self._read(held[:limit], closed=False)
        body = [held[a:b] for a, b in reading.body]
        self._note(reading, ruler)
        if not body:
            reading, body = _NOT_A_HEADER, [held[:limit]]
        content_start = ruler.units(reading.body[0])[0] if reading.body else begin
        self._start_message(reading, ruler, begin, content_start)
        self._content_start = content_start
        if text := "".join(body) + held[limit:]:
            self.events.append(TextDelta(text))
        self._atoms = []
        self._chars = 0

    # Ends of headers and of messages.

    def _begin(self, start: int, stop: int) -> None:
        reading = self._read("".join([atom.text for atom in self._atoms]), closed=True)
        ruler = Ruler(self._atoms)
        begin = self._atoms[0].start if self._atoms else start
        self._note(reading, ruler)
        if reading.stray:
            self._stray_message(reading.stray, begin, start)
        self._start_message(reading, ruler, begin, stop)
        self._content_start = stop
        self._atoms = []
        self._chars = 0

    def _start_message(self, reading: Reading, ruler: Ruler, begin: int, stop: int) -> None:
        fields = {name: Span(*ruler.units(at)) for name, at in reading.fields.items()}
        self.events.append(MessageStart(reading.header, Span(begin, stop), fields))
        self.state = State.CONTENT
        self._first = False

    def _close(self, how: Stop, position: int) -> None:
        """A header ended without `<|message|>`: what it held may still be a message (R5)."""
        if not self._atoms:
            return
        held = "".join([atom.text for atom in self._atoms])
        reading = self._read(held, closed=False)
        ruler = Ruler(self._atoms)
        begin = self._atoms[0].start
        if reading.body or _stands_alone(reading, how):
            self._note(reading, ruler)
            spans = [ruler.units(at) for at in reading.body]
            content_start = spans[0][0] if spans else position
            self._start_message(reading, ruler, begin, content_start)
            if body := "".join([held[a:b] for a, b in reading.body]):
                self.events.append(TextDelta(body))
            self.events.append(MessageEnd(how, Span(content_start, position)))
        elif held.strip():
            code = "truncated-header" if how is Stop.EOF else "empty-header"
            self._diagnose(code, begin, position, held)
        elif held:
            self._diagnose("stray-white-space", begin, position, held)
        elif self._atoms[0].token:
            code = "truncated-header" if how is Stop.EOF else "empty-header"
            self._diagnose(code, begin, position, control.control_name(control.START))
        self._reset()

    def _end(self, how: Stop, position: int) -> None:
        self.events.append(MessageEnd(how, Span(self._content_start, position)))
        self._reset()

    def _reset(self) -> None:
        self.state = State.GAP
        self._role = Role.ASSISTANT
        self._atoms = []
        self._chars = 0
        self._probed = False

    def _stray_message(self, text: str, start: int, stop: int) -> None:
        self.events += (
            MessageStart(_STRAY, Span(start, start), {}),
            TextDelta(text),
            MessageEnd(Stop.RESTART, Span(start, stop)),
        )

    # Reading and coordinates.

    def _read(self, text: str, *, closed: bool) -> Reading:
        key = (text, self._role, closed, self._first)
        if (reading := self._memo.get(key)) is None:
            reading = read_header(text, HeaderContext(self._role, closed, self._first, self._tools))
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[key] = reading
        return reading

    def _note(self, reading: Reading, ruler: Ruler) -> None:
        for note in reading.notes:
            start, stop = ruler.units(note.at)
            self._diagnose(note.code, start, stop, note.detail)

    def _diagnose(self, code: str, start: int, stop: int, detail: str) -> None:
        self.events.append(Diagnostic(code, CODES[code][0], Span(start, stop), detail))

    def _diagnose_held(self, code: str) -> None:
        start = self._atoms[0].start
        self._diagnose(code, start, start, f"no <|message|> within {MAX_HEADER_CHARS}")


def _stands_alone(reading: Reading, how: Stop) -> bool:
    """Whether a header that a stop token ended is an empty message: a call only if it says so."""
    if reading.header.recipient is not None:
        return how is Stop.CALL or how is Stop.RETURN
    return reading.names_message and how is not Stop.EOF and how is not Stop.RESTART


_MemoKey = tuple[str, Role | None, bool, bool]
_SHARED_MEMO: Final[dict[_MemoKey, Reading]] = {}


def _memo_for(tools: ToolTable | None) -> dict[_MemoKey, Reading]:
    """Readings depend on the tool table, so only machines without one share theirs."""
    return _SHARED_MEMO if tools is None else tools.readings
