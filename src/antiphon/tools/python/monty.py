"""The interpreter without a sandbox of the system's: Monty, a Python that can do nothing.

It runs everywhere without rights: a worker that knows no files, no network and no processes.
The price is the language: the standard library is mostly absent, and so are classes of many kinds.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from antiphon.errors import MissingExtraError
from antiphon.tools.protocol import Emit
from antiphon.tools.python.interpreter import Ran
from antiphon.tools.sandbox.output import Output

__all__ = ["MontyPython"]

MAX_MEMORY_BYTES: Final = 256 << 20
MAX_OUTPUT_BYTES: Final = 100_000
CALL_S: Final = 30.0
_GRACE_S: Final = 5.0


class MontyPython:
    """An `Interpreter` on pydantic-monty (extra `monty`). Raises MissingExtraError without it."""

    def __init__(self, *, memory_bytes: int = MAX_MEMORY_BYTES, call_s: float = CALL_S) -> None:
        try:
            import pydantic_monty
        except ImportError as error:
            raise MissingExtraError("pydantic-monty", "monty") from error
        self._monty = pydantic_monty
        self._limits: Any = {"max_memory": memory_bytes, "max_feed_duration_secs": call_s}
        self._call_s = call_s
        self._stack: AsyncExitStack | None = None
        self._session: Any = None
        self._lock = asyncio.Lock()

    @property
    def notes(self) -> str:
        return (
            "Internet access for this session is disabled. It is a small Python: there are no files"
            " and no packages, and only some of the standard library (math, re, json, datetime)."
        )

    async def check(self) -> str | None:
        return None

    async def run(self, code: str, *, emit: Emit) -> Ran:
        async with self._lock:
            output = Output(MAX_OUTPUT_BYTES, emit)
            note = ""

            def printed(_stream: str, text: str) -> None:
                output.add(text.encode(errors="replace"))

            try:
                session = await self._checked_out()
                async with asyncio.timeout(self._call_s + _GRACE_S):
                    value = await session.feed_run(code, print_callback=printed)
            except self._monty.MontyCrashedError as error:
                await self._end()
                note = f"[the interpreter ended: {error}; its variables are lost]"
            except TimeoutError:
                await self._end()
                note = "[the interpreter was ended: it took too long; its variables are lost]"
            except self._monty.MontyError as error:
                note = await self._told(error)
            except BaseException:
                await asyncio.shield(self._end())
                raise
            else:
                if value is not None:
                    if output.total and not output.ends_line:
                        output.add(b"\n")
                    output.add(repr(value).encode(errors="replace"))
            text = "\n".join(part for part in (output.text().rstrip("\n"), note) if part)
            return Ran(text or "(no output)", bool(note), (), self._session is None)

    async def aclose(self) -> None:
        await self._end()

    async def _told(self, error: Exception) -> str:
        text = str(error)
        display = getattr(error, "display", None)
        if callable(display):
            text = str(display())
        if "time limit exceeded" in text or "memory limit exceeded" in text:
            # Monty vouches for nothing in a session that was stopped half way.
            await self._end()
            return f"{text.rstrip()}\n[the interpreter was ended and its variables are lost]"
        return text.rstrip()

    async def _checked_out(self) -> Any:
        if self._session is None:
            stack = AsyncExitStack()
            try:
                pool = await stack.enter_async_context(self._monty.AsyncMonty())
                self._session = await stack.enter_async_context(
                    pool.checkout(script_name="cell", limits=self._limits)
                )
            except BaseException:
                await stack.aclose()
                raise
            self._stack = stack
        return self._session

    async def _end(self) -> None:
        stack, self._stack, self._session = self._stack, None, None
        if stack is not None:
            await stack.aclose()
