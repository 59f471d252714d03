"""OpenAI's legacy completions as an engine: the base of many, and any endpoint that speaks them.

What differs from engine to engine is a few names in the request and whether ids come back; the
stream is read by one reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

from antiphon.engines.frames import SseFrames
from antiphon.engines.http import Call, HttpEngine
from antiphon.engines.prompt_text import count_marked, marked_prompt
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Reading,
    TokenLogprob,
    Usage,
)
from antiphon.engines.refusal import engine_error, message_in
from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_IDS, CONTROL_NAMES, GENERATION_STOP_IDS
from antiphon.vocab.table import token_bytes

__all__ = ["CompletionsEngine", "CompletionsReader"]

UNKNOWN_ROOM: Final = 16_384
"""Tokens asked for when neither the request nor the engine tells a limit: these endpoints take a
missing one for 16 or 512."""
DONE: Final = b"[DONE]"
_STOP_NAMES: Final = tuple(CONTROL_NAMES[token] for token in sorted(GENERATION_STOP_IDS))
_TAIL: Final = max(map(len, _STOP_NAMES)) - 1
_TOKEN_ID: Final = "token_id:"  # noqa: S105 - a prefix


class _Logprobs(msgspec.Struct):
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None
    message: Any = None
    """Older versions of vLLM put an error's fields at the top."""


_EVENT: Final = msgspec.json.Decoder(_Event)


class CompletionsEngine(HttpEngine):
    """Any ``/v1/completions`` at ``url``. What it can do is the most careful guess; pass
    ``capabilities`` if more is known.
    """

    kind: ClassVar[str] = "openai"
    title: ClassVar[str] = "the completions endpoint"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="marked",
        sampling=frozenset(
            "temperature top_p presence_penalty frequency_penalty seed logit_bias".split()
        ),
    )
    path: ClassVar[str] = "/v1/completions"
    names: ClassVar[Mapping[str, str]] = {}
    """Our name of a sampling parameter → the engine's, where they differ."""
    usage_option: ClassVar[bool] = True
    """Whether ``stream_options`` may be sent."""

    def _call(self, request: CompletionRequest) -> Call:
        reader = CompletionsReader(
            self.name, self._capabilities.reading, len(request.prompt), request.logprobs
        )
        return Call(self.path, self._body(request), reader)

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        can = self._capabilities
        room = self._room(request)
        body: dict[str, Any] = {
            "prompt": list(request.prompt) if can.prompt_ids else marked_prompt(request.prompt),
            "stream": True,
            "max_tokens": UNKNOWN_ROOM if room is None else room,
        }
        if (model := request.model or self.model) is not None:
            body["model"] = model
        if self.usage_option:
            body["stream_options"] = {"include_usage": True}
        for field in can.sampling:
            value = getattr(request, field)
            if value is not None:
                body[self.names.get(field, field)] = value
        if request.logit_bias and "logit_bias" in can.sampling:
            body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
        if request.logprobs is not None and can.logprobs is not None:
            body["logprobs"] = min(request.logprobs, can.logprobs)
        return body


class CompletionsReader:
    """The stream's bytes → chunks.

    An engine that sends no ids is not trusted to stop: where the text is marked, it ends at the
    first token that ends a turn. Text holds no half characters, so each event is a chunk.
    """

    def __init__(
        self, name: str, reading: Reading, prompt_tokens: int, logprobs: int | None
    ) -> None:
        self.finished = False
        self._name = name
        self._reading = reading
        self._prompt_tokens = prompt_tokens
        self._logprobs = logprobs
        self._frames = SseFrames()
        self._texts: list[str] = []
        self._tail = ""
        self._count = 0
        self._stop: int | None = None
        self._reason: FinishReason | None = None
        self._usage: _Usage | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        for frame in self._frames.feed(data):
            if frame == DONE:
                return chunks + self.end()
            try:
                event = _EVENT.decode(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise EngineError(f"{self._name} sent an event that is not one: {error}") from error
            if event.error is not None or (event.message is not None and not event.choices):
                self._give_up(event)
            if event.usage is not None:
                self._usage = event.usage
            for choice in event.choices:
                self._add(choice, chunks)
            if self._reason is not None and (self._usage is not None or self._stop_seen()):
                return chunks + self.end()
        return chunks

    def end(self) -> list[Chunk]:
        """The last chunk, if the engine has said that it finished."""
        if self.finished or self._reason is None:
            return []
        self.finished = True
        stop = self._stop if self._reason is FinishReason.STOP else None
        return [Chunk(finish=Finish(self._reason, stop, self._cost()))]

    def _stop_seen(self) -> bool:
        """We have ended the completion ourselves, so that no usage will come."""
        return self._reading == "marked" and self._stop is not None

    def _add(self, choice: _Choice, chunks: list[Chunk]) -> None:
        if self._reason is not None:
            return
        tokens, text = choice.token_ids or (), choice.text or ""
        if tokens:
            self._count += len(tokens)
            if tokens[-1] in GENERATION_STOP_IDS:
                self._stop = tokens[-1]
                name = CONTROL_NAMES[self._stop]
                text = text if text.endswith(name) else text + name
        elif text:
            if self._reading == "marked":
                text = self._until_stop(text)
            self._texts.append(text)
        if choice.finish_reason is not None:
            length = choice.finish_reason == "length"
            self._reason = FinishReason.LENGTH if length else FinishReason.STOP
            reason = choice.stop_reason
            if isinstance(reason, int) and reason in GENERATION_STOP_IDS and self._stop is None:
                # A server that keeps the stop token to itself but for its id.
                self._stop = reason
                if self._reading == "ids":
                    self._count += 1
                    tokens, text = (*tokens, reason), text + CONTROL_NAMES[reason]
        if tokens or text:
            found = choice.logprobs
            logprobs = _logprobs(found, self._logprobs or 0) if found is not None else ()
            chunks.append(Chunk(tokens, text, logprobs=logprobs))

    def _until_stop(self, text: str) -> str:
        """Marked text up to the end of the first token that ends the turn."""
        if ">" in text:
            seen = self._tail + text
            ends = [seen.find(name) + len(name) for name in _STOP_NAMES if name in seen]
            if ends:
                end = min(ends)
                seen = seen[:end]
                self._reason = FinishReason.STOP
                self._stop = CONTROL_IDS[seen[seen.rindex("<") :]]
                return text[: end - len(self._tail)]
            self._tail = seen[-_TAIL:]
        else:
            self._tail = (self._tail + text)[-_TAIL:]
        return text

    def _cost(self) -> Usage:
        usage = self._usage
        if usage is None:
            count = self._count or count_marked("".join(self._texts))
            return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=count)
        details = usage.prompt_tokens_details
        completion = usage.completion_tokens
        return Usage(
            prompt_tokens=usage.prompt_tokens or self._prompt_tokens,
            completion_tokens=self._count if completion is None else completion,
            cached_tokens=(details and details.cached_tokens) or 0,
        )

    def _give_up(self, event: _Event) -> None:
        error = event.error if event.error is not None else event.message
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) else 500
        raise engine_error(f"{self._name} gave up: {message_in(error)}", status)


def _logprobs(found: _Logprobs, most: int) -> tuple[TokenLogprob, ...]:
    tops = found.top_logprobs or []
    return tuple(
        TokenLogprob(
            *_named(token),
            0.0 if logprob is None else logprob,
            _likely((tops[i] if i < len(tops) else None) or {}, most),
        )
        for i, (token, logprob) in enumerate(zip(found.tokens, found.token_logprobs, strict=False))
    )


def _likely(top: Mapping[str, float], most: int) -> tuple[TokenLogprob, ...]:
    ranked = sorted(top.items(), key=lambda item: -item[1])[:most]
    return tuple(TokenLogprob(*_named(token), logprob) for token, logprob in ranked)


def _named(token: str) -> tuple[int, bytes]:
    """A token by ``token_id:5`` or by its text."""
    if token.startswith(_TOKEN_ID) and (number := token[len(_TOKEN_ID) :]).isdecimal():
        return int(number), token_bytes(int(number)) or b""
    return -1, token.encode("utf-8", "replace")
