"""A long chain of responses in one process: what passes from a request to the engine's call.

The application is called as the server calls it, with a body in and events out; the engine is a
fake that looks at the clock when it is asked. So nothing of sockets is in the figure, and all of
ours is: reading the body, the store, the chain, the prompt.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections.abc import AsyncGenerator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gateway_upstream import completion

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
from antiphon.settings.model import LogSettings, ModelSettings, Settings, StoreSettings
from antiphon.store.open import open_stores
from antiphon.turn.prompt import renderer
from antiphon.vocab.table import token_bytes

__all__ = ["ANSWER_TOKENS", "Chain", "copied"]

ANSWER_TOKENS = 200
CONTEXT = 131_072
WORDS = "the a boat canal lock gate water level keeper ledger night bridge tow path rope".split()
INSTRUCTIONS = "Answer from the ledger, and name the page that you read. " * 30
TOOLS = [
    {
        "type": "function",
        "name": f"look_up_{what}",
        "description": f"Look up a {what} in the ledger of the canal, by its name or number.",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": f"The name of the {what}."},
                "page": {"type": "integer", "description": "Where to begin, from 1."},
            },
            "required": ["name"],
        },
    }
    for what in ("boat", "lock", "keeper", "cargo", "bridge")
]


@cache
def _answer(tokens: int) -> Sequence[Sequence[Chunk]]:
    """The fake's words: what it thinks, and what it says."""
    ids = completion(tokens)
    pieces = [(token_bytes(token) or b"").decode("utf-8", "replace") for token in ids]
    last = (
        Chunk(
            finish=Finish(
                FinishReason.STOP, ids[-1], Usage(prompt_tokens=0, completion_tokens=len(ids))
            )
        ),
    )
    return [*[(Chunk((t,), p),) for t, p in zip(ids, pieces, strict=True)], last]


class _Engine:
    name = "fake"
    capabilities = Capabilities(
        reading="ids",
        prompt_ids=True,
        sampling=frozenset(CompletionRequest.__struct_fields__),
        context_length=CONTEXT,
    )

    def __init__(self) -> None:
        self.asked = 0.0
        self.prompt: Sequence[int] = ()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.asked = time.perf_counter()
        self.prompt = request.prompt
        for chunks in _answer(ANSWER_TOKENS):
            yield chunks

    async def aclose(self) -> None:
        pass


class _Catalog:
    def __init__(self, engine: _Engine) -> None:
        self._served = Served(
            name="m", engine=engine, gpt_oss=True, reasons=("fake",), passthrough=None,
            context_length=CONTEXT, settings=ModelSettings(),
        )  # fmt: skip

    def find(self, name: str | None) -> Served:
        return self._served

    def list(self) -> tuple[ModelCard, ...]:
        return ()

    def health(self) -> tuple[EngineHealth, ...]:
        return ()

    async def reload(self, settings: Settings) -> None: ...
    async def aclose(self) -> None: ...


class Chain:
    """A gateway without sockets on a store in a file, and a chain that grows in it."""

    def __init__(self, file: Path) -> None:
        settings = Settings(
            log=LogSettings(level="warning"),
            store=StoreSettings(
                url=f"sqlite:{file}", seal_file=str(file.with_name("seal-chain.json"))
            ),
        )
        self.engine = _Engine()
        self._stores = open_stores(settings, {})
        self._app = create_app(settings, catalog=_Catalog(self.engine), stores=self._stores)

    async def __aenter__(self) -> Chain:
        await self._stores.start()
        self._life = self._app.router.lifespan_context(self._app)
        await self._life.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.__aexit__(None, None, None)
        await self._stores.aclose()

    async def turn(self, number: int, previous: str | None) -> tuple[str, float]:
        """One turn: the response's id, and seconds from the request to the engine's call."""
        words = random.Random(number).choices(WORDS, k=60)
        body = json.dumps(
            {
                "model": "m",
                "input": f"Question {number}: {' '.join(words)}?",
                "stream": True,
                "instructions": INSTRUCTIONS,
                "tools": TOOLS,
                "previous_response_id": previous,
            }
        ).encode()
        sent: list[bytes] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]
        never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def receive() -> Any:
            return waiting.pop() if waiting else await never

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        begin = time.perf_counter()
        await self._app(_scope(len(body)), receive, send)
        seconds = self.engine.asked - begin
        events = b"".join(sent)
        at = events.rindex(b"event: response.completed\ndata: ")
        last = events[at:].split(b"\n", 2)[1].removeprefix(b"data: ")
        return json.loads(last)["response"]["id"], seconds


def _scope(size: int) -> dict[str, Any]:
    path = "/v1/responses"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1:8080"),
            (b"content-type", b"application/json"),
            (b"content-length", str(size).encode()),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "state": {},
        "extensions": {},
    }


def copied(prompt: Sequence[int]) -> float:
    """Seconds that one copy of a prompt's ids takes: what no prompt can be made without."""
    best = 1.0
    for _ in range(50):
        begin = time.perf_counter()
        list(prompt)
        best = min(best, time.perf_counter() - begin)
    return best


async def chained(file: Path, turns: int, rounds: int) -> dict[str, list[tuple[float, int]]]:
    """Seconds before the engine's call, and tokens of the prompt, for the last turn of a chain: in
    the process that made the chain, and in one that never saw it."""
    found: dict[str, list[tuple[float, int]]] = {"here": [], "elsewhere": [], "first": []}
    async with Chain(file) as chain:
        last = None
        for number in range(1, turns):
            last, seconds = await chain.turn(number, last)
            if number == 2:
                found["first"].append((seconds, len(chain.engine.prompt)))
        for number in range(rounds):
            # Another question each time, so that it is new to every memo.
            _, seconds = await chain.turn(turns + number, last)
            found["here"].append((seconds, len(chain.engine.prompt)))
    for number in range(max(rounds // 3, 3)):
        _forget()
        async with Chain(file) as chain:
            await chain.turn(0, None)  # A chain of its own: what a process does once is done.
            _, seconds = await chain.turn(10 * turns + number, last)
            found["elsewhere"].append((seconds, len(chain.engine.prompt)))
    return found


def _forget() -> None:
    """What a new process does not know: items, messages, tokens."""
    from antiphon.api.responses import items

    items._known.cache_clear()
    renderer.cache_clear()
    renderer()
    gc.collect()
