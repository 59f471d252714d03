"""What all engines over HTTP share: one request a completion, its stream read under limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Final, NamedTuple, Protocol, Self

import msgspec

from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest
from antiphon.engines.refusal import refusal
from antiphon.errors import EngineError, MissingExtraError

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise MissingExtraError("aiohttp", "gateway") from missing

__all__ = ["CONNECT_TIMEOUT", "READ_TIMEOUT", "Call", "HttpEngine", "StreamReader"]

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect."""
READ_TIMEOUT: Final = 1800.0
"""Seconds without a byte: the longest that an engine may read a prompt or load a model in silence.
How long a client waits is for `TurnSettings` to say."""
MAX_ERROR_BYTES: Final = 65_536
"""How much of an error answer is read."""
KEEP_ALIVE: Final = 4.0
"""Seconds a connection is kept for the next request; uvicorn closes it after 5."""
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
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._session: aiohttp.ClientSession | None = None
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
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self._check(request)
        call = self._call(request)
        reader = call.reader
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._post(call)
            if response.status != 200:
                body = await response.content.read(MAX_ERROR_BYTES)
                raise refusal(self.name, response.status, body, response.headers)
            async for data in response.content.iter_any():
                yield reader.feed(data)
                if reader.finished:
                    break
            else:
                if not reader.finished and (last := reader.end()):
                    yield last
            if not reader.finished:
                raise EngineError(f"{self.name} broke off: the stream ended before its last event")
            if self.keep_alive:
                await _drain(response)
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
        finally:
            if response is not None:
                # Closes the connection at once, unless the whole answer has been read.
                response.close() if not response.content.at_eof() else response.release()
            if call.undo is not None and not reader.finished and response is not None:
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

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            # How many requests may run at a time is for the caller to say.
            connector = (
                aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
                if self.keep_alive
                else aiohttp.TCPConnector(limit=0, force_close=True)
            )
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=self._timeout,
                connector=connector,
                trace_configs=[trace],
            )
        return self._session

    async def _post(self, call: Call) -> aiohttp.ClientResponse:
        session = self._open()
        data = msgspec.json.encode(call.body)
        reuse = SimpleNamespace(happened=False)
        try:
            return await session.post(f"{self.url}{call.path}", data=data, trace_request_ctx=reuse)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection may have been closed in the meantime: that says nothing about the
            # engine, and costs it nothing to be asked again.
            if not reuse.happened:
                raise
        return await session.post(f"{self.url}{call.path}", data=data)

    async def _tell(self, path: str, body: dict[str, Any]) -> None:
        try:
            async with self._open().post(
                f"{self.url}{path}",
                data=msgspec.json.encode(body),
                timeout=aiohttp.ClientTimeout(total=SIDE_CALL_TIMEOUT),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError):
            pass  # The connection is closed; this was to make sure.

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)


async def _note_reuse(_session: object, context: SimpleNamespace, _: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.happened = True


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the answer's end, so that its connection can be used again."""
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT):
            while not response.content.at_eof():
                await response.content.readany()
    except (aiohttp.ClientError, TimeoutError):
        pass  # The completion is whole; only the connection is lost.


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
