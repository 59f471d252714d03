"""`Parser(strict=True)`: the reference's strict parser, told as events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from antiphon.codec.events import Event, MessageEnd, MessageStart, Span, Stop, TextDelta
from antiphon.codec.stream import Input, Parser, Tools
from antiphon.codec.strict import StrictParser, StrictState
from antiphon.codec.text import CONTROL, hold_back
from antiphon.errors import ParseError
from antiphon.model.message import Role
from antiphon.vocab.control import CALL, CONTROL_IDS, END, RETURN
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["StrictEventParser"]

_STOPS: Final = {END: Stop.END, RETURN: Stop.RETURN, CALL: Stop.CALL, None: Stop.EOF}


class StrictEventParser(Parser):
    """Raises ParseError where the reference's strict mode raises, and reads what it reads.

    Text must be marked; it is encoded first, as users of the reference do, and spans count its
    tokens. The tool table is not used. An error behind the first event of a chunk is raised by the
    next call, so that no event is lost. Header fields have no spans of their own.
    """

    __slots__ = ("_emitted", "_error", "_held", "_message_start", "_strict", "_text_start")

    def __init__(
        self,
        *,
        role: Role | str | None = None,
        tools: Tools = None,
        strict: bool = True,
        input: Input = "auto",
    ) -> None:
        if input in ("stripped", "hybrid"):
            raise ValueError(f"strict parsing takes ids or marked text, not {input} input")
        super().__init__(role=role, tools=tools, input=input)
        self._strict = StrictParser(None if role is None else Role(role))
        self._held: str | None = None
        self._error: ParseError | None = None
        self._message_start = 0
        self._text_start = 0
        self._emitted: list[str] = []

    @property
    def position(self) -> int:
        return self._strict.position

    def feed(self, chunk: int | Sequence[int] | str) -> Sequence[Event]:
        if isinstance(chunk, str):
            if self._input == "ids" or (self._held is None and self._strict.position):
                raise TypeError("this parser reads ids, not text")
            text = (self._held or "") + chunk
            keep = hold_back(text)
            self._held = text[keep:]
            return self._run(_encode(text[:keep]))
        if self._input == "marked" or self._held is not None:
            raise TypeError("this parser reads text, not ids")
        return self._run((chunk,) if isinstance(chunk, int) else chunk)

    def eof(self) -> Sequence[Event]:
        events = [*self._run(_encode(self._held or ""))]
        self._raise_deferred()
        strict = self._strict
        if strict.state is StrictState.CONTENT:
            strict.eof()
            events += self._ended(strict.position)
        else:
            strict.eof()
        return events

    def _run(self, ids: Iterable[int]) -> Sequence[Event]:
        self._raise_deferred()
        strict = self._strict
        events: list[Event] = []
        for token in ids:
            before = strict.state
            if before is StrictState.EXPECT_START:
                self._message_start = strict.position
            try:
                delta = strict.feed(token)
            except ParseError as error:
                if not events:
                    raise
                self._error = error
                break
            if delta is not None:
                self._emitted.append(delta)
                events.append(TextDelta(delta))
            elif before is not strict.state:
                events += self._turned(before)
        return events

    def _turned(self, before: StrictState) -> list[Event]:
        strict = self._strict
        if before is StrictState.CONTENT:
            return self._ended(strict.position - 1)
        if strict.header is None:
            return []
        self._text_start = strict.position
        self._emitted = []
        return [MessageStart(strict.header, Span(self._message_start, strict.position), {})]

    def _ended(self, position: int) -> list[Event]:
        """The end of a message, with the text that the reference's deltas leave out."""
        message = self._strict.messages.pop()
        rest = message.text[len("".join(self._emitted)) :]
        end = MessageEnd(_STOPS[message.stop], Span(self._text_start, position))
        return [TextDelta(rest), end] if rest else [end]

    def _raise_deferred(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def _encode(text: str) -> list[int]:
    """Marked text → ids."""
    ids: list[int] = []
    done = 0
    for found in CONTROL.finditer(text):
        token = CONTROL_IDS.get(found.group())
        if token is not None:
            if done < found.start():
                ids += default_tokenizer().encode(text[done : found.start()])
            ids.append(token)
            done = found.end()
    if done < len(text):
        ids += default_tokenizer().encode(text[done:])
    return ids
