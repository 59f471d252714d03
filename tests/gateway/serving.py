"""A gateway on a real socket, over an engine that does what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple, Self

import uvloop

from antiphon.api.errors import ApiError
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.engines.served import EngineHealth, ModelCard, Served
from antiphon.gateway.app import create_app
from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.server import GatewayServer, bind
from antiphon.gateway.services import Services
from antiphon.settings.model import ModelSettings, ServerSettings, Settings
from antiphon.vocab.control import CHANNEL, MESSAGE, RETURN
from antiphon.vocab.table import token_bytes
from antiphon.vocab.tokenizer import default_tokenizer

WAIT = 20.0
"""Seconds that anything may take before a test fails."""
TURNS = 20
"""Turns of its loop within which a server is done with a request that it has answered."""


def until(true: Callable[[], object], seconds: float = WAIT) -> None:
    """Wait for something that another thread brings about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.002)


def final(text: str) -> list[int]:
    """A completion that answers with ``text``."""
    encode = default_tokenizer().encode
    return [CHANNEL, *encode("final"), MESSAGE, *encode(text), RETURN]


class Gate:
    """Holds an engine up until the test opens it; from any thread."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def wait(self) -> None:
        while not self._open.is_set():  # noqa: ASYNC110 - opened from another thread
            await asyncio.sleep(0.002)


Step = list[int] | Gate | Exception | Callable[[], None]


class StepEngine:
    """Plays steps: ids are sent one by one, a gate is waited for, an error is raised."""

    name = "step engine"

    def __init__(self, *steps: Step, passthrough: Any = None) -> None:
        self.steps: list[Step] = list(steps)
        self.requests: list[CompletionRequest] = []
        self.running = 0
        self.began = threading.Semaphore(0)
        """Released whenever a completion begins,"""
        self.ended = threading.Semaphore(0)
        """and whenever one ends, however it does."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            reading="ids",
            prompt_ids=True,
            sampling=frozenset(CompletionRequest.__struct_fields__),
            context_length=131_072,
        )

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.requests.append(request)
        self.running += 1
        self.began.release()
        count, last = 0, None
        try:
            yield ()
            for step in self.steps:
                if isinstance(step, Gate):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                elif callable(step):
                    step()
                else:
                    for token in step:
                        count, last = count + 1, token
                        text = (token_bytes(token) or b"").decode("utf-8", "replace")
                        chunks: Sequence[Chunk] | None = (Chunk((token,), text),)
                        if chunks and request.push is not None and count > 1:
                            await asyncio.sleep(0)
                            chunks = request.push(chunks)
                        if chunks is not None:
                            yield chunks
            usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=count)
            yield (Chunk(finish=Finish(FinishReason.STOP, last, usage)),)
        finally:
            self.running -= 1
            self.ended.release()

    async def aclose(self) -> None:
        pass


class OneModel:
    """A catalog of one engine, under one name."""

    def __init__(self, engine: Any, *, gpt_oss: bool = True, passthrough: Any = None) -> None:
        self.state: Any = "up"
        self._served = Served(
            name="m",
            engine=engine,
            gpt_oss=gpt_oss,
            reasons=("the test says so",),
            passthrough=passthrough,
            context_length=131_072,
            settings=ModelSettings(),
        )

    def find(self, name: str | None) -> Served:
        if name not in ("m", "org/m"):
            raise ApiError(
                f"the model {name!r} does not exist",
                status=404,
                type="not_found_error",
                param="model",
                code="model_not_found",
            )
        return self._served

    def list(self) -> tuple[ModelCard, ...]:
        return (ModelCard(id="m", created=1, gpt_oss=True, context_length=131_072),)

    def health(self) -> tuple[EngineHealth, ...]:
        return (EngineHealth(name="step engine", state=self.state, models=("m",)),)

    async def reload(self, settings: Settings) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error, whose shape is checked."""
        (error,) = self.json.values()
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert "Traceback" not in error["message"]
        return error

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events, comments left out."""
        frames = [frame for frame in self.body.decode().split("\n\n") if frame]
        data = [frame for frame in frames if not frame.startswith(":")]
        assert all(frame.startswith("data: ") for frame in data)
        return [
            frame if frame == "data: [DONE]" else json.loads(frame.removeprefix("data: "))
            for frame in data
        ]

    @property
    def text(self) -> str:
        """The content of a stream's first choice."""
        chunks = [event for event in self.events if isinstance(event, dict) and "choices" in event]
        return "".join(
            c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]
        )


class Running(ABC):
    """A server in a thread of its own. When the block ends it is stopped, and nothing may be left
    of it.
    """

    loop: asyncio.AbstractEventLoop
    server: GatewayServer
    lifecycle: Lifecycle

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._left: list[str] = []
        self._error: BaseException | None = None

    @abstractmethod
    def make(self, listener: socket.socket, on_ready: Callable[[], None]) -> GatewayServer:
        """The server, in its own event loop; sets ``lifecycle``."""

    def __enter__(self) -> Self:
        self._listener = bind("127.0.0.1", 0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join()

    def stop(self) -> None:
        """Ask it to end; again to end now."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.server.stop)

    def join(self) -> None:
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        self._listener.close()
        if self._error is not None:
            raise self._error
        assert self._left == []
        assert self.lifecycle.active == 0

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the test's thread
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = self.make(self._listener, self._ready.set)
        await self.server.serve(sockets=[self._listener])
        await asyncio.sleep(0)
        this = asyncio.current_task()
        self._left = [repr(task) for task in asyncio.all_tasks() if task is not this]

    def turn(self) -> None:
        """Let the server do what it does when an answer is out: count, log, settle accounts."""
        done = threading.Event()

        def turn(left: int) -> None:
            if left:
                self.loop.call_soon(turn, left - 1)
            else:
                done.set()

        with contextlib.suppress(RuntimeError):  # It has ended.
            self.loop.call_soon_threadsafe(turn, TURNS)
            while not done.wait(0.05) and self._thread.is_alive():
                pass

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port


class Gateway(Running):
    """A running gateway."""

    services: Services

    def __init__(self, engine: Any, settings: Settings | None = None, **how: Any) -> None:
        super().__init__()
        self.engine = engine
        self.settings = settings or Settings()
        self.catalog = how.pop("catalog", None) or OneModel(
            engine, **{k: how.pop(k) for k in ("gpt_oss", "passthrough") if k in how}
        )
        self._how = how

    def make(self, listener: socket.socket, on_ready: Callable[[], None]) -> GatewayServer:
        app = create_app(self.settings, catalog=self.catalog, **self._how)
        self.services = app.state.services
        self.lifecycle = self.services.lifecycle
        return GatewayServer(
            app,
            listener,
            lifecycle=self.lifecycle,
            shutdown_seconds=self.settings.server.shutdown_seconds,
            on_ready=on_ready,
        )

    def join(self) -> None:
        super().join()
        assert getattr(self.engine, "running", 0) == 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = self.connect()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        given = {"content-type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, body, {**given, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, names, response.read())
        finally:
            connection.close()
        self.turn()
        return answer

    def chat(self, text: Any = "Hi", **parameters: Any) -> Answer:
        messages = [{"role": "user", "content": text}]
        return self.send(
            "POST",
            "/v1/chat/completions",
            {"model": "m", "messages": messages, **parameters},
        )

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes, until the server closes."""
        with self.socket() as connection:
            connection.sendall(data)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received


def quick(**server: Any) -> Settings:
    """Settings with other values for the server."""
    return Settings(server=ServerSettings(**server))
