"""A llama.cpp server as an engine: its ``/completion`` route with token ids both ways.

The server streams one id an event, except that it says nothing for a token that leaves a UTF-8
character incomplete; the event that completes the character then holds all of its text and the
last id only. Control ids are therefore always right, and for the rest the text is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.errors import EngineError, MissingExtraError
from antiphon.net.sse import ServerSentEventDecoder
from antiphon.vocab.control import CONTROL_NAMES, STOP_IDS
from antiphon.vocab.table import token_bytes

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise MissingExtraError("aiohttp", "local") from missing

__all__ = ["CONNECT_TIMEOUT", "READ_TIMEOUT", "LlamaServerEngine"]

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect."""
READ_TIMEOUT: Final = 120.0
"""Seconds without a byte. The server sends a comment every 30 s while it reads a long prompt."""
MAX_ERROR_BYTES: Final = 65_536
"""How much of an error answer is read."""


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class _Error(msgspec.Struct):
    message: str = "no message"
    code: int = 500


class _Event(msgspec.Struct):
    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = "none"
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    timings: _Timings = msgspec.field(default_factory=_Timings)
    error: _Error | None = None


class _Refusal(msgspec.Struct):
    error: _Error


CAPABILITIES: Final = Capabilities(
    reading="hybrid",
    prompt_ids=True,
    grammar="gbnf",
    sampling=frozenset(
        (
            "temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty"
            " seed logit_bias"
        ).split()
    ),
)

_EVENT: Final = msgspec.json.Decoder(_Event)
_REFUSAL: Final = msgspec.json.Decoder(_Refusal)


class LlamaServerEngine:
    """The llama.cpp server at ``url``. Create and use it within one event loop."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return f"llama.cpp's server at {self.url}"

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def __aenter__(self) -> LlamaServerEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=self._timeout,
                # The server closes a connection after a stream without saying so beforehand, so
                # none is used twice; how many requests may run at a time is for the caller to say.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
            )
        reader = _Reader(self.name)
        try:
            async with self._session.post(
                f"{self.url}/completion",
                data=msgspec.json.encode(_body(request)),
                headers={"Content-Type": "application/json"},
            ) as response:
                if response.status != 200:
                    body = await response.content.read(MAX_ERROR_BYTES)
                    raise self._refused(response.status, body)
                async for data in response.content.iter_any():
                    yield reader.feed(data)
        except aiohttp.ConnectionTimeoutError as error:
            raise EngineError(
                f"cannot reach {self.name} within {self._timeout.sock_connect:g} s"
                " (connect_timeout)"
            ) from error
        except TimeoutError as error:
            raise EngineError(
                f"{self.name} sent nothing for {self._timeout.sock_read:g} s (read_timeout)"
            ) from error
        except aiohttp.ClientConnectionError as error:
            raise EngineError(f"cannot reach {self.name}: {_reason(error)}") from error
        except aiohttp.ClientError as error:
            raise EngineError(f"{self.name} broke off: {_reason(error)}") from error
        if not reader.finished:
            raise EngineError(f"{self.name} broke off: the stream ended before its last event")

    def _refused(self, status: int, body: bytes) -> EngineError:
        try:
            message = _REFUSAL.decode(body).error.message
        except msgspec.MsgspecError:
            message = body[:200].decode("utf-8", "replace").strip() or "no message"
        return _error(f"{self.name} refused the request with status {status}: {message}", status)


class _Reader:
    """The stream's bytes → chunks."""

    def __init__(self, name: str) -> None:
        self.finished = False
        self._name = name
        self._frames = ServerSentEventDecoder()
        self._last: int | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        for frame in self._frames.feed(data):
            if self.finished:
                break
            try:
                event = _EVENT.decode(frame.data)
            except msgspec.MsgspecError as error:
                raise EngineError(f"{self._name} sent an event that is not one: {error}") from error
            if event.error is not None:
                raise _error(f"{self._name} gave up: {event.error.message}", event.error.code)
            chunks.append(self._chunk(event))
        return chunks

    def _chunk(self, event: _Event) -> Chunk:
        tokens, text, exact = tuple(event.tokens), event.content, True
        if tokens and tokens[0] in CONTROL_NAMES:
            text = CONTROL_NAMES[tokens[0]]
        elif text and _spelled(tokens) != text:
            exact = False
        if tokens:
            self._last = tokens[-1]
        if not event.stop:
            return Chunk(tokens, text, exact)
        self.finished = True
        return Chunk(tokens, text, exact, finish=self._finish(event))

    def _finish(self, event: _Event) -> Finish:
        timings = event.timings
        stopped = event.stop_type == "eos"
        return Finish(
            FinishReason.STOP if stopped else FinishReason.LENGTH,
            self._last if stopped and self._last in STOP_IDS else None,
            Usage(
                prompt_tokens=event.tokens_evaluated,
                completion_tokens=event.tokens_predicted,
                cached_tokens=timings.cache_n,
                prompt_seconds=timings.prompt_ms / 1000,
                completion_seconds=timings.predicted_ms / 1000,
            ),
        )


def _body(request: CompletionRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": list(request.prompt),
        "stream": True,
        "return_tokens": True,
        "cache_prompt": True,
        "n_predict": -1 if request.max_tokens is None else request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.grammar is not None:
        body["grammar"] = request.grammar
    return body


def _spelled(tokens: tuple[int, ...]) -> str:
    return b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _error(message: str, status: int) -> EngineError:
    error = EngineError(message)
    if status == 400:
        error.status_hint = 400
    return error
