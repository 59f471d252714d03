"""SGLang as an engine: ``/generate`` with token ids both ways (spec/backends.md, 3.3).

Text and ids come cumulative, or with a server flag as what is new. How many tokens there are by
then is in every event, and tells one from the other.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

from antiphon.engines.frames import SseFrames
from antiphon.engines.http import Call, HttpEngine
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    TokenLogprob,
    Usage,
)
from antiphon.engines.refusal import engine_error, message_in
from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_NAMES, GENERATION_STOP_IDS
from antiphon.vocab.table import token_bytes

__all__ = ["SglangEngine"]

_Likely = tuple[float, int, str | None]


class _Reason(msgspec.Struct):
    type: str = "stop"
    matched: int | str | list[int] | None = None
    message: str = "no message"
    status_code: int | None = None


class _Meta(msgspec.Struct):
    finish_reason: _Reason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    output_token_logprobs: list[_Likely] | None = None
    output_top_logprobs: list[list[_Likely] | None] | None = None


class _Event(msgspec.Struct):
    text: str = ""
    output_ids: tuple[int, ...] = ()
    meta_info: _Meta = msgspec.field(default_factory=_Meta)
    error: Any = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class SglangEngine(HttpEngine):
    """The SGLang server at ``url``."""

    kind: ClassVar[str] = "sglang"
    title: ClassVar[str] = "SGLang"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="ids",
        prompt_ids=True,
        grammar="structural_tag",
        # A seed needs a server that runs deterministically, and is ignored by others.
        sampling=frozenset(
            (
                "temperature top_p top_k min_p presence_penalty frequency_penalty"
                " repetition_penalty logit_bias"
            ).split()
        ),
        logprobs=20,
    )

    _count: int = 0

    def _call(self, request: CompletionRequest) -> Call:
        self._count += 1
        rid = f"antiphon-{id(self):x}-{self._count}"
        body = _body(request, rid, self._room(request), self._capabilities.sampling)
        reader = _Reader(self.name, request.logprobs)
        return Call("/generate", body, reader, undo=("/abort_request", {"rid": rid}))


class _Reader:
    """The stream's bytes → chunks."""

    def __init__(self, name: str, logprobs: int | None) -> None:
        self.finished = False
        self._name = name
        self._logprobs = logprobs
        self._frames = SseFrames()
        self._text = ""
        self._count = 0
        self._cumulative = True

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        for frame in self._frames.feed(data):
            if frame == b"[DONE]" or self.finished:
                break
            try:
                event = _EVENT.decode(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise EngineError(f"{self._name} sent an event that is not one: {error}") from error
            if event.error is not None:
                # A request it refuses is told so in a stream that began well.
                status = 500 if self._count else 400
                code = event.error.get("code") if isinstance(event.error, dict) else None
                raise engine_error(
                    f"{self._name} gave up: {message_in(event.error)}",
                    code if isinstance(code, int) else status,
                )
            self._add(event, chunks)
        return chunks

    def end(self) -> list[Chunk]:
        return []

    def _add(self, event: _Event, chunks: list[Chunk]) -> None:
        meta = event.meta_info
        tokens, text, logprobs = self._new(event)
        stop = tokens[-1] if tokens and tokens[-1] in GENERATION_STOP_IDS else None
        if stop is not None and event.text and not text.endswith(CONTROL_NAMES[stop]):
            text += CONTROL_NAMES[stop]
        if tokens or text:
            chunks.append(Chunk(tokens, text, logprobs=logprobs))
        reason = meta.finish_reason
        if reason is None:
            return
        if reason.type == "abort":
            status = reason.status_code or 500
            raise engine_error(f"{self._name} gave up: {reason.message}", status)
        stopped = reason.type == "stop"
        matched = reason.matched
        if stop is None and isinstance(matched, int) and matched in GENERATION_STOP_IDS:
            stop = matched
            chunks.append(Chunk((stop,), CONTROL_NAMES[stop]))
        finish = Finish(
            FinishReason.STOP if stopped else FinishReason.LENGTH,
            stop if stopped else None,
            Usage(
                prompt_tokens=meta.prompt_tokens,
                completion_tokens=meta.completion_tokens or self._count,
                cached_tokens=meta.cached_tokens,
            ),
        )
        chunks.append(Chunk(finish=finish))
        self.finished = True

    def _new(self, event: _Event) -> tuple[tuple[int, ...], str, tuple[TokenLogprob, ...]]:
        """What this event adds."""
        ids, meta, before = event.output_ids, event.meta_info, self._count
        total = meta.completion_tokens or len(ids)
        if before and len(ids) == total - before:
            self._cumulative = False
        text = event.text
        if self._cumulative:
            tokens = ids[before:]
            if text.startswith(self._text):
                text, self._text = text[len(self._text) :], text
        else:
            tokens = ids
        self._count = before + len(tokens)
        return tokens, text, self._likely(meta, len(tokens))

    def _likely(self, meta: _Meta, new: int) -> tuple[TokenLogprob, ...]:
        if self._logprobs is None or not new or meta.output_token_logprobs is None:
            return ()
        chosen = meta.output_token_logprobs[-new:]
        tops = (meta.output_top_logprobs or [])[-new:]
        return tuple(
            TokenLogprob(
                token,
                token_bytes(token) or b"",
                logprob,
                tuple(
                    TokenLogprob(likely, token_bytes(likely) or b"", its)
                    for its, likely, _ in ((tops[i] if i < len(tops) else None) or [])
                ),
            )
            for i, (logprob, token, _) in enumerate(chosen)
        )


def _body(
    request: CompletionRequest, rid: str, room: int | None, fields: frozenset[str]
) -> dict[str, Any]:
    sampling: dict[str, Any] = {
        # null: as many as fit. Left out, it would be 128.
        "max_new_tokens": room,
        "stop_token_ids": sorted(GENERATION_STOP_IDS),
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "no_stop_trim": True,
    }
    for field in fields:
        value = getattr(request, field)
        if value is not None:
            sampling[field] = value
    # No limit is -1 here.
    if not request.top_k:
        sampling["top_k"] = -1
    if request.logit_bias and "logit_bias" in fields:
        sampling["logit_bias"] = {str(token): bias for token, bias in request.logit_bias.items()}
    if request.grammar is not None:
        sampling["structural_tag"] = request.grammar
    body: dict[str, Any] = {
        "rid": rid,
        "input_ids": list(request.prompt),
        "stream": True,
        "sampling_params": sampling,
    }
    if request.logprobs is not None:
        body["return_logprob"] = True
        body["top_logprobs_num"] = request.logprobs
    return body
