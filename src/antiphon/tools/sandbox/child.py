"""A process that is started as another user, in whatever event loop: uvloop cannot do that itself.

The pipes belong to the loop; the process is Python's own, and the kernel says when it has ended.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

__all__ = ["Child", "reading", "spawn"]


class Child:
    """What `asyncio.subprocess.Process` is, as far as a sandbox needs it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stdin: asyncio.StreamWriter | None,
        stdout: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self.pid: Final = process.pid
        self.stdin: Final = stdin
        self.stdout: Final = stdout
        self._ended = asyncio.get_running_loop().create_future()
        self._descriptor = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()

    async def wait(self) -> int:
        """Its exit status, once it has ended."""
        code: int = await asyncio.shield(self._ended)
        return code

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        code = self._process.wait()
        if self.stdin is not None:
            self.stdin.close()
        if not self._ended.done():
            self._ended.set_result(code)


async def spawn(
    command: Sequence[str],
    *,
    stdin: bool,
    pass_fds: Sequence[int],
    env: Mapping[str, str],
    as_user: Mapping[str, Any],
) -> Child:
    """Start it in a session of its own, at the root. Both its outputs are one. Raises OSError."""
    loop = asyncio.get_running_loop()
    # In this thread: the process is to end with the thread that started it.
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - as said; it does not wait
        command,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=pass_fds,
        cwd="/",
        env=env,
        start_new_session=True,  # Ctrl-C in our terminal is ours to decide about
        **as_user,
    )
    try:
        assert process.stdout is not None
        reader, _ = await reading(process.stdout)
        writer = None if process.stdin is None else await _writer(loop, process.stdin)
        return Child(process, writer, reader)
    except BaseException:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        raise


async def reading(file: IO[bytes]) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """A pipe to read from; it is closed at its end."""
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Reading(reader), file)
    return reader, pipe


class _Reading(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        super().eof_received()
        return False  # uvloop would keep it open.


async def _writer(loop: asyncio.AbstractEventLoop, pipe: IO[bytes]) -> asyncio.StreamWriter:
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)
