"""An engine that is started by its first request; until it is there, requests are kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

from antiphon.engines.lifecycle import Unit
from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Engine

if TYPE_CHECKING:
    from antiphon.engines.passthrough import Passed, Passthrough

__all__ = ["LazyEngine", "LazyPassthrough"]

ALIVE_SECONDS: Final = 1.0
"""How often a request that waits for its model says that it is alive."""


class LazyEngine:
    """The engine of a `Unit`. ``capabilities`` are what it will have: they are asked for before
    it runs.
    """

    def __init__(
        self, unit: Unit, capabilities: Capabilities, *, alive_seconds: float = ALIVE_SECONDS
    ) -> None:
        self.unit = unit
        self._capabilities = capabilities
        self._alive_seconds = alive_seconds

    @property
    def name(self) -> str:
        return f"llama.cpp with {self.unit.name}"

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        acquiring = asyncio.ensure_future(self.unit.acquire())
        try:
            while not (await asyncio.wait((acquiring,), timeout=self._alive_seconds))[0]:
                yield ()
        except BaseException:
            await _undo(acquiring, self.unit)
            raise
        engine = acquiring.result()
        try:
            async with aclosing(engine.complete(request)) as completion:
                async for chunks in completion:
                    yield chunks
        finally:
            self.unit.release()

    async def aclose(self) -> None:
        await self.unit.aclose()


async def _undo(acquiring: asyncio.Future[Engine], unit: Unit) -> None:
    """Let go of a place in line, or of what has just been acquired."""
    acquiring.cancel()
    await asyncio.wait((acquiring,))
    if not acquiring.cancelled() and acquiring.exception() is None:
        unit.release()


class LazyPassthrough:
    """The own routes of a model that is started by its first request."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._open: Passthrough | None = None
        self._url = ""

    @asynccontextmanager
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Passed, None]:
        """Send a request when the model is loaded. Raises EngineError."""
        await self.unit.acquire()
        try:
            routes = await self._routes()
            async with routes.open(path, body, method=method, headers=headers) as answer:
                yield answer
        finally:
            self.unit.release()

    async def aclose(self) -> None:
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    async def _routes(self) -> Passthrough:
        """Those of the server that runs now, which may be another than last time."""
        from antiphon.engines.passthrough import Passthrough

        url = self.unit.status.url or ""
        if self._open is None or self._url != url:
            await self.aclose()
            self._open, self._url = Passthrough(url), url
        return self._open
