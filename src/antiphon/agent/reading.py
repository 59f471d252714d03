"""One turn's events → the agent's, and what the turn came to: words, calls, an answer.

Pure and synchronous. A control token among words, which the parser keeps, is left out here: a piece
that is just its name is the token itself, as ordinary text that spells it comes in several. What
the turn engine keeps as a thought because no such tool is offered is a
call here: the model is told so, instead of being left to think that it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from antiphon.agent.events import (
    AgentEvent,
    Answer,
    CallInput,
    CallMade,
    CallStarted,
    Kind,
    Mended,
    PartBecame,
    PartEnded,
    Preamble,
    Thinking,
)
from antiphon.agent.toolset import AgentTools
from antiphon.agent.transcript import Entry, spoken
from antiphon.api.turn import (
    FinishReason,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    Recovered,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)
from antiphon.codec.arguments import Arguments
from antiphon.errors import MessageError
from antiphon.model.message import CONSTRAIN_JSON, Message
from antiphon.model.validate import check_message
from antiphon.vocab.control import CONTROL_IDS

__all__ = ["Call", "TurnReading"]

_KINDS: Final[dict[PartKind, Kind]] = {
    PartKind.REASONING: "thinking",
    PartKind.PREAMBLE: "preamble",
    PartKind.ANSWER: "answer",
    PartKind.CALL: "call",
}
_NAMESPACES: Final = frozenset({"functions", "mcp", "assistant", "user", "system", "developer"})
"""Addresses that are no tool's name."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the turn. ``entry`` is its message."""

    entry: Entry
    call_id: str
    tool: str
    text: str
    """The arguments, or the input."""
    arguments: Arguments | None = None
    complete: bool = True
    known: bool = True


class _Part(msgspec.Struct, kw_only=True):
    number: int
    kind: Kind
    call_id: str | None = None
    tool: str = ""
    unknown: str | None = None
    text: str = ""
    complete: bool = True
    arguments: Arguments | None = None
    pieces: list[str] = msgspec.field(default_factory=list)
    marked: bool = False
    """Whether control tokens were left out of it."""


class TurnReading:
    """Feed it the turn's events; it appends the agent's to the list it is given."""

    def __init__(self, tools: AgentTools, first_part: int, new_id: Callable[[], str]) -> None:
        self._tools = tools
        self._new_id = new_id
        self._number = first_part
        self._parts: list[_Part] = []
        self._open: _Part | None = None
        self._unknown: str | None = None
        self.finish: FinishReason | None = None
        """None while the turn has not ended."""
        self.usage = TurnUsage(completions=0)
        self.entries: list[Entry] = []
        """The turn's messages, once it has ended."""
        self.calls: list[Call] = []

    @property
    def next_part(self) -> int:
        """The number of the part that comes next."""
        return self._number

    @property
    def answer(self) -> str:
        """The answer, as far as it is there."""
        parts = self._parts if self._open is None else [*self._parts, self._open]
        texts = [part.text or "".join(part.pieces) for part in parts if part.kind == "answer"]
        return "\n\n".join([text for text in texts if text])

    def feed(self, events: Sequence[TurnEvent], out: list[AgentEvent]) -> None:
        """Take the turn's events."""
        for event in events:
            if isinstance(event, PartDelta):
                part = self._open
                if part is None:
                    continue
                if part.kind != "call" and event.text in CONTROL_IDS:
                    part.marked = True
                    continue
                part.pieces.append(event.text)
                out.append(_piece(part, event.text))
            elif isinstance(event, PartStart):
                self._start(event, out)
            elif isinstance(event, PartEnd):
                self._end(event, out)
            elif isinstance(event, Recovered):
                found = event.diagnostic
                if found.code == "unknown-recipient" and self._open is None:
                    self._unknown = found.detail
                out.append(Mended(found.code, found.rule, found.detail))
            elif isinstance(event, TurnEnd):
                self._ended(event, out)

    def broken_off(self) -> list[Entry]:
        """The words of a turn that did not end, as messages; its calls were never made."""
        if self.finish is not None:
            return self.entries
        parts = self._parts if self._open is None else [*self._parts, self._open]
        out: list[Entry] = []
        for part in parts:
            text = part.text or "".join(part.pieces)
            if part.kind != "call" and text:
                out.append(Entry(spoken(part.kind, text)))
        return out

    # Parts.

    def _start(self, event: PartStart, out: list[AgentEvent]) -> None:
        part = _Part(number=self._number, kind=_KINDS[event.kind])
        self._number += 1
        unknown, self._unknown = self._unknown, None
        if event.kind is PartKind.CALL:
            part.call_id = event.call_id or self._new_id()
            part.tool = event.name or ""
            out.append(CallStarted(part.number, part.call_id, part.tool))
        elif unknown is not None and part.kind == "thinking":
            part.unknown = unknown
        self._open = part

    def _end(self, event: PartEnd, out: list[AgentEvent]) -> None:
        part, self._open = self._open, None
        if part is None:
            return
        part.text, part.complete, part.arguments = event.text, event.complete, event.arguments
        if part.marked:
            part.text = "".join(part.pieces)
        part.pieces.clear()
        self._parts.append(part)
        out.append(PartEnded(part.number, part.kind, part.complete))

    # The end.

    def _ended(self, end: TurnEnd, out: list[AgentEvent]) -> None:
        self.finish, self.usage = end.finish_reason, end.usage
        parts, messages = self._parts, list(end.messages)
        assert len(parts) == len(messages), "every part is a message"
        answered = any(part.kind == "answer" and part.text.strip() for part in parts)
        called = any(part.kind == "call" for part in parts)
        for part, message in zip(parts, messages, strict=True):
            if part.kind == "call":
                self._called(part, message)
            elif part.unknown is not None and part.complete and not (answered and not called):
                self._called_unknown(part, message)
            else:
                said = spoken(part.kind, part.text) if part.marked else message
                self.entries.append(Entry(said))
        if self.calls:
            self._withdraw_answers(out)
        out += [
            CallMade(call_id=call.call_id, tool=call.tool, arguments=call.text, known=call.known)
            for call in self.calls
        ]

    def _called(self, part: _Part, message: Message) -> None:
        call_id = part.call_id or self._new_id()
        entry = Entry(message, call_id)
        known = self._tools.find(message.recipient or "") is not None
        self.entries.append(entry)
        self.calls.append(
            Call(
                entry=entry,
                call_id=call_id,
                tool=part.tool,
                text=part.text,
                arguments=part.arguments,
                complete=part.complete,
                known=known,
            )
        )

    def _called_unknown(self, part: _Part, message: Message) -> None:
        """A call of a tool that is not offered, if a header can carry its name."""
        name = (part.unknown or "").strip()
        recipient = self._tools.recipient(name)
        call = Message.call(recipient, part.text, content_type=CONSTRAIN_JSON)
        try:
            check_message(call)
            check_message(Message.tool(recipient, ""))
        except MessageError:
            recipient = ""
        if not recipient or name in _NAMESPACES:
            self.entries.append(Entry(message))
            return
        entry = Entry(call, self._new_id())
        assert entry.call_id is not None
        self.entries.append(entry)
        self.calls.append(
            Call(
                entry=entry,
                call_id=entry.call_id,
                tool=self._tools.name(recipient),
                text=part.text,
                known=False,
            )
        )

    def _withdraw_answers(self, out: list[AgentEvent]) -> None:
        """What stands beside calls is no answer, and must not close the open turn."""
        for at, part in enumerate(self._parts):
            if part.kind == "answer":
                part.kind = "preamble"
                self.entries[at] = Entry(spoken("preamble", part.text))
                out.append(PartBecame(part.number, "preamble"))


def _piece(part: _Part, text: str) -> AgentEvent:
    if part.kind == "thinking":
        return Thinking(part.number, text)
    if part.kind == "answer":
        return Answer(part.number, text)
    if part.kind == "preamble":
        return Preamble(part.number, text)
    return CallInput(part.number, part.call_id or "", text)
