"""One request's turns as metrics, log lines, spans and trace entries see them.

Per token this costs a look at the event's class and an addition; everything else is done once, when
the request is over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.turn import (
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    Recovered,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)
from antiphon.engines.protocol import Chunk, Reading, Usage
from antiphon.gateway.context import RequestContext
from antiphon.gateway.logs import CONTENT, Log
from antiphon.gateway.metrics import Metrics
from antiphon.gateway.trace import Completion, TraceEntry, TraceFile
from antiphon.gateway.tracing import Tracer

__all__ = ["RequestWatch", "Watchers"]

MAX_RECOVERED: Final = 200
"""Codes of mends remembered for the log and the trace of one turn; all are counted."""
_CANCELLED: Final = "cancelled"
_RAW: Final = msgspec.json.Encoder().encode


class Watchers(msgspec.Struct, frozen=True):
    """Where what is seen goes."""

    metrics: Metrics
    log: Log
    tracer: Tracer
    clock: Callable[[], float]
    trace: TraceFile | None = None


class RequestWatch:
    """Sees all choices of one request (`antiphon.gateway.hooks.TurnWatch`)."""

    def __init__(self, to: Watchers, context: RequestContext) -> None:
        self._to = to
        self._context = context
        self._started = to.clock()
        self._choices: dict[int, _Choice] = {}

    def choice(self, index: int) -> _Choice:
        """The observer of one choice's turn."""
        known = self._choices.get(index)
        if known is None:
            keeps = self._context.raw or self._to.trace is not None
            known = self._choices[index] = _Choice(
                self._to.log,
                [] if keeps else None,
                self._to.tracer.turn(self._context, index),
            )
        return known

    def events(self, index: int, events: Sequence[TurnEvent]) -> None:
        choice = self._choices.get(index) or self.choice(index)
        if choice.first is None and events:
            choice.saw_first(events, self._to.clock)
        if len(events) == 1 and events[0].__class__ is PartDelta:
            choice.pieces[choice.kind] += 1
        else:
            choice.saw(events)

    def transcript(self) -> bytes | None:
        """Prompts and raw output as JSON, if the request asked for them."""
        if not self._context.raw:
            return None
        return _RAW(
            [
                {"choice": index, "completions": _shown(choice.completions or [])}
                for index, choice in sorted(self._choices.items())
            ]
        )

    def closed(self, error: BaseException | None) -> None:
        now = self._to.clock()
        code = _code(error)
        prompt = completion = 0
        for index, choice in sorted(self._choices.items()):
            usage = choice.end.usage if choice.end is not None else choice.estimate()
            self._count(choice, usage, now, None if choice.end is not None else code)
            self._write(index, choice, None if choice.end is not None else code)
            prompt = max(prompt, usage.prompt_tokens)
            completion += usage.completion_tokens
        context = self._context
        if context.lease is not None and self._choices:
            context.lease.used = prompt + completion
        self._note(prompt, completion)

    def _count(self, choice: _Choice, usage: TurnUsage, now: float, error: str | None) -> None:
        metrics, mode = self._to.metrics, self._context.mode or ""
        model = metrics.model(self._context.model)
        finish = choice.finish(error)
        metrics.turns.labels(model, mode, finish).inc()
        metrics.turn_seconds.labels(model, mode).observe(now - self._started)
        if choice.first is not None:
            metrics.first_token.labels(model, mode).observe(choice.first - self._started)
            lasted = now - choice.first
            if usage.completion_tokens > 1 and lasted > 0:
                metrics.rate.labels(model, mode).observe((usage.completion_tokens - 1) / lasted)
        for channel, count in choice.by_channel(usage).items():
            if count:
                metrics.tokens.labels(model, mode, channel).inc(count)
        for kind, count in choice.calls.items():
            metrics.tool_calls.labels(model, mode, kind).inc(count)
        for code, count in choice.recovered.items():
            metrics.recoveries.labels(model, metrics.code(code)).inc(count)
        if choice.span is not None:
            choice.span.end(usage, finish=finish, recovered=tuple(choice.recovered), error=error)

    def _write(self, index: int, choice: _Choice, error: str | None) -> None:
        log, trace, context = self._to.log, self._to.trace, self._context
        if choice.recovered:
            fields: dict[str, Any] = {"codes": choice.recovered, "choice": index}
            if log.content:
                fields[CONTENT] = choice.details
            log.info("recovered", model=context.model, **fields)
        if trace is None or choice.completions is None:
            return
        try:
            trace.write(
                TraceEntry(
                    time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                    request_id=context.request_id,
                    choice=index,
                    model=context.model or "",
                    engine=context.engine or "",
                    key=context.tenant,
                    completions=choice.completions,
                    recovered=list(choice.recovered),
                    finish_reason=choice.end.finish_reason if choice.end is not None else None,
                    error=error,
                )
            )
        except OSError as problem:
            log.warning("trace", why=f"an entry could not be written: {problem.strerror}")

    def _note(self, prompt: int, completion: int) -> None:
        notes = self._context.notes
        choices = self._choices.values()
        notes["prompt_tokens"] = prompt
        notes["completion_tokens"] = completion
        ends = [choice.end for choice in choices if choice.end is not None]
        if ends:
            notes["cached_tokens"] = max(end.usage.cached_tokens for end in ends)
            notes["reasoning_tokens"] = sum(end.usage.reasoning_tokens for end in ends)
            notes["finish"] = ends[0].finish_reason
        first = min((c.first for c in choices if c.first is not None), default=None)
        if first is not None:
            notes["first_token_ms"] = round((first - self._started) * 1000, 1)
        calls = sum(sum(choice.calls.values()) for choice in choices)
        if calls:
            notes["tool_calls"] = calls


class _Choice:
    """What one turn told (`antiphon.turn.observe.TurnObserver`)."""

    __slots__ = (
        "_log",
        "_prompt",
        "_received",
        "_usage",
        "calls",
        "completions",
        "details",
        "end",
        "first",
        "kind",
        "pieces",
        "recovered",
        "span",
    )

    def __init__(self, log: Log, completions: list[Completion] | None, span: Any) -> None:
        self._log = log
        self._prompt = 0
        self._received = 0
        self.pieces: Counter[PartKind | None] = Counter()
        """Pieces of text by what they belong to."""
        self._usage: Usage | None = None
        self.completions = completions
        self.span = span
        self.kind: PartKind | None = None
        self.first: float | None = None
        self.calls: dict[str, int] = {}
        self.recovered: dict[str, int] = {}
        self.details: list[str] = []
        self.end: TurnEnd | None = None

    # The engine's side.

    def prompted(self, prompt: Sequence[int], reading: Reading, *, grammar: bool) -> None:
        self._prompt = len(prompt)
        if self.completions is not None:
            self.completions.append(
                Completion(reading=reading, grammar=grammar, prompt=prompt, output=[])
            )

    def received(self, chunks: Sequence[Chunk]) -> None:
        self._received += len(chunks)
        if chunks and chunks[-1].finish is not None:
            self._usage = chunks[-1].finish.usage
        if self.completions:
            self.completions[-1].add(chunks)

    def decided(self, what: str, why: str) -> None:
        # The reason may quote the model.
        self._log.info("decided", what=what, **{CONTENT: why})

    # The client's side.

    def saw_first(self, events: Sequence[TurnEvent], clock: Callable[[], float]) -> None:
        if any(isinstance(event, PartStart | PartDelta) for event in events):
            self.first = clock()
            if self.span is not None:
                self.span.first_token()

    def saw(self, events: Sequence[TurnEvent]) -> None:
        for event in events:
            if event.__class__ is PartDelta:
                self.pieces[self.kind] += 1
            elif isinstance(event, PartStart):
                self.kind = event.kind
            elif isinstance(event, PartEnd):
                if self.kind is PartKind.CALL:
                    kind = _arguments(event)
                    self.calls[kind] = self.calls.get(kind, 0) + 1
                self.kind = None
            elif isinstance(event, Recovered):
                self._mended(event)
            elif isinstance(event, TurnEnd):
                self.end = event

    def _mended(self, event: Recovered) -> None:
        code = event.diagnostic.code
        if code in self.recovered or len(self.recovered) < MAX_RECOVERED:
            self.recovered[code] = self.recovered.get(code, 0) + 1
        if self._log.content and len(self.details) < MAX_RECOVERED:
            self.details.append(event.diagnostic.detail)

    # The sum.

    def estimate(self) -> TurnUsage:
        """What a turn without an end used, as far as can be known."""
        if self._usage is not None:
            return TurnUsage(
                prompt_tokens=self._usage.prompt_tokens,
                cached_tokens=self._usage.cached_tokens,
                completion_tokens=self._usage.completion_tokens,
            )
        return TurnUsage(prompt_tokens=self._prompt, completion_tokens=self._received)

    def finish(self, error: str | None) -> str:
        if self.end is not None:
            return self.end.finish_reason
        if error == _CANCELLED:
            return _CANCELLED
        return "error" if error is not None else "stop"

    def by_channel(self, usage: TurnUsage) -> dict[str, int]:
        """Tokens by channel. Reasoning is counted by the turn; the rest is shared between
        commentary and final by the pieces that came of each.
        """
        rest = max(0, usage.completion_tokens - usage.reasoning_tokens)
        pieces = self.pieces.total() - self.pieces[PartKind.REASONING]
        commentary = pieces - self.pieces[PartKind.ANSWER]
        commentary = rest * commentary // pieces if pieces else 0
        return {
            "prompt": usage.prompt_tokens,
            "cached": usage.cached_tokens,
            "analysis": usage.reasoning_tokens,
            "commentary": commentary,
            "final": rest - commentary,
        }


def _arguments(event: PartEnd) -> str:
    if not event.complete:
        return "incomplete"
    return "custom" if event.arguments is None else event.arguments.kind.value


def _code(error: BaseException | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return _CANCELLED
    return (error.code or error.type) if isinstance(error, ApiError) else "internal_error"


def _shown(completions: list[Completion]) -> list[dict[str, Any]]:
    from antiphon.gateway.transcript import as_text

    return [
        {
            "reading": completion.reading,
            "prompt": as_text(completion.prompt),
            "output": as_text(completion.joined()),
            "finish": completion.finish,
        }
        for completion in completions
    ]
