"""What the tests of the gateway's policy share: keys, a clock, a log that can be read."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import msgspec
from tests.gateway.serving import Gateway, OneModel, StepEngine, final

from antiphon.engines.served import Served
from antiphon.gateway.keyfile import KeyFile
from antiphon.gateway.keys import new_key, new_secret
from antiphon.gateway.logs import Log
from antiphon.settings.model import KeySettings, LogSettings, ModelSettings, Settings


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.date = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)

    def monotonic(self) -> float:
        return self.time

    def now(self) -> dt.datetime:
        return self.date


class LogLines:
    """A log that a test can read."""

    def __init__(self, **settings: Any) -> None:
        self.stream = io.StringIO()
        self.log = Log(LogSettings(**{"format": "json", **settings}), self.stream)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if event in (None, line["event"])]


def add_key(path: Path, name: str = "k", **settings: Any) -> str:
    """A new key in the file; the secret."""
    secret = new_secret()
    key = msgspec.structs.replace(new_key(secret, dt.date(2026, 11, 21), name=name), **settings)
    KeyFile(path).add(key)
    return secret


def with_keys(path: Path, **settings: Any) -> Settings:
    return Settings(keys=KeySettings(file=str(path)), **settings)


def answering(text: str = "Hello.", settings: Settings | None = None, **how: Any) -> Gateway:
    """A gateway whose model always answers the same."""
    how.setdefault("log", LogLines().log)
    return Gateway(StepEngine(final(text)), settings, **how)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def chat(gateway: Gateway, headers: dict[str, str] | None = None, **body: Any) -> Any:
    """One chat request with headers of its own."""
    messages = [{"role": "user", "content": "Hi"}]
    return gateway.send(
        "POST", "/v1/chat/completions", {"model": "m", "messages": messages, **body}, headers
    )


class Model(OneModel):
    """One model with settings of its own."""

    def __init__(self, engine: Any, model: ModelSettings, **how: Any) -> None:
        super().__init__(engine, **how)
        self._served: Served = msgspec.structs.replace(self._served, settings=model)
