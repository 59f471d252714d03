"""What all engines over HTTP share: one request a completion, its stream read under limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol, Self

import msgspec

from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Push, says_something
from antiphon.engines.refusal import refusal
from antiphon.engines.wire import Answer, BrokenAnswerError, ConnectTimeoutError, Wire
from antiphon.errors import EngineError

__all__ = ["CONNECT_TIMEOUT", "READ_TIMEOUT", "Call", "HttpEngine", "StreamReader"]

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect."""
READ_TIMEOUT: Final = 1800.0
"""Seconds without a byte: the longest that an engine may read a prompt or load a model in silence.
How long a client waits is for `TurnSettings` to say."""
MAX_ERROR_BYTES: Final = 65_536
"""How much of an error answer is read."""
DRAIN_TIMEOUT: Final = 0.1
"""Seconds the end of an answer may lag behind its last event if its connection is to be kept."""
SIDE_CALL_TIMEOUT: Final = 5.0
"""Seconds for telling an engine something beside the stream."""


class StreamReader(Protocol):
    """The answer's bytes → chunks."""

    finished: bool
    """The chunk with ``finish`` has been given."""

    def feed(self, data: bytes) -> Sequence[Chunk]:
        """The chunks these bytes complete. Raises EngineError for an error or garbage."""
        ...

    def end(self) -> Sequence[Chunk]:
        """The answer is over: the last chunks, if its end is told by nothing else."""
        ...


class Call(NamedTuple):
    """One completion, as it goes over the wire."""

    path: str
    body: dict[str, Any]
    reader: StreamReader
    undo: tuple[str, dict[str, Any]] | None = None
    """Path and body that tell the engine to give up, where going away may not be enough."""


class HttpEngine:
    """The base of the adapters. Create and use it within one event loop.

    ``model`` is the name requests get that have none; ``capabilities`` takes the place of the
    adapter's own (what a probe found), and ``context_length`` that of theirs.

    Raises EngineError for a URL or a key that no request could carry.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    """For people: what runs there."""
    defaults: ClassVar[Capabilities]
    keep_alive: ClassVar[bool] = True
    """Whether a connection can serve a second request."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        capabilities: Capabilities | None = None,
        context_length: int | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        can = capabilities or self.defaults
        if context_length is not None:
            can = msgspec.structs.replace(can, context_length=context_length)
        self._capabilities = can
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        try:
            self._wire = Wire(
                self.url,
                headers=headers,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                keep_alive=self.keep_alive,
            )
        except ValueError as error:
            raise EngineError(str(error)) from error
        self._side: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return f"{self.title} at {self.url}"

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._side:
            await asyncio.gather(*self._side, return_exceptions=True)
        await self._wire.aclose()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self._check(request)
        call = self._call(request)
        reader = call.reader
        answer: Answer | None = None
        try:
            answer = await self._wire.post(call.path, msgspec.json.encode(call.body))
            if answer.status != 200:
                body = await answer.read_some(MAX_ERROR_BYTES)
                raise refusal(self.name, answer.status, body, answer.headers)
            pushing = None if request.push is None else _Pushed(reader, request.push)
            while True:
                data = await answer.read()
                if pushing is not None and pushing.left is not None:
                    chunks, pushing.left = pushing.left, None
                elif data:
                    chunks = reader.feed(data)
                else:
                    chunks = reader.end()
                    if chunks:
                        yield chunks
                    break
                yield chunks
                if reader.finished:
                    break
                if pushing is not None and answer.push is None and says_something(chunks):
                    answer.push = pushing
            answer.push = None
            if not reader.finished:
                raise EngineError(f"{self.name} broke off: the stream ended before its last event")
            if self.keep_alive:
                await _drain(answer)
        except ConnectTimeoutError as error:
            raise EngineError(
                f"cannot reach {self.name} within {self._connect_timeout:g} s (connect_timeout)"
            ) from error
        except TimeoutError as error:
            raise EngineError(
                f"{self.name} sent nothing for {self._read_timeout:g} s (read_timeout)"
            ) from error
        except OSError as error:
            raise EngineError(f"cannot reach {self.name}: {_reason(error)}") from error
        except BrokenAnswerError as error:
            raise EngineError(f"{self.name} broke off: {error}") from error
        finally:
            if answer is not None:
                self._wire.release(answer)
                if call.undo is not None and not reader.finished:
                    self._beside(self._tell(*call.undo))

    def _call(self, request: CompletionRequest) -> Call:
        raise NotImplementedError

    def _check(self, request: CompletionRequest) -> None:
        """Refuse what the engine would silently cut."""
        room = self._capabilities.context_length
        if room is not None and len(request.prompt) >= room:
            error = EngineError(
                f"{self.name}: the prompt's {len(request.prompt)} tokens do not fit in its context"
                f" of {room} tokens"
            )
            error.status_hint = 400
            raise error

    def _room(self, request: CompletionRequest) -> int | None:
        """How many tokens the completion may have; None: not known."""
        if request.max_tokens is not None:
            return request.max_tokens
        room = self._capabilities.context_length
        return None if room is None else room - len(request.prompt)

    async def _tell(self, path: str, body: dict[str, Any]) -> None:
        answer: Answer | None = None
        try:
            async with asyncio.timeout(SIDE_CALL_TIMEOUT):
                answer = await self._wire.post(path, msgspec.json.encode(body))
                await _drain(answer)
        except (BrokenAnswerError, OSError):
            pass  # The connection is closed; this was to make sure.
        finally:
            if answer is not None:
                self._wire.release(answer)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)


class _Pushed:
    """An answer's bytes → chunks → ``push``. ``left`` is what the generator gives instead."""

    __slots__ = ("_push", "_reader", "left")

    def __init__(self, reader: StreamReader, push: Push) -> None:
        self._reader = reader
        self._push = push
        self.left: Sequence[Chunk] | None = None

    def __call__(self, data: bytes) -> bool:
        chunks = self._reader.feed(data)
        if self._reader.finished:
            self.left = chunks
        elif chunks:
            self.left = self._push(chunks)
        return self.left is None


async def _drain(answer: Answer) -> None:
    """Read the answer's end, so that its connection can be used again."""
    if answer.complete:
        return
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT):
            while await answer.read():
                pass
    except (BrokenAnswerError, OSError):
        pass  # The completion is whole; only the connection is lost.


def _reason(error: OSError) -> str:
    return str(error) or type(error).__name__
