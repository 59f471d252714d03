"""The chunks of an engine's chat stream → turn events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from antiphon.api.turn import (
    FinishReason,
    Logprob,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEnd,
    TurnEvent,
    TurnRequest,
    TurnUsage,
)
from antiphon.codec.arguments import parse_arguments
from antiphon.errors import EngineError
from antiphon.model.message import Message
from antiphon.model.tools import FUNCTIONS
from antiphon.turn.custom_input import InputStream

__all__ = ["MAX_ANSWER_CHARS", "ChatFolder"]

MAX_ANSWER_CHARS: Final = 64 * 1024 * 1024
"""An engine that says more has lost its way."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Alternative(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Logprob(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_DECODE: Final = msgspec.json.Decoder(_Chunk).decode


class ChatFolder:
    """One turn. Feed it the data of each event; `end` gives what is left to say."""

    def __init__(self, request: TurnRequest, new_id: Callable[[], str]) -> None:
        self._request = request
        self._new_id = new_id
        self._kind: PartKind | None = None
        self._text: list[str] = []
        self._size = 0
        self._index: int | None = None
        self._id: str | None = None
        self._recipient = ""
        self._input: InputStream | None = None
        self._raw: list[str] = []
        self._calls = 0
        self._finish: str | None = None
        self._usage = TurnUsage()
        self._messages: list[Message] = []

    @property
    def finished(self) -> bool:
        """Whether the engine said why it ended."""
        return self._finish is not None

    def feed(self, data: str) -> list[TurnEvent]:
        """Raises EngineError for what is no chunk, and for an error in the stream."""
        try:
            chunk = _DECODE(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise EngineError(f"the engine's chat stream cannot be read: {error}") from error
        if chunk.error is not None:
            raise EngineError(f"the engine reports an error: {str(chunk.error)[:500]}")
        if chunk.usage is not None:
            self._count(chunk.usage)
        out: list[TurnEvent] = []
        for choice in (chunk.choices or ())[:1]:
            if choice.delta is not None:
                self._delta(choice.delta, choice.logprobs, out)
            if choice.finish_reason is not None:
                self._finish = choice.finish_reason
        return out

    def end(self) -> list[TurnEvent]:
        """The end of the turn."""
        out: list[TurnEvent] = []
        cut = self._finish == "length"
        self._close(out, complete=not cut)
        reason: FinishReason = "length" if cut else "tool_calls" if self._calls else "stop"
        out.append(TurnEnd(finish_reason=reason, usage=self._usage, messages=tuple(self._messages)))
        return out

    def _delta(self, delta: _Delta, logprobs: _Logprobs | None, out: list[TurnEvent]) -> None:
        thought = delta.reasoning or delta.reasoning_content or delta.thinking
        if thought:
            self._say(PartKind.REASONING, thought, (), out)
        said = delta.content or delta.refusal
        if said:
            shown: tuple[Logprob, ...] = ()
            if logprobs is not None and self._request.logprobs is not None:
                shown = tuple([_logprob(each) for each in logprobs.content or ()])
            self._say(PartKind.ANSWER, said, shown, out)
        for call in delta.tool_calls or ():
            self._called(call, out)

    def _say(
        self, kind: PartKind, text: str, logprobs: tuple[Logprob, ...], out: list[TurnEvent]
    ) -> None:
        if self._kind is not kind:
            self._close(out)
            self._kind = kind
            out.append(PartStart(kind))
        self._add(text, out, logprobs)

    def _called(self, call: _Call, out: list[TurnEvent]) -> None:
        function = call.function or _Function()
        if self._begins(call, function):
            self._close(out)
            self._kind, self._index, self._id = PartKind.CALL, call.index, call.id
            self._recipient = f"{FUNCTIONS}.{function.name or ''}"
            self._calls += 1
            custom = self._recipient in self._request.custom_tools
            self._input = InputStream() if custom else None
            name = self._request.names.client(self._recipient)
            call_id = call.id or f"call_{self._new_id()}"
            served = self._recipient if self._recipient in self._request.served else None
            out.append(PartStart(PartKind.CALL, call_id, name, custom, served))
        given = function.arguments
        if isinstance(given, dict):
            given = msgspec.json.encode(given).decode()
        if given:
            self._raw.append(given)
            self._add(given if self._input is None else self._input.feed(given), out)

    def _begins(self, call: _Call, function: _Function) -> bool:
        """Whether this is another call: some engines number all of them 0."""
        if self._kind is not PartKind.CALL or call.index != self._index:
            return True
        return bool(function.name and call.id and call.id != self._id)

    def _add(self, text: str, out: list[TurnEvent], logprobs: tuple[Logprob, ...] = ()) -> None:
        if not text:
            return
        self._size += len(text)
        if self._size > MAX_ANSWER_CHARS:
            raise EngineError(f"the engine answers with more than {MAX_ANSWER_CHARS} characters")
        self._text.append(text)
        out.append(PartDelta(text, logprobs))

    def _close(self, out: list[TurnEvent], *, complete: bool = True) -> None:
        """End the open part, if there is one."""
        kind, self._kind = self._kind, None
        if kind is None:
            return
        arguments = None
        if kind is PartKind.CALL:
            if self._input is not None:
                self._add(self._input.finish(cut=not complete)[0], out)
            else:
                if not self._text:
                    self._raw.append("{}")
                    self._add("{}", out)
                arguments = parse_arguments("".join(self._text))
        text = "".join(self._text)
        out.append(PartEnd(text, complete, arguments))
        if kind is PartKind.CALL:
            self._messages.append(Message.call(self._recipient, "".join(self._raw)))
        elif kind is PartKind.REASONING:
            self._messages.append(Message.analysis(text))
        else:
            self._messages.append(Message.final(text))
        self._text, self._raw, self._input = [], [], None

    def _count(self, usage: _Usage) -> None:
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        total = max(0, usage.completion_tokens or 0)
        self._usage = TurnUsage(
            prompt_tokens=max(0, usage.prompt_tokens or 0),
            cached_tokens=max(0, (prompt.cached_tokens if prompt else 0) or 0),
            completion_tokens=total,
            reasoning_tokens=min(
                total, max(0, (completion.reasoning_tokens if completion else 0) or 0)
            ),
        )


def _logprob(given: _Logprob) -> Logprob:
    return Logprob(
        given.token,
        _bytes(given),
        given.logprob,
        tuple([Logprob(o.token, _bytes(o), o.logprob) for o in given.top_logprobs]),
    )


def _bytes(given: _Alternative) -> tuple[int, ...]:
    return tuple(given.bytes if given.bytes is not None else given.token.encode("utf-8", "replace"))
