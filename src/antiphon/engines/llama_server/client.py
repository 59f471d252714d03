"""A llama.cpp server as an engine: its ``/completion`` route with token ids both ways.

The server streams one id an event, except that it says nothing for a token that leaves a UTF-8
character incomplete; the event that completes the character then holds all of its text and the
last id only. Control ids are therefore always right, and for the rest the text is.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

from antiphon.engines.frames import SseFrames
from antiphon.engines.http import CONNECT_TIMEOUT, READ_TIMEOUT, Call, HttpEngine
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    TokenLogprob,
    Usage,
)
from antiphon.engines.refusal import engine_error
from antiphon.errors import EngineError
from antiphon.vocab.control import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    CONTROL_NAMES,
    END,
    GENERATION_STOP_IDS,
    MESSAGE,
    RETURN,
    START,
)
from antiphon.vocab.table import token_bytes

__all__ = ["CONNECT_TIMEOUT", "READ_TIMEOUT", "LlamaServerEngine"]

MAX_LOGPROBS: Final = 20
"""The server has no limit; OpenAI's API ends here."""
PRESERVED: Final = [
    CONTROL_NAMES[token] for token in (START, END, MESSAGE, CHANNEL, CONSTRAIN, CALL, RETURN)
]
"""With their text in the stream, none of them can go down in a character left incomplete."""


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class _Error(msgspec.Struct):
    message: str = "no message"
    code: int | str = 500


class _Piece(msgspec.Struct, gc=False):
    """What is looked at in every event."""

    content: str = ""
    tokens: tuple[int, ...] = ()
    stop: bool = False
    error: _Error | None = None


class _End(msgspec.Struct):
    """What the last event has beside."""

    stop_type: str = "none"
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    timings: _Timings = msgspec.field(default_factory=_Timings)


class _Likely(msgspec.Struct):
    id: int = -1
    bytes: list[int] = []
    logprob: float = 0.0


class _Chosen(_Likely):
    top_logprobs: list[_Likely] = []


class _Probabilities(msgspec.Struct):
    completion_probabilities: list[_Chosen] = []


_DECODE: Final = msgspec.json.Decoder(_Piece).decode
_END: Final = msgspec.json.Decoder(_End)
_PROBABILITIES: Final = msgspec.json.Decoder(_Probabilities)

_CHUNKS: Final[dict[int, Chunk]] = {}
"""Token → its chunk, for tokens that spell whole characters. Filled as tokens come; shared."""
_NO_CHUNKS: Final[dict[int, Chunk]] = {}
"""In place of `_CHUNKS` where each chunk has its own log probabilities."""


class LlamaServerEngine(HttpEngine):
    """The llama.cpp server at ``url``."""

    kind: ClassVar[str] = "llama.cpp"
    title: ClassVar[str] = "llama.cpp's server"
    # The server closes a connection after a stream without saying so beforehand.
    keep_alive: ClassVar[bool] = False
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="hybrid",
        prompt_ids=True,
        grammar="gbnf",
        sampling=frozenset(
            (
                "temperature top_p top_k min_p presence_penalty frequency_penalty"
                " repetition_penalty seed logit_bias"
            ).split()
        ),
        logprobs=MAX_LOGPROBS,
    )

    def _call(self, request: CompletionRequest) -> Call:
        reader = _Reader(self.name, request.logprobs)
        return Call("/completion", _body(request, request.model or self.model), reader)


class _Reader:
    """The stream's bytes → chunks."""

    def __init__(self, name: str, logprobs: int | None) -> None:
        self.finished = False
        self._name = name
        self._logprobs = logprobs
        self._known = (_CHUNKS if logprobs is None else _NO_CHUNKS).get
        self._frames = SseFrames()
        self._last = -1

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        known = self._known
        for frame in self._frames.feed(data):
            try:
                piece = _DECODE(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise EngineError(f"{self._name} sent an event that is not one: {error}") from error
            tokens = piece.tokens
            if len(tokens) == 1:
                chunk = known(tokens[0])
                if chunk is not None and chunk.text == piece.content and not piece.stop:
                    chunks.append(chunk)
                    continue
            if piece.error is not None:
                self._give_up(piece.error)
            self._add(piece, frame, chunks)
            if self.finished:
                break
        if chunks and (tokens := chunks[-1].tokens):
            self._last = tokens[-1]
        return chunks

    def end(self) -> list[Chunk]:
        return []

    def _add(self, piece: _Piece, frame: bytes, chunks: list[Chunk]) -> None:
        tokens, text = piece.tokens, piece.content
        logprobs = _logprobs(frame, self._logprobs) if self._logprobs is not None else ()
        if tokens and (name := CONTROL_NAMES.get(tokens[-1])) is not None:
            # What stands before the name is what an incomplete character left.
            if before := text.removesuffix(name):
                chunks.append(Chunk((), before, exact=False))
            chunks.append(_chunk(tokens[-1:], name, logprobs))
        elif text or tokens:
            chunks.append(_chunk(tokens, text, logprobs))
        if piece.stop:
            if chunks and chunks[-1].tokens:
                self._last = chunks[-1].tokens[-1]
            chunks.append(Chunk(finish=self._finish(frame)))
            self.finished = True

    def _finish(self, frame: bytes) -> Finish:
        try:
            end = _END.decode(frame)
        except msgspec.MsgspecError as error:
            raise EngineError(f"{self._name} sent an event that is not one: {error}") from error
        stopped = end.stop_type == "eos"
        return Finish(
            FinishReason.STOP if stopped else FinishReason.LENGTH,
            self._last if stopped and self._last in GENERATION_STOP_IDS else None,
            Usage(
                prompt_tokens=end.tokens_evaluated,
                completion_tokens=end.tokens_predicted,
                cached_tokens=end.timings.cache_n,
                prompt_seconds=end.timings.prompt_ms / 1000,
                completion_seconds=end.timings.predicted_ms / 1000,
            ),
        )

    def _give_up(self, error: _Error) -> None:
        status = error.code if isinstance(error.code, int) else 500
        raise engine_error(f"{self._name} gave up: {error.message}", status)


def _chunk(tokens: tuple[int, ...], text: str, logprobs: tuple[TokenLogprob, ...]) -> Chunk:
    if logprobs:
        return Chunk(tokens, text, _spelled(tokens) == text, logprobs)
    if len(tokens) != 1:
        return Chunk(tokens, text, _spelled(tokens) == text)
    token = tokens[0]
    data = token_bytes(token)
    if data is None or data != text.encode("utf-8", "surrogatepass"):
        return Chunk(tokens, text, exact=False)
    chunk = _CHUNKS[token] = Chunk(tokens, text)
    return chunk


def _spelled(tokens: tuple[int, ...]) -> str:
    return b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace")


def _logprobs(frame: bytes, most: int) -> tuple[TokenLogprob, ...]:
    try:
        found = _PROBABILITIES.decode(frame).completion_probabilities
        return tuple(
            TokenLogprob(
                chosen.id,
                bytes(chosen.bytes),
                chosen.logprob,
                tuple(
                    TokenLogprob(likely.id, bytes(likely.bytes), likely.logprob)
                    for likely in chosen.top_logprobs[:most]
                ),
            )
            for chosen in found
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise EngineError(f"log probabilities that are none: {error}") from error


def _top_k(request: CompletionRequest) -> int:
    """Greedy is the likeliest token: told so, the server does not weigh the whole vocabulary."""
    greedy = request.temperature == 0 and request.logprobs is None
    return 1 if greedy else request.top_k


def _body(request: CompletionRequest, model: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": list(request.prompt),
        "stream": True,
        "return_tokens": True,
        "preserved_tokens": PRESERVED,
        "cache_prompt": True,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": _top_k(request),
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repeat_penalty": request.repetition_penalty,
    }
    if model is not None:
        body["model"] = model
    if request.seed is not None:
        body["seed"] = request.seed
    if request.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in request.logit_bias.items()]
    if request.logprobs is not None:
        # 0 would mean none at all, not even those of the chosen tokens.
        body["n_probs"] = max(1, request.logprobs)
    if request.grammar is not None:
        body["grammar"] = request.grammar
    return body
