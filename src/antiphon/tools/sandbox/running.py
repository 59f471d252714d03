"""A command in the sandbox while it runs: watched, ended with all that it started, cleared away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from antiphon.tools.sandbox.cgroup import Cgroup
from antiphon.tools.sandbox.child import Child
from antiphon.tools.sandbox.limits import Ended, Limits
from antiphon.tools.sandbox.watch import free_disk, memory_left, tree, tree_memory

__all__ = ["Running"]

_LOOK_S: Final = 0.05
"""How often it is looked at: a process gets a few hundred megabytes in that time."""
_REST_S: Final = 0.5
_LEAVE_BYTES: Final = 128 << 20
"""Memory that the machine must keep, whoever took it."""
_BLOCK: Final = 65536
_REMOVE_TRIES: Final = 100


class Running:
    """One command. Made by `Bubblewrap.start`; `aclose` must be called."""

    def __init__(
        self,
        process: Child,
        *,
        inner: int,
        status: asyncio.StreamReader,
        status_pipe: asyncio.ReadTransport,
        cgroup: Cgroup | None,
        limits: Limits,
        disks: Sequence[Path],
    ) -> None:
        self.process = process
        self.started = time.monotonic()
        self.ended: Ended = "exit"
        """Why it was ended, if it was."""
        self.resting = False
        """Whether it is known to wait for us; it is then looked at less often."""
        self._inner = inner
        self._status = status
        self._status_pipe = status_pipe
        self._cgroup = cgroup
        self._limits = limits
        self._disks = disks
        self._watching = asyncio.create_task(self._watch())

    def end(self, why: Ended) -> None:
        """End it and everything that it started, now."""
        if self.process.returncode is not None:
            return
        if self.ended == "exit":
            self.ended = why
        # The first process of a pid namespace takes all others with it; bubblewrap's own death
        # reaches it as well, should it not be there yet.
        for pid in (self._inner, self.process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    async def wait(self) -> int | None:
        """The command's exit status, once everything is gone; None where it never began or was
        ended.
        """
        await self.process.wait()
        said = await self._status.read()
        if self._cgroup is not None and self.ended == "exit" and self._cgroup.out_of_memory():
            self.ended = "memory"
        code: int | None = None
        at = said.rfind(b'"exit-code"')
        if at >= 0:
            digits = said[at + 11 :].strip(b": ").split(b"}")[0]
            code = int(digits)
        elif self.ended == "exit":
            self.ended = "sandbox"
        return code if self.ended == "exit" else None

    async def aclose(self) -> None:
        """End it if it still runs, and clear away what belongs to it."""
        self.end("exit")
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        await asyncio.shield(self._gone())
        self._status_pipe.close()
        if self._cgroup is not None:
            for _ in range(_REMOVE_TRIES):
                if self._cgroup.remove():
                    break
                await asyncio.sleep(0.01)

    async def _gone(self) -> None:
        # asyncio sees a process end only when its pipes have been read to their ends.
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.stdout is not None:
            while await self.process.stdout.read(_BLOCK):
                pass
        await self.process.wait()

    async def _watch(self) -> None:
        try:
            await self._look()
        except Exception:
            # Nothing runs that nobody looks after. `aclose` raises what it was.
            self.end("sandbox")
            raise

    async def _look(self) -> None:
        limits = self._limits
        while self.process.returncode is None:
            await asyncio.sleep(_REST_S if self.resting else _LOOK_S)
            if time.monotonic() - self.started > limits.wall_s:
                self.end("wall")
            elif any(free_disk(disk) < limits.free_disk_bytes for disk in self._disks):
                self.end("disk")
            elif self._cgroup is not None:
                if self._cgroup.out_of_memory():
                    self.end("memory")
            else:
                pids = tree(self._inner)
                if tree_memory(pids, limits.memory_bytes) > limits.memory_bytes:
                    self.end("memory")
                elif len(pids) > limits.processes + 4:
                    self.end("processes")
                elif memory_left() < _LEAVE_BYTES:
                    self.end("memory")
