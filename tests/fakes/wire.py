"""What the wire fakes share: a real socket, a script in place of a model, and faults on demand.

A fake speaks one engine's protocol, quirks included, as spec/backends.md tells it; each module
cites its section. Use one as ``async with`` in the test's own loop or as ``with`` in a thread::

    with FakeVllm(completion_ids) as fake:
        ... fake.url, fake.requests, fake.active
"""

from __future__ import annotations

import asyncio
import codecs
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self

from aiohttp import web

from antiphon.codec.text import CONTROL
from antiphon.vocab.control import (
    CONTROL_IDS,
    CONTROL_NAMES,
    GENERATION_STOP_IDS,
    LAST_CONTROL_ID,
    is_control,
)
from antiphon.vocab.table import token_bytes
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = [
    "HELLO",
    "TEMPLATE",
    "FakeEngine",
    "Faults",
    "Frame",
    "Play",
    "Recorded",
    "Refusal",
    "Script",
    "ids_of",
]

Script = Sequence[int] | Callable[[list[int]], Sequence[int]]
"""What the model says: always this, or this for that prompt."""

Frame = tuple[int, bytes]
"""Tokens delivered once these bytes are out, and the bytes."""

TEMPLATE = (
    "<|start|>system<|message|>{{ system }}<|end|><|start|>assistant<|channel|>final<|message|>"
)
"""Enough of gpt-oss's chat template to be told by."""
PLAIN_TEMPLATE = "<|im_start|>user\n{{ prompt }}<|im_end|>\n<|im_start|>assistant\n"
HUGE_LINE = 50_000_000
_FOREVER = 1 << 60


def ids_of(text: str, *, special: bool = True) -> list[int]:
    """Text as an engine's tokenizer reads it: with ``special``, control tokens are recognised."""
    encode = default_tokenizer().encode
    if not special:
        return encode(text)
    ids: list[int] = []
    done = 0
    for found in CONTROL.finditer(text):
        if found.group() in CONTROL_IDS:
            ids += encode(text[done : found.start()])
            ids.append(CONTROL_IDS[found.group()])
            done = found.end()
    return ids + encode(text[done:])


HELLO = ids_of(
    "<|channel|>analysis<|message|>Simple greeting.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hello! 👋<|return|>"
)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong. A number says after how many tokens; None: never."""

    status: int | None = None
    """Every completion is answered with this status, `body` and `headers`."""
    body: str | None = None
    """None: an error in the engine's own shape."""
    headers: dict[str, str] = field(default_factory=dict)
    die_after: int | None = None
    """The connection is dropped."""
    hang: int | None = None
    """Nothing more comes, and the connection stays."""
    hang_before_headers: bool = False
    garbage: int | None = None
    """An event that is none of the protocol's."""
    half_frame: int | None = None
    """Half of an event, and then an orderly end."""
    huge_line: int | None = None
    """50 MB without a line's end."""
    error: int | None = None
    """The engine's own error event."""
    early_end: int | None = None
    """An orderly end without the last event."""
    die_on_reuse: bool = False
    """The connection is dropped when a second request comes over it."""


@dataclass(frozen=True)
class Recorded:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    peer: tuple[str, int] = ("", 0)
    """The client's end of the connection."""
    prompt_ids: list[int] = field(default_factory=list)
    """What the engine's tokenizer makes of the prompt, for completions."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.extra = extra


class Play:
    """One completion: what the script gives within the limits, and how it ends."""

    def __init__(
        self, prompt: list[int], script: Sequence[int], room: int, *, stops: frozenset[int]
    ) -> None:
        end = next((i + 1 for i, token in enumerate(script) if token in stops), len(script))
        self.prompt = prompt
        self.tokens = list(script[: min(end, room)])
        last = self.tokens[-1] if self.tokens else None
        self.stop = last if last in stops else None
        self.limited = self.stop is None and len(script) > room

    @property
    def reason(self) -> str:
        return "length" if self.limited else "stop"

    @property
    def total(self) -> int:
        return len(self.tokens)

    def steps(self, size: int = 1) -> Iterator[tuple[int, list[int]]]:
        """(tokens out by then, those of this step)."""
        for start in range(0, self.total, size):
            piece = self.tokens[start : start + size]
            yield start + len(piece), piece

    def texts(
        self,
        size: int = 1,
        *,
        special: bool = True,
        stop_text: bool = True,
    ) -> Iterator[tuple[int, list[int], str]]:
        """Steps with the text that is whole by then; a half character waits for its rest."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for count, piece in self.steps(size):
            data = b""
            for token in piece:
                if is_control(token):
                    if special and (stop_text or token != self.stop):
                        data += CONTROL_NAMES[token].encode()
                else:
                    data += token_bytes(token) or b""
            yield count, piece, decoder.decode(data, final=count == self.total)


class FakeEngine:
    """The base: answers ``GET /health``, plays scripts, records requests, goes wrong on demand.

    ``step`` is tokens an event; ``api_key`` is asked for where given.
    """

    kind: ClassVar[str]
    default_model: ClassVar[str] = "openai/gpt-oss-20b"
    vocabulary: ClassVar[int] = LAST_CONTROL_ID
    stops: ClassVar[frozenset[int]] = GENERATION_STOP_IDS
    handler_cancellation: ClassVar[bool] = True

    def __init__(
        self,
        script: Script = HELLO,
        *,
        model_name: str | None = None,
        gpt_oss: bool = True,
        context_length: int = 131_072,
        step: int = 1,
        api_key: str | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.script = script
        default = self.default_model if gpt_oss else "qwen3-4b-instruct"
        self.model_name = model_name or default
        self.gpt_oss = gpt_oss
        self.context_length = context_length
        self.step = step
        self.api_key = api_key
        self.faults = faults or Faults()
        self.url = ""
        self.requests: list[Recorded] = []
        """Every request, detection's included, in order."""
        self.active = 0
        """Completions being worked on."""
        self.left = 0
        """Completions whose client went away."""
        self._idle = asyncio.Event()
        self._busy = asyncio.Event()
        self._peers: set[Any] = set()
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def completions(self) -> list[Recorded]:
        return [request for request in self.requests if request.prompt_ids]

    @property
    def template(self) -> str:
        return TEMPLATE if self.gpt_oss else PLAIN_TEMPLATE

    # The protocol.

    def routes(self) -> Iterable[web.RouteDef]:
        raise NotImplementedError

    def refusal_body(self, refusal: Refusal) -> Any:
        """An error answer in the engine's shape."""
        return {
            "error": {
                "message": refusal.message,
                "type": "BadRequestError",
                "param": None,
                "code": refusal.status,
            }
        }

    def error_frame(self, message: str) -> bytes:
        """An error in the middle of a stream."""
        return sse(self.refusal_body(Refusal(500, message)))

    def garbage_frame(self) -> bytes:
        return b"data: {\x00\xff this is no JSON\n\n"

    def tokenise(self, text: str, *, special: bool = True) -> list[int]:
        return ids_of(text, special=special and self.gpt_oss)

    # Running.

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = asyncio.Event()
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 30)
        app.add_routes(self.routes())
        runner = web.AppRunner(
            app,
            handler_cancellation=self.handler_cancellation,
            access_log=None,
            shutdown_timeout=0.1,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        self._running = self.running()
        return await self._running.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._running.__aexit__(*error)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        started = threading.Event()

        async def serve() -> None:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._stop = partial(loop.call_soon_threadsafe, done.set)
            async with self.running():
                started.set()
                await done.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the fake engine does not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self._thread is not None:
            self._thread.join(10)

    async def wait_busy(self) -> None:
        """Until something is being worked on; only in the loop the fake runs in."""
        await self._busy.wait()

    async def wait_idle(self) -> None:
        """Until nothing is being worked on; only in the loop the fake runs in."""
        await self._idle.wait()

    # What subclasses use.

    async def read(self, request: web.Request) -> Any:
        body = await request.read()
        try:
            return json.loads(body) if body else {}
        except ValueError:
            raise Refusal(400, "the body is not JSON") from None

    def record(self, request: web.Request, body: Any, prompt: list[int] | None = None) -> None:
        peer = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        self.requests.append(
            Recorded(request.method, request.path, dict(request.headers), body, peer, prompt or [])
        )

    def prompt_ids(self, prompt: Any, *, ids: bool = True) -> list[int]:
        """The prompt as ids, or a refusal. Without ``ids`` only a string will do."""
        if isinstance(prompt, str):
            read = self.tokenise(prompt)
        elif ids and isinstance(prompt, list):
            read = []
            for part in prompt:
                read += self.tokenise(part) if isinstance(part, str) else [part]
        else:
            raise Refusal(400, "prompt must be a string.")
        if not read:
            raise Refusal(400, "the prompt is empty")
        for token in read:
            if not 0 <= token < self.vocabulary:
                raise Refusal(400, f"Token id {token} is out of vocabulary")
        if len(read) >= self.context_length:
            raise Refusal(
                400,
                f"This model's maximum context length is {self.context_length} tokens."
                f" However, your prompt has {len(read)} tokens.",
            )
        return read

    def play(self, prompt: list[int], max_tokens: int | None) -> Play:
        script = self.script(prompt) if callable(self.script) else self.script
        room = self.context_length - len(prompt)
        if max_tokens is not None and max_tokens >= 0:
            room = min(room, max_tokens)
        return Play(prompt, script, room, stops=self.stops if self.gpt_oss else frozenset())

    async def stream(
        self,
        request: web.Request,
        frames: Iterable[Frame],
        *,
        content_type: str = "text/event-stream",
        keep_alive: bool = True,
    ) -> web.StreamResponse:
        """Write the frames, and go wrong where the faults say so."""
        response = web.StreamResponse(
            headers={"Content-Type": content_type, "Cache-Control": "no-cache"}
        )
        response.enable_chunked_encoding()
        if not keep_alive:
            response.force_close()
        await response.prepare(request)
        for count, frame in frames:
            if await self._fault(request, response, count, frame):
                return response
            await response.write(frame)
        await response.write_eof()
        return response

    async def _fault(
        self, request: web.Request, response: web.StreamResponse, count: int, frame: bytes
    ) -> bool:
        def due(after: int | None) -> bool:
            return after is not None and count > after

        faults = self.faults
        if due(faults.die_after):
            assert request.transport is not None
            request.transport.abort()
            return True
        if due(faults.hang):
            await asyncio.sleep(_FOREVER)
        if due(faults.early_end):
            await response.write_eof()
            return True
        if due(faults.half_frame):
            await response.write(frame[: len(frame) // 2])
            await response.write_eof()
            return True
        if due(faults.garbage):
            await response.write(self.garbage_frame())
        if due(faults.error):
            await response.write(self.error_frame("the engine ran out of luck"))
            await response.write_eof()
            return True
        if due(faults.huge_line):
            piece = b"data: " + b"x" * 1_000_000
            for _ in range(HUGE_LINE // 1_000_000):
                await response.write(piece)
            await response.write(b"\n\n")
        return False

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Around the work of one completion."""
        self.active += 1
        self._idle.clear()
        self._busy.set()
        try:
            if self.faults.hang_before_headers:
                await asyncio.sleep(_FOREVER)
            if self.faults.status is not None:
                raise Refusal(self.faults.status, "the engine refuses on demand")
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        finally:
            self.active -= 1
            if not self.active:
                self._busy.clear()
                self._idle.set()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response(self.refusal_body(Refusal(401, "Invalid API Key")), status=401)
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if self.faults.die_on_reuse and peer in self._peers and request.transport is not None:
            request.transport.abort()
            await asyncio.sleep(_FOREVER)
        self._peers.add(peer)
        try:
            return await handler(request)
        except Refusal as refusal:
            faults = self.faults
            if refusal.status == faults.status and faults.body is not None:
                return web.Response(status=refusal.status, text=faults.body, headers=faults.headers)
            return web.json_response(
                self.refusal_body(refusal), status=refusal.status, headers=faults.headers
            )


def sse(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
