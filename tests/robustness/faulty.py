"""The whole gateway over the wire fake of an engine: detected, pooled, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import FakeOpenai
from tests.fakes.sglang import FakeSglang
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import HELLO, FakeEngine
from tests.gateway.serving import WAIT, Answer, Gateway, until

from antiphon.settings.model import KeySettings, LimitSettings, Settings, TurnSettings

__all__ = ["KINDS", "Detected", "request", "served", "until"]

KINDS: dict[str, Callable[..., FakeEngine]] = {
    "llama.cpp": FakeLlamaServer,
    "vllm": FakeVllm,
    "sglang": FakeSglang,
    "ollama": FakeOllama,
    "openai": FakeOpenai,
}
IDLE_SECONDS = 0.6
"""Silence of an engine that ends a turn."""


class Detected(Gateway):
    """A gateway with a catalog of its own, over whatever ``settings`` say."""

    def __init__(self, fake: FakeEngine, settings: Settings) -> None:
        super().__init__(None, settings, catalog=object())
        self.fake = fake
        self.catalog = None

    @property
    def model(self) -> str:
        return self.fake.model_name

    def ask(self, **parameters: Any) -> Answer:
        return self.send("POST", "/v1/chat/completions", self.body(**parameters))

    def body(self, **parameters: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Hi"}]
        return {"model": self.model, "messages": messages, **parameters}

    @property
    def tasks(self) -> int:
        """How many tasks there are in its loop."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(WAIT)

    @property
    def held(self) -> tuple[int, int, int, int]:
        """Places taken, places waited for, requests that run here, and at the engine."""
        admission = self.services.policy.admission  # type: ignore[attr-defined]
        return (
            admission.running,
            admission.waiting,
            self.services.lifecycle.active,
            self.fake.active,
        )


def request(gateway: Detected, **parameters: Any) -> bytes:
    """The bytes of a request."""
    body = json.dumps(gateway.body(**parameters)).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )


def sockets() -> int:
    """Sockets of this process."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:  # It was closed while we looked.
            continue
    return sum(link.startswith("socket:") for link in links)


@contextmanager
def served(
    kind: str,
    folder: Path,
    *,
    concurrent: int = 64,
    idle_seconds: float = IDLE_SECONDS,
    turn_seconds: float = 60.0,
    **fake_options: Any,
) -> Iterator[Detected]:
    """A running gateway. At the end nothing may be left: no task, no place, no socket."""
    before = sockets()
    with KINDS[kind](HELLO, **fake_options) as fake:
        settings = Settings(
            engine=fake.url,
            turn=TurnSettings(idle_seconds=idle_seconds, seconds=turn_seconds),
            limits=LimitSettings(concurrent=concurrent),
            keys=KeySettings(file=str(folder / "keys.toml")),
        )
        with Detected(fake, settings) as gateway:
            assert gateway.ask().status == 200, "the engine is found and works"
            yield gateway
            until(lambda: gateway.held == (0, 0, 0, 0))
        until(lambda: fake.active == 0)
    until(lambda: sockets() <= before)
