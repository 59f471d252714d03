"""A gateway in the test's own event loop, spoken to over ASGI: thousands of requests in seconds.

What an HTTP server would do is done here in its simplest form, so that what is seen is the
gateway's own work and nothing else's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from antiphon.gateway.app import create_app
from antiphon.settings.model import KeySettings, LogSettings, Settings, TurnSettings

__all__ = ["CHAT", "Answer", "Direct", "running"]

CHAT = "/v1/chat/completions"
OUTPUT_TOKENS = 300
"""Most tokens of one answer: what is asked matters here, not how long the answer is."""
GIVE_UP = 60.0
"""Seconds after which a request hangs."""


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def streamed(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")


class Direct:
    """The client."""

    def __init__(self, app: Any, problems: list[logging.LogRecord]) -> None:
        self.app = app
        self.problems = problems
        """What the gateway logged as an error: each is a bug of ours."""

    async def post(
        self, body: bytes, path: str = CHAT, *, gone_after: int | None = None, **headers: str
    ) -> Answer:
        """One request and its answer. The client goes ``gone_after`` so many pieces of it."""
        sent: list[dict[str, Any]] = []
        gone = asyncio.Event()
        incoming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if gone_after is not None and len(sent) > gone_after:
                gone.set()

        if gone_after == 0:
            gone.set()
        async with asyncio.timeout(GIVE_UP):
            await self.app(_scope(path, headers), receive, send)
        gone.set()
        if gone_after is not None:
            return Answer(0, {}, b"")
        start, *pieces = sent
        assert start["type"] == "http.response.start"
        assert [piece["type"] for piece in pieces] == ["http.response.body"] * len(pieces)
        assert [piece.get("more_body", False) for piece in pieces] == [
            *[True] * (len(pieces) - 1),
            False,
        ]
        names = [
            (name.decode("ascii"), value.decode("latin-1")) for name, value in start["headers"]
        ]
        assert all(name == name.lower() for name, _ in names)
        assert not any("\n" in value or "\r" in value for _, value in names)
        data = b"".join([piece.get("body", b"") for piece in pieces])
        return Answer(start["status"], dict(names), data)


def _scope(path: str, headers: dict[str, str]) -> dict[str, Any]:
    given = {"host": "localhost", "content-type": "application/json", **headers}
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
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }


class _Problems(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.records.append(record)


@asynccontextmanager
async def running(
    folder: Path, settings: Settings | None = None, **how: Any
) -> AsyncGenerator[Direct, None]:
    """The gateway over the scripted engine, unless told otherwise; ``folder`` has no keys."""
    settings = settings or Settings(
        engine="scripted", turn=TurnSettings(output_tokens=OUTPUT_TOKENS)
    )
    settings = msgspec.structs.replace(
        settings,
        keys=KeySettings(file=str(folder / "keys.toml")),
        log=LogSettings(level="error", trace=settings.log.trace),
    )
    handler = _Problems()
    logger = logging.getLogger("antiphon")
    logger.addHandler(handler)
    try:
        app = create_app(settings, **how)
        async with app.router.lifespan_context(app):
            yield Direct(app, handler.records)
    finally:
        logger.removeHandler(handler)
