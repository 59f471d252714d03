"""The parser's events → the turn's events: which part each message is, and when the turn is over.

    analysis                          reasoning
    commentary, no recipient          preamble, or a call that lost its address (`adopt_call`)
    a recipient on offer              call
    a recipient that is not           reasoning: the words are kept
    final, or no known channel        answer; reasoning where only a call may end the turn

Pure and synchronous: one fold reads all completions of a turn, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from antiphon.api.turn import Logprob, PartDelta, PartEnd, PartKind, PartStart, Recovered, TurnEvent
from antiphon.codec.adopt import adopt_call
from antiphon.codec.arguments import Arguments, parse_arguments
from antiphon.codec.events import (
    Diagnostic,
    Event,
    Header,
    MessageEnd,
    MessageStart,
    Stop,
    TextDelta,
)
from antiphon.model.content import TextContent
from antiphon.model.message import Author, Message, Role
from antiphon.turn.arguments import ArgumentStream
from antiphon.turn.codes import argument_mends, mended
from antiphon.turn.custom_input import InputStream
from antiphon.turn.offer import Offer, OfferedTool
from antiphon.turn.part import FoldOptions, Part
from antiphon.turn.record import BoundCall, TurnRecord
from antiphon.turn.repetition import RepetitionGuard
from antiphon.turn.stops import StopStrings

__all__ = ["TurnFold"]

_ASSISTANT: Final = Author(Role.ASSISTANT)
_ENDS: Final = frozenset({Stop.RETURN, Stop.CALL, Stop.ENDOFTEXT})
"""What ends the turn, not only its message."""
_NAMESPACES: Final = frozenset({"functions", "mcp"})
"""Recipients that are no tool, so that it takes the arguments to tell which one is meant."""


class TurnFold(TurnRecord):
    """Feed it the parser's events; it appends the turn's to the list it is given.

    ``over`` says why nothing more is wanted: ``stop`` (a stop token that ends turns), ``string``,
    ``enough`` (the one call), ``repetition``, ``foreign`` (another role's message).
    ``flowing`` is the text of the open part while more text is simply more of it, else None.
    """

    def __init__(
        self,
        offer: Offer,
        options: FoldOptions,
        new_id: Callable[[], str],
        guard: RepetitionGuard | None = None,
    ) -> None:
        super().__init__()
        self.offer = offer
        self.options = options
        self.guard = guard
        self.over: str | None = None
        self.cut = True
        """Whether the end of the input is a cut, not the end the model meant."""
        self.flowing: list[str] | None = None
        self.thinking = False
        """Whether the open message is reasoning."""
        self.stop_string: str | None = None
        self._new_id = new_id
        self._part: Part | None = None
        self._notes: list[Diagnostic] = []
        self._unknown_recipient: str | None = None
        """What the message that begins next is addressed to, if nobody knows it."""
        self._logprobs: list[Logprob] = []

    # Input.

    @property
    def open(self) -> bool:
        """Whether a message is open."""
        return self._part is not None

    def feed(self, events: Sequence[Event], out: list[TurnEvent]) -> None:
        """Take the parser's events."""
        for event in events:
            if self.over is not None:
                return
            if isinstance(event, TextDelta):
                if self._part is not None:
                    self._text(self._part, event.text, out)
                    self._watch(event.text, out)
            elif isinstance(event, MessageStart):
                self._start(event.header, out)
                self._watch(f"\n{event.header.channel}\n", out)  # empty messages repeat as well
            elif isinstance(event, MessageEnd):
                self._end(event.stop, out)
            else:
                if event.code == "unknown-recipient":
                    self._unknown_recipient = event.detail
                self._note(event, out)

    @property
    def answering(self) -> bool:
        """Whether the open message is the answer."""
        return self._part is not None and self._part.kind is PartKind.ANSWER

    def logprobs(self, values: Sequence[Logprob]) -> None:
        """The log probabilities of the answer's text that is fed next."""
        self._logprobs += values

    def _watch(self, text: str, out: list[TurnEvent]) -> None:
        if self.guard is not None and self.over is None and self.guard.add(text):
            self.repeats(out)

    def repeats(self, out: list[TurnEvent]) -> None:
        """The model only repeats itself: end the turn."""
        self._notes.append(mended("repetition"))
        self._finish(out, complete=False)
        self.over = "repetition"

    def again(self) -> None:
        """Another completion of the same turn begins."""
        self.over, self.cut = None, True
        self._unknown_recipient = None

    # Messages that are not the model's own.

    def answer(self, text: str, out: list[TurnEvent]) -> None:
        """A whole answer that was made from what was discarded."""
        header = Header(_ASSISTANT, "final")
        part = Part(PartKind.ANSWER, header)
        self._emit(PartStart(PartKind.ANSWER), out)
        part.started = True
        self._pass_on(part, text, out)
        self._part = part
        self._finish(out, complete=True)

    # Messages.

    def _start(self, header: Header, out: list[TurnEvent]) -> None:
        if self._part is not None:  # cannot be, but for a parser at fault: lose nothing
            self._finish(out, complete=False)
        unknown, self._unknown_recipient = self._unknown_recipient, None
        if header.role != Role.ASSISTANT:
            who = header.name or header.role.value
            self._note(mended("message-of-another", who), out)
            if self.calls:
                self.over = "foreign"
                return
            part = self._open(PartKind.REASONING, header)
            part.foreign = True
        elif (tool := self.offer.find(header.recipient)) is not None:
            part = self._open_call(header, tool, out)
        elif header.recipient is not None or header.channel == "analysis":
            part = self._open(PartKind.REASONING, header)
        elif header.channel == "commentary" or (unknown is not None and header.channel != "final"):
            part = self._open(PartKind.PREAMBLE if unknown is None else PartKind.REASONING, header)
            lost = unknown is None or unknown in _NAMESPACES or unknown in self.offer.namespaces
            if lost and self.options.adopt and self.offer.tools:
                part.raw = []
        else:
            part = self._open_answer(header, out)
        self.thinking = part.kind is PartKind.REASONING
        self._settle_flow(part)

    def _open(self, kind: PartKind, header: Header) -> Part:
        part = self._part = Part(kind, header)
        return part

    def _open_answer(self, header: Header, out: list[TurnEvent]) -> Part:
        code = None
        if self.offer.required:
            code = "answer-instead-of-call"
        elif self.options.structured and self.answers:
            code = "further-answer"
        if code is not None:
            self._note(mended(code), out)
            return self._open(PartKind.REASONING, header)
        part = self._open(PartKind.ANSWER, header)
        if self.options.hold_answer:
            self._hold()
        if self.options.stops:
            part.reader = StopStrings(self.options.stops)
        if self.options.opening is not None and self.held is None:
            part.raw = []
        else:
            self._begin(part, out)
        return part

    def _open_call(self, header: Header, tool: OfferedTool, out: list[TurnEvent]) -> Part:
        part = self._open(PartKind.CALL, header)
        part.tool = tool
        part.call_id = self._new_id()
        if tool.custom:
            part.reader = InputStream()
        elif tool.json:
            part.reader = ArgumentStream(tool.schema)
        if tool.recipient in self.options.hold_calls:
            self._hold()
        self._begin(part, out)
        return part

    def _begin(self, part: Part, out: list[TurnEvent]) -> None:
        part.started = True
        if part.tool is None:
            self._emit(PartStart(part.kind), out)
        else:
            self._emit(_call_start(part.tool, part.call_id), out)

    def _settle_flow(self, part: Part) -> None:
        plain = part.started and part.reader is None and part.raw is None and self.held is None
        if plain and not (self.options.logprobs and part.kind is PartKind.ANSWER):
            self.flowing = part.texts

    # Text.

    def _text(self, part: Part, text: str, out: list[TurnEvent]) -> None:
        if part.raw is not None:
            part.raw.append(text)
            if part.kept or text.isspace() or not self._clear(part, text.lstrip()[0], out):
                return
            text = "".join(part.raw)
            part.raw = None
        reader = part.reader
        if reader is not None:
            text = reader.feed(text)
        if text:
            self._pass_on(part, text, out)
        if reader.__class__ is StopStrings and reader.found is not None:
            self.stop_string = reader.found
            self._finish(out, complete=True)
            self.over = "string"
        elif self.flowing is None:
            self._settle_flow(part)

    def _clear(self, part: Part, first: str, out: list[TurnEvent]) -> bool:
        """Whether text that waited may flow, now that its first character is known."""
        if part.kind is not PartKind.ANSWER:
            part.kept = first == "{"
            return not part.kept
        if first not in (self.options.opening or first):
            self._hold()
        self._begin(part, out)
        return True

    def _pass_on(self, part: Part, text: str, out: list[TurnEvent]) -> None:
        if not part.started:
            self._begin(part, out)
        part.texts.append(text)
        if part.kind is PartKind.ANSWER and self._logprobs:
            self._emit(PartDelta(text, tuple(self._logprobs)), out)
            self._logprobs.clear()
        else:
            self._emit(PartDelta(text), out)

    # Ends.

    def _end(self, stop: Stop, out: list[TurnEvent]) -> None:
        part = self._part
        cut = stop is Stop.EOF and self.cut
        if part is not None and part.raw is not None and not cut and self._adopted(part, out):
            part = None
            called = True
        else:
            called = part is not None and part.kind is PartKind.CALL
            self._finish(out, complete=not cut)
        if stop in _ENDS:
            self.over = "stop"
        elif called and not self.offer.parallel:
            self.over = "enough"
        elif part is not None and part.foreign:
            self.over = "foreign"

    def _finish(self, out: list[TurnEvent], *, complete: bool) -> None:
        """Close the open part, if there is one."""
        part, self._part = self._part, None
        self.flowing, self.thinking = None, False
        if part is not None:
            if part.raw is not None:
                text, part.raw = "".join(part.raw), None
                if text and isinstance(part.reader, StopStrings):
                    text = part.reader.feed(text)
                if text:
                    self._pass_on(part, text, out)
            self._close(part, out, complete=complete)
        for note in self._notes:
            self._emit(Recovered(note), out)
        self._notes.clear()
        self._logprobs.clear()

    def _close(self, part: Part, out: list[TurnEvent], *, complete: bool) -> None:
        reader = part.reader
        arguments: Arguments | None = None
        rest = ""
        if isinstance(reader, StopStrings):
            rest = reader.rest()
        elif isinstance(reader, ArgumentStream):
            rest, arguments = reader.finish(cut=not complete)
            self._notes += argument_mends(arguments, complete=complete)
        elif isinstance(reader, InputStream):
            rest, mend = reader.finish(cut=not complete)
            if mend:
                self._notes.append(mended("custom-input-raw"))
        if rest:
            self._pass_on(part, rest, out)
        text = "".join(part.texts)
        if part.kind is PartKind.ANSWER:
            if not part.started:
                self._begin(part, out)
            self.answers.append(text)
            self.spoken = True
        if part.started:
            self._emit(PartEnd(text, complete, arguments), out)
            self._remember(part, text)
        if part.tool is not None:
            self._called(part, part.tool, arguments, text, out, complete=complete)

    def _remember(self, part: Part, text: str) -> None:
        if part.kind is PartKind.PREAMBLE:
            self.spoken = self.spoken or bool(text.strip())
        if part.call_id is not None:
            self.call_ids.append((len(self.messages), part.call_id))
        self.messages.append(part.message(text))

    # Calls.

    def _called(
        self,
        part: Part,
        tool: OfferedTool,
        arguments: Arguments | None,
        written: str,
        out: list[TurnEvent],
        *,
        complete: bool,
    ) -> None:
        self.calls += 1
        if complete and (tool.strict or tool.grammar is not None):
            self.bound.append(BoundCall(tool, arguments, written, part.call_id))
        for further in arguments.more if arguments is not None and complete else ():
            if self.offer.parallel:
                call = Message.call(
                    tool.recipient, further.json, content_type=part.header.content_type
                )
                self._whole_call(call, tool, further, out)
            else:
                self._notes.append(mended("further-call"))
                self._emit(PartStart(PartKind.REASONING), out)
                self._emit(PartDelta(further.json), out)
                self._emit(PartEnd(further.json), out)
                self.messages.append(Message.analysis(further.json))

    def _whole_call(
        self, call: Message, tool: OfferedTool, arguments: Arguments, out: list[TurnEvent]
    ) -> None:
        """A call whose arguments are known at once."""
        text = arguments.json
        given: Arguments | None = arguments
        if tool.custom:
            value = (arguments.value or {}).get("input")
            text, given = (value if isinstance(value, str) else text), None
        call_id = self._new_id()
        self._emit(_call_start(tool, call_id), out)
        if text:
            self._emit(PartDelta(text), out)
        self._emit(PartEnd(text, True, given), out)
        self.call_ids.append((len(self.messages), call_id))
        self.messages.append(call)
        self.calls += 1
        if tool.strict or tool.grammar is not None:
            self.bound.append(BoundCall(tool, arguments, text, call_id))

    def _adopted(self, part: Part, out: list[TurnEvent]) -> bool:
        """Whether an unaddressed message was a call: then it is told as one."""
        if not part.kept or part.raw is None:
            return False
        text = "".join(part.raw)
        message = Message(_ASSISTANT, (TextContent(text),), "commentary", None, None)
        call = adopt_call(message, self.offer.namespaces)
        tool = None if call is None else self.offer.tools.get(call.recipient or "")
        if call is None or tool is None:
            return False
        self._part, self.flowing, self.thinking = None, None, False
        if tool.recipient in self.options.hold_calls:
            self._hold()
        for note in self._notes:
            self._emit(Recovered(note), out)
        self._notes.clear()
        self._emit(Recovered(mended("adopted-call", tool.recipient)), out)
        arguments = parse_arguments(call.text, schema=tool.schema)
        self._whole_call(call, tool, arguments, out)
        return True

    # Output.

    def _note(self, diagnostic: Diagnostic, out: list[TurnEvent]) -> None:
        if self._part is None:
            self._emit(Recovered(diagnostic), out)
        else:
            self._notes.append(diagnostic)


def _call_start(tool: OfferedTool, call_id: str | None) -> PartStart:
    served = tool.recipient if tool.served else None
    return PartStart(PartKind.CALL, call_id, tool.name, tool.custom, served)
