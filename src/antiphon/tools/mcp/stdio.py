"""An MCP server behind pipes: its process, its messages, and what it says on standard error.

The process runs below a keeper of ours (`antiphon.tools.mcp.keeper`), which ends with us however we
die and takes with it all that the server has started. What the server prints that is no message is
passed over and remembered, as servers do print; a message beyond the limit ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import mcp_types
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from antiphon.tools.mcp.config import ServerConfig
from antiphon.tools.text import one_line

__all__ = ["Pipes", "inherited"]

INHERITED: Final = (
    "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER"
    " APPDATA COMSPEC HOMEDRIVE HOMEPATH LOCALAPPDATA PATHEXT PROCESSOR_ARCHITECTURE PROGRAMDATA"
    " SYSTEMDRIVE SYSTEMROOT TEMP TMP USERNAME USERPROFILE WINDIR"
).split()
"""Variables that a server gets from us; every other one has to stand in its ``env``."""
READ_BYTES: Final = 1 << 16
MAX_STRAY_BYTES: Final = 1 << 20
"""What may come between two messages that is none."""
KEPT_LINES: Final = 100
MAX_KEPT_LINE: Final = 1000
WRITE_SECONDS: Final = 30.0
"""How long a server may leave what we wrote unread."""
GRACE_SECONDS: Final = 2.0
"""After its standard input has ended, and again after SIGTERM."""
GONE_SECONDS: Final = 5.0

_KEEPER: Final = Path(__file__).with_name("keeper.py")
_log = logging.getLogger(__name__)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What a server may know of our environment: nothing that could be a secret."""
    return {name: environ[name] for name in INHERITED if name in environ}


class Pipes:
    """One life of a server's process; `open` it once. ``config`` has its variables put in."""

    def __init__(
        self,
        config: ServerConfig,
        environ: Mapping[str, str],
        *,
        message_bytes: int,
        on_end: Callable[[], None],
    ) -> None:
        assert config.command is not None
        self._config = config
        self._command = config.command
        self._env = {**inherited(environ), **config.env}
        self._limit = message_bytes
        self._on_end = on_end
        self._stray = 0
        self._process: Process | None = None
        self.errors: deque[str] = deque(maxlen=KEPT_LINES)
        """The last lines on its standard error, and what it printed between its messages."""
        self.fault: str | None = None
        """What it did that we ended it for."""

    @property
    def ending(self) -> str:
        """Why it is gone, in a few words."""
        if self.fault is not None:
            return f"it was ended: {self.fault}"
        status = None if self._process is None else self._process.returncode
        if status is None:
            return "it closed its output"
        return f"it ended with status {status}"

    @property
    def pid(self) -> int | None:
        """The keeper's process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TransportStreams, None]:
        """Start it; its streams of messages. Raises OSError if it cannot be started."""
        transport, process, lifeline = await self._spawn()
        self._process = process
        arriving, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, leaving = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read(process, arriving)),
            asyncio.create_task(self._write(process, leaving)),
            asyncio.create_task(self._listen(process)),
        ]
        try:
            yield read, write
        finally:
            try:
                await self._stop(process, lifeline)
            finally:
                lifeline.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                transport.close()
                for stream in (arriving, read, write, leaving):
                    stream.close()

    async def _spawn(self) -> tuple[asyncio.SubprocessTransport, Process, _Lifeline]:
        lifeline = _Lifeline()
        options: Any = lifeline.options
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: SubprocessStreamProtocol(READ_BYTES, loop),
                *lifeline.command,
                self._program(),
                *self._config.args,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=self._env,
                cwd=self._config.cwd,
                start_new_session=True,
                **options,
            )
        except BaseException:
            lifeline.close()
            raise
        lifeline.handed_over()
        return transport, Process(transport, protocol, loop), lifeline

    def _program(self) -> str:
        """Where it is, as our PATH or its folder has it. Raises OSError if nowhere."""
        program = shutil.which(self._command, path=self._env.get("PATH", os.defpath))
        if program is None and not Path(self._config.cwd or ".", self._command).is_file():
            raise FileNotFoundError(errno.ENOENT, f"there is no program {self._command}")
        return program or self._command

    # Messages.

    async def _read(
        self, process: Process, arriving: ObjectSendStream[SessionMessage | Exception]
    ) -> None:
        assert process.stdout is not None
        parts: list[bytes] = []
        size = 0
        try:
            while self.fault is None and (chunk := await process.stdout.read(READ_BYTES)):
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    parts.append(line)
                    if size + len(line) <= self._limit:
                        await self._line(b"".join(parts), arriving)
                    else:
                        self.fault = f"it sent a message of more than {self._limit:,} bytes"
                    parts, size = [], 0
                    if self.fault is not None:
                        break
                parts.append(rest)
                size += len(rest)
                if size > self._limit:
                    self.fault = f"it sent a message of more than {self._limit:,} bytes"
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass  # Nobody reads any more: we are closing.
        finally:
            with contextlib.suppress(TimeoutError):
                # So that what we say of its end can be its exit status.
                if self.fault is None:
                    await asyncio.wait_for(process.wait(), 0.5)
            await arriving.aclose()
            self._on_end()

    async def _line(
        self, line: bytes, arriving: ObjectSendStream[SessionMessage | Exception]
    ) -> None:
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._stray += len(line) + 1
            if line.strip():
                self._keep(line)
            if self._stray > MAX_STRAY_BYTES:
                self.fault = "it prints what is no message of the protocol"
            return
        self._stray = 0
        await arriving.send(SessionMessage(message))

    async def _write(self, process: Process, leaving: ObjectReceiveStream[SessionMessage]) -> None:
        assert process.stdin is not None
        try:
            async for item in leaving:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                async with asyncio.timeout(WRITE_SECONDS):
                    await process.stdin.drain()
        except TimeoutError:
            self.fault = "it does not read what it is sent"
            self._on_end()
        except OSError:
            pass  # It is gone; the reader tells.

    async def _listen(self, process: Process) -> None:
        assert process.stderr is not None
        rest = b""
        while chunk := await process.stderr.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._keep(line)
            rest = rest[:MAX_KEPT_LINE]
        if rest:
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = one_line(line[: 4 * MAX_KEPT_LINE].decode("utf-8", "replace").rstrip(), 1000)
        if text:
            self.errors.append(text)
            _log.debug("%s: %s", self._config.name, text)

    # The end.

    async def _stop(self, process: Process, lifeline: _Lifeline) -> None:
        """As the protocol has it: end its input, then ask, then end it by force."""
        assert process.stdin is not None
        try:
            process.stdin.close()
            if self.fault is None and not await _gone(process, GRACE_SECONDS):
                lifeline.ask()
                await _gone(process, GRACE_SECONDS)
        finally:
            lifeline.close()
            if not await _gone(process, GONE_SECONDS):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await _gone(process, GONE_SECONDS)


async def _gone(process: Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    return True


class _Lifeline:
    """The pipe that holds a keeper, or on Windows, where there is none, nothing."""

    def __init__(self) -> None:
        self.command: list[str] = []
        self.options: dict[str, tuple[int, ...]] = {}
        self._theirs = self._ours = -1
        if sys.platform != "win32":
            self._theirs, self._ours = os.pipe()
            self.command = [sys.executable, "-I", "-S", str(_KEEPER), str(self._theirs)]
            self.options = {"pass_fds": (self._theirs,)}

    def handed_over(self) -> None:
        """The keeper has its end."""
        if self._theirs >= 0:
            os.close(self._theirs)
            self._theirs = -1

    def ask(self) -> None:
        """Ask the server to end."""
        if self._ours >= 0:
            with contextlib.suppress(OSError):
                os.write(self._ours, b"T")

    def close(self) -> None:
        """End it, if it still runs."""
        self.handed_over()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1
