"""An engine's chunks → the turn's events: fed to the parser as the engine's reading says.

The hot path of the gateway: in content, a chunk of one token or one piece of text is one look-up
in the parser and one `PartDelta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antiphon.api.turn import Logprob, PartDelta, TurnEvent
from antiphon.codec.events import TextDelta
from antiphon.codec.stream import Input, Parser
from antiphon.codec.tooltable import ToolTable
from antiphon.engines.protocol import Chunk, Finish, FinishReason, Reading, TokenLogprob
from antiphon.model.message import Role
from antiphon.turn.fold import TurnFold
from antiphon.vocab.control import FIRST_CONTROL_ID, LAST_CONTROL_ID, control_name
from antiphon.vocab.table import token_bytes

__all__ = ["Intake"]

_INPUTS: Final[dict[Reading, Input]] = {
    "ids": "ids",
    "hybrid": "hybrid",
    "marked": "marked",
    "stripped": "stripped",
}


class Intake:
    """Reads one completion into a fold. ``tokens`` and ``reasoning_tokens`` count what came.

    An engine that sends no ids counts a piece of text as a token: most send one at a time.
    """

    def __init__(self, reading: Reading, table: ToolTable, fold: TurnFold) -> None:
        self.tokens = 0
        self.reasoning_tokens = 0
        self._reading = reading
        self._by_ids = reading in ("ids", "hybrid")
        self._fold = fold
        self._parser = Parser(role=Role.ASSISTANT, tools=table, input=_INPUTS[reading])
        self._header_tokens = 0

    def prefill(self, ids: Sequence[int], out: list[TurnEvent]) -> None:
        """The beginning of the completion that the prompt already holds."""
        for token in ids:
            if self._by_ids:
                events = self._parser.feed(token)
            elif FIRST_CONTROL_ID <= token <= LAST_CONTROL_ID:
                if self._reading == "stripped":
                    continue
                events = self._parser.feed(control_name(token))
            else:
                events = self._parser.feed((token_bytes(token) or b"").decode("utf-8", "replace"))
            self._fold.feed(events, out)

    def take(self, chunks: Sequence[Chunk], out: list[TurnEvent]) -> Finish | None:
        """Read what arrived together. Reading stops where the fold says that the turn is over."""
        fold = self._fold
        feed = self._parser.feed
        guard = fold.guard
        by_ids = self._by_ids
        finish: Finish | None = None
        for chunk in chunks:
            if fold.over is not None:
                if chunk.finish is not None:
                    finish = chunk.finish
                continue
            if chunk.finish is not None:
                finish = chunk.finish
            if chunk.logprobs:
                self._with_logprobs(chunk, out)
                continue
            tokens = chunk.tokens
            if by_ids and len(tokens) == 1 and chunk.exact:
                token = tokens[0]
                if chunk.text or self._reading == "ids" or token >= FIRST_CONTROL_ID:
                    events = feed(token)
                else:
                    continue
            elif by_ids:
                self._several(chunk, out)
                continue
            elif chunk.text:
                events = feed(chunk.text)
            else:
                continue
            self.tokens += 1
            flowing = fold.flowing
            if flowing is not None and len(events) == 1:
                event = events[0]
                if event.__class__ is TextDelta:
                    text = event.text
                    flowing.append(text)
                    out.append(PartDelta(text))
                    if fold.thinking:
                        self.reasoning_tokens += 1
                    if guard is not None and guard.add(text):
                        fold.repeats(out)
                    continue
            before = fold.thinking
            if events:
                fold.feed(events, out)
            self._count(1, before)
        return finish

    def end(self, finish: Finish | None, out: list[TurnEvent]) -> None:
        """The completion is over."""
        fold = self._fold
        stopped = finish is not None and finish.reason is FinishReason.STOP
        fold.cut = not stopped
        if fold.over is None:
            stop = finish.stop_token if stopped and finish is not None else None
            if stop is not None and fold.open and self._reading != "stripped":
                events = self._parser.feed(stop if self._by_ids else control_name(stop))
                fold.feed(events, out)
        if fold.over is None:
            fold.feed(self._parser.eof(), out)

    # Inside.

    def _several(self, chunk: Chunk, out: list[TurnEvent]) -> None:
        """A chunk of several ids, of none, or of ids that are not the whole piece."""
        fold, tokens = self._fold, chunk.tokens
        if self._reading == "hybrid" and not (chunk.exact and tokens):
            if chunk.text:
                before = fold.thinking
                fold.feed(self._parser.feed(chunk.text), out)
                self.tokens += max(1, len(tokens))
                self._count(max(1, len(tokens)), before)
            return
        if not tokens:
            return
        if max(tokens) < FIRST_CONTROL_ID:
            before = fold.thinking
            fold.feed(self._parser.feed(tokens), out)
            self.tokens += len(tokens)
            self._count(len(tokens), before)
            return
        for token in tokens:
            if fold.over is not None:
                return
            before = fold.thinking
            fold.feed(self._parser.feed(token), out)
            self.tokens += 1
            self._count(1, before)

    def _count(self, tokens: int, before: bool) -> None:
        """Give tokens to the message they belong to; those of a header wait for theirs."""
        fold = self._fold
        if before or fold.thinking:
            self.reasoning_tokens += tokens + self._header_tokens
            self._header_tokens = 0
        elif fold.open:
            self._header_tokens = 0
        else:
            self._header_tokens += tokens

    def _with_logprobs(self, chunk: Chunk, out: list[TurnEvent]) -> None:
        """Token by token, so that a log probability is never told beside another token's text."""
        tokens, values = chunk.tokens, chunk.logprobs
        if self._by_ids and chunk.exact and len(tokens) == len(values) and len(tokens) > 1:
            for token, value in zip(tokens, values, strict=True):
                self._with_logprobs(Chunk((token,), "\0", logprobs=(value,)), out)
            return
        fold = self._fold
        if fold.options.logprobs and fold.answering and fold.over is None:
            fold.logprobs([_told(v) for v in values if v.token < FIRST_CONTROL_ID])
        if fold.over is None:
            self.take((Chunk(tokens, chunk.text, chunk.exact),), out)


def _told(value: TokenLogprob) -> Logprob:
    return Logprob(
        value.text.decode("utf-8", "replace"),
        tuple(value.text),
        value.logprob,
        tuple([_told(other) for other in value.top]),
    )
