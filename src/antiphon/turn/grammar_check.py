"""Whether a custom tool's grammar can be used, and whether an input matches it.

Grammars are the client's: they are compiled and run in a process of their own, one job after the
other, which is ended if it takes too long (`antiphon.turn.grammar_process`). It starts with the
first grammar and is kept.
"""

from __future__ import annotations

import asyncio
import atexit
import subprocess
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from typing import Final

import msgspec

from antiphon.api.turn import InputGrammar
from antiphon.errors import SchemaError
from antiphon.turn.grammar_process import Job, Verdict, receive, send

__all__ = [
    "CHECK_SECONDS",
    "COMPILE_SECONDS",
    "MAX_DEFINITION_BYTES",
    "GrammarChecker",
    "grammar_checker",
]

MAX_DEFINITION_BYTES: Final = 65_536
"""Longest definition of one grammar."""
COMPILE_SECONDS: Final = 3.0
"""Longest time to compile one."""
CHECK_SECONDS: Final = 5.0
"""Longest time to check one input."""

_START_SECONDS: Final = 30.0
_KNOWN: Final = 512
_DECODE: Final = msgspec.msgpack.Decoder(Verdict).decode


class GrammarChecker:
    """Asks the process. One thread waits for it, so that no other work waits for a grammar."""

    def __init__(
        self, *, compile_seconds: float = COMPILE_SECONDS, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._compile_seconds = compile_seconds
        self._check_seconds = check_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._process: subprocess.Popen[bytes] | None = None
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        """Digest of a grammar → why it cannot be used, None if it can."""

    async def check(self, grammar: InputGrammar) -> None:
        """Raise SchemaError with the parser's words if the grammar cannot be used."""
        digest = _digest(grammar)
        if digest not in self._known:
            self._remember(digest, await self._refusal(grammar))
        self._known.move_to_end(digest)
        why = self._known[digest]
        if why is not None:
            raise SchemaError(why)

    async def misfit(self, grammar: InputGrammar, text: str) -> str | None:
        """Why the text does not match, None if it does.

        Raises SchemaError if that cannot be told: it takes too long.
        """
        job = _job(grammar, text)
        found = await self._ask(job, self._check_seconds)
        if found.outcome == "misfit":
            return found.detail
        if found.outcome != "fits":
            raise SchemaError(found.detail)
        return None

    def close(self) -> None:
        """End the process. A later question starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # It still held what the process did not read.
                    continue

    async def _refusal(self, grammar: InputGrammar) -> str | None:
        size = len(grammar.definition.encode("utf-8", "replace"))
        if size > MAX_DEFINITION_BYTES:
            return f"has {size} bytes, the limit is {MAX_DEFINITION_BYTES}"
        found = await self._ask(_job(grammar), self._compile_seconds)
        return None if found.outcome == "fits" else found.detail

    def _remember(self, digest: bytes, refusal: str | None) -> None:
        self._known[digest] = refusal
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    async def _ask(self, job: Job, seconds: float) -> Verdict:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._asked, job, seconds)

    def _asked(self, job: Job, seconds: float) -> Verdict:
        if self._process is None or self._process.poll() is not None:
            self._start()
        answer = self._answer(job, seconds)
        if answer is not None:
            return answer
        self.close()
        return Verdict("costly", f"takes more than {seconds:g} seconds, or too much memory")

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "antiphon.turn.grammar_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the server is for the server.
        )
        if self._answer(Job("regex", "a"), _START_SECONDS) is None:
            self.close()
            raise RuntimeError("the process that checks grammars does not start")

    def _answer(self, job: Job, seconds: float) -> Verdict | None:
        """None if it was ended, or ended itself."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            send(process.stdin, job)  # type: ignore[arg-type]
            data = receive(process.stdout)  # type: ignore[arg-type]
        except OSError:
            return None
        finally:
            timer.cancel()
            timer.join()
        return None if data is None else _DECODE(data)


def _job(grammar: InputGrammar, text: str | None = None) -> Job:
    return Job(
        grammar.syntax, _encodable(grammar.definition), None if text is None else _encodable(text)
    )


def _encodable(text: str) -> str:
    """Without half surrogate pairs, which no UTF-8 can carry."""
    return text.encode("utf-8", "replace").decode()


def _digest(grammar: InputGrammar) -> bytes:
    data = f"{grammar.syntax}\0{grammar.definition}".encode("utf-8", "surrogatepass")
    return blake2b(data, digest_size=16).digest()


@cache
def grammar_checker() -> GrammarChecker:
    """The one of this process."""
    checker = GrammarChecker()
    atexit.register(checker.close)
    return checker
