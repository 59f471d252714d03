"""The wire of ``POST /v1/completions`` for engines of ours: a raw prompt in, what follows it out.

A prompt is ids, or text in which control tokens are spelled out (``<|start|>``): whoever writes raw
prompts means them. The answer spells them out too, but for the stop token that ended it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.api.errors import ApiError
from antiphon.codec.text import CONTROL
from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Finish, FinishReason
from antiphon.errors import EngineError
from antiphon.model.json import decode_as
from antiphon.vocab.control import CONTROL_IDS, CONTROL_NAMES
from antiphon.vocab.tokenizer import Tokenizer

__all__ = ["RawAnswer", "RawRequest", "decode_raw"]

DEFAULT_MAX_TOKENS: Final = 16
"""OpenAI's."""

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    """What is known; other fields are ignored and named in ``antiphon-ignored``."""

    model: str
    prompt: Any = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    # Only their defaults are possible here.
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    stop: Any = None
    logit_bias: Any = None


_DECODER: Final = msgspec.json.Decoder(_Body)
_KEYS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN: Final = frozenset(_Body.__struct_fields__)
_SAMPLING: Final = ("temperature top_p top_k min_p presence_penalty frequency_penalty seed").split()
_IMPOSSIBLE: Final = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None,),
    "stop": (None, [], ""),
    "logit_bias": (None, {}),
}
"""Parameter → the values that ask for nothing."""


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    completion: CompletionRequest
    model: str
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]


def decode_raw(body: bytes, *, capabilities: Capabilities, tokenizer: Tokenizer) -> RawRequest:
    """Raises MessageError or ApiError, naming what is wrong or not possible here."""
    wire = decode_as(_DECODER, body)
    for name, harmless in _IMPOSSIBLE.items():
        if getattr(wire, name) not in harmless:
            raise _unsupported(name, "is not possible on this route for this engine")
    sampling = {name: value for name in _SAMPLING if (value := getattr(wire, name)) is not None}
    for name in sampling:
        if name not in capabilities.sampling:
            raise _unsupported(name, "is not possible with this engine")
    completion = CompletionRequest(
        prompt=_prompt(wire.prompt, tokenizer),
        max_tokens=DEFAULT_MAX_TOKENS if wire.max_tokens is None else wire.max_tokens,
        **sampling,
    )
    ignored = [key[:80] for key in _KEYS.decode(body) if key not in _KNOWN]
    return RawRequest(
        completion=completion,
        model=wire.model,
        stream=wire.stream is True,
        include_usage=bool(wire.stream_options and wire.stream_options.include_usage),
        ignored=tuple(ignored[:32]),
    )


def _unsupported(name: str, why: str) -> ApiError:
    return ApiError(f"{name}: {why}", param=name, code="unsupported_parameter")


def _prompt(prompt: Any, tokenizer: Tokenizer) -> list[int]:
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        (prompt,) = prompt
    if isinstance(prompt, str) and prompt:
        return _marked_ids(prompt, tokenizer)
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return prompt
    raise ApiError(
        "prompt: expected one text or one list of token ids",
        param="prompt",
        code="invalid_value",
    )


def _marked_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    ids: list[int] = []
    done = 0
    for found in CONTROL.finditer(text):
        token = CONTROL_IDS.get(found.group())
        if token is not None:
            ids += tokenizer.encode(text[done : found.start()])
            ids.append(token)
            done = found.end()
    return ids + tokenizer.encode(text[done:])


class RawAnswer:
    """Chunks → OpenAI's completion object, whole or as events."""

    def __init__(self, *, id: str, created: int, request: RawRequest) -> None:
        self._head = {"id": id, "object": "text_completion", "created": created}
        self._request = request
        self._texts: list[str] = []
        self._finish: Finish | None = None

    def feed(self, chunks: Sequence[Chunk]) -> str:
        """The text of these chunks, without the stop token."""
        texts: list[str] = []
        for chunk in chunks:
            text = chunk.text
            if chunk.tokens and chunk.tokens[-1] in _STOPS:
                text = text.removesuffix(CONTROL_NAMES[chunk.tokens[-1]])
            texts.append(text)
            if chunk.finish is not None:
                self._finish = chunk.finish
        text = "".join(texts)
        if not self._request.stream:
            self._texts.append(text)
        return text

    def body(self) -> bytes:
        """The whole answer. Raises EngineError if the engine did not say how it ended."""
        finish = self._ended()
        answer = self._object("".join(self._texts), finish)
        return msgspec.json.encode({**answer, "usage": _usage(finish)})

    def event(self, text: str) -> bytes:
        """An event with some text."""
        return b"data: %b\n\n" % msgspec.json.encode(self._object(text, None))

    def last_events(self) -> bytes:
        """The event that says how it ended, and the usage if it was asked for."""
        finish = self._ended()
        events = [self._object("", finish)]
        if self._request.include_usage:
            model = self._request.model
            events.append({**self._head, "model": model, "choices": [], "usage": _usage(finish)})
        return b"".join([b"data: %b\n\n" % msgspec.json.encode(event) for event in events])

    def _ended(self) -> Finish:
        if self._finish is None:
            raise EngineError("the engine did not say how it finished")
        return self._finish

    def _object(self, text: str, finish: Finish | None) -> dict[str, Any]:
        reason: Literal["stop", "length"] | None = None
        if finish is not None:
            reason = "length" if finish.reason is FinishReason.LENGTH else "stop"
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return {**self._head, "model": self._request.model, "choices": [choice]}


_STOPS: Final = frozenset(CONTROL_IDS[name] for name in ("<|return|>", "<|call|>", "<|endoftext|>"))


def _usage(finish: Finish) -> dict[str, Any]:
    usage = finish.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
