"""What goes past in a request that is passed through: enough to compare it with our own path.

The bytes are the client's; this only reads along. A piece without anything to count costs two
searches, and what grows too large is not looked at any more.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.errors import EngineError
from antiphon.gateway.context import RequestContext
from antiphon.gateway.watch import Watchers
from antiphon.net.sse import ServerSentEventDecoder

__all__ = ["PassedWatch"]

MAX_BYTES: Final = 8 * 1024 * 1024
"""An answer, or the arguments of one call, that is larger is not understood."""


class _Function(msgspec.Struct, frozen=True):
    arguments: Any = None


class _Call(msgspec.Struct, frozen=True):
    index: int = 0
    function: _Function = _Function()


class _Body(msgspec.Struct, frozen=True):
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int = 0
    delta: _Body | None = None
    message: _Body | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Answer(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_TELLING: Final = ('"tool_calls"', '"usage"', '"error"', '"finish_reason":"', '"finish_reason": "')
_FINISHES: Final = frozenset({"stop", "length", "tool_calls"})


class PassedWatch:
    """One passed-through answer. `piece` for what arrives, then `closed`."""

    def __init__(self, to: Watchers, context: RequestContext) -> None:
        self._to = to
        self._context = context
        self._started = to.clock()
        self._first: float | None = None
        self._sse: ServerSentEventDecoder | None = None
        self._whole: bytearray | None = None
        self._usage = _Usage()
        self._arguments: dict[tuple[int, int], list[str]] = {}
        self._size = 0
        self._finish: str | None = None
        self._failed = False

    def begins(self, status: int, content_type: str) -> None:
        """The engine's answer has begun."""
        self._failed = status >= 400
        if content_type.startswith("text/event-stream"):
            self._sse = ServerSentEventDecoder(max_event_bytes=MAX_BYTES)
        elif content_type.startswith("application/json"):
            self._whole = bytearray()

    def piece(self, data: bytes) -> None:
        """Bytes of the body, as they arrived."""
        if self._first is None:
            self._first = self._to.clock()
        if self._sse is not None:
            self._events(self._sse, data)
        elif self._whole is not None:
            self._whole += data
            if len(self._whole) > MAX_BYTES:
                self._whole = None

    def closed(self, error: BaseException | None) -> None:
        """It is over; ``error`` is what ended it before its time."""
        if self._whole is not None:
            self._read(bytes(self._whole))
        now = self._to.clock()
        metrics, context = self._to.metrics, self._context
        model, mode = metrics.model(context.model), context.mode or ""
        usage = self._usage
        completion = usage.completion_tokens or 0
        finish = "error" if self._failed else self._finish or "stop"
        if error is not None:
            finish = "error" if isinstance(error, Exception) else "cancelled"
        metrics.turns.labels(model, mode, finish).inc()
        metrics.turn_seconds.labels(model, mode).observe(now - self._started)
        if self._first is not None and not self._failed:
            metrics.first_token.labels(model, mode).observe(self._first - self._started)
            if context.streamed and completion > 1 and now > self._first:
                metrics.rate.labels(model, mode).observe((completion - 1) / (now - self._first))
        for channel, count in _by_channel(usage).items():
            if count:
                metrics.tokens.labels(model, mode, channel).inc(count)
        for arguments in self._arguments.values():
            metrics.tool_calls.labels(model, mode, _kind("".join(arguments))).inc()
        if context.lease is not None:
            context.lease.used = (usage.prompt_tokens or 0) + completion
        context.notes |= {
            "prompt_tokens": usage.prompt_tokens or 0,
            "completion_tokens": completion,
            "finish": finish,
        }

    def _events(self, sse: ServerSentEventDecoder, data: bytes) -> None:
        try:
            events = sse.feed(data)
        except EngineError:
            self._sse = None
            return
        for event in events:
            if any(word in event.data for word in _TELLING):
                self._read(event.data.encode())

    def _read(self, data: bytes) -> None:
        try:
            answer = _ANSWER.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # An engine's own shape; it is passed on all the same.
        self._failed = self._failed or answer.error is not None
        if answer.usage is not None:
            self._usage = answer.usage
        for choice in answer.choices:
            if choice.finish_reason in _FINISHES:
                self._finish = choice.finish_reason
            body = choice.message or choice.delta
            for position, call in enumerate((body and body.tool_calls) or ()):
                where = (choice.index, position if choice.message else call.index)
                self._argue(where, call.function.arguments)

    def _argue(self, where: tuple[int, int], arguments: Any) -> None:
        text = arguments if isinstance(arguments, str) else "" if arguments is None else "{}"
        self._size += len(text)
        if self._size <= MAX_BYTES:
            self._arguments.setdefault(where, []).append(text)


def _kind(arguments: str) -> str:
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "raw"
    return "valid" if isinstance(value, dict) else "raw"


def _by_channel(usage: _Usage) -> dict[str, int]:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    reasoning = (completion and completion.reasoning_tokens) or 0
    return {
        "prompt": usage.prompt_tokens or 0,
        "cached": (prompt and prompt.cached_tokens) or 0,
        "analysis": reasoning,
        "final": max(0, (usage.completion_tokens or 0) - reasoning),
    }
