"""The interpreter in bubblewrap: a worker that stays, with its state, until a limit ends it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.tools.protocol import Emit
from antiphon.tools.python.drive import Drive
from antiphon.tools.python.interpreter import Ran
from antiphon.tools.sandbox import Bubblewrap, Folder, Limits, Running, SandboxError
from antiphon.tools.sandbox.output import Output
from antiphon.tools.text import counted, one_line

__all__ = ["DATA", "SandboxedPython"]

DATA: Final = "/mnt/data"
"""Where the drive appears, as the model was trained."""

CALL_S: Final = 120.0
"""How long one call may take, as the model was trained."""

_READY_S: Final = 20.0
_GRACE_S: Final = 2.0
"""How long code may take to stop once it is interrupted."""
_MAX_LINE: Final = 1 << 20
_BLOCK: Final = 65536
_ENVIRONMENT: Final = {
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp",  # noqa: S108 - inside
    "OPENBLAS_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "2",
}
DEFAULT_LIMITS: Final = Limits(
    memory_bytes=2048 << 20, cpu_s=24 * 3600, wall_s=float("inf"), output_bytes=100_000
)


class _Died(Exception):  # noqa: N818 - what happened, to be told
    """The worker ended."""


class SandboxedPython:
    """An `Interpreter` that is a real CPython.

    It uses `python`, else the interpreter that runs us with what is installed for it, else the
    system's: the first that starts in the sandbox.
    """

    def __init__(
        self,
        *,
        python: Path | None = None,
        limits: Limits = DEFAULT_LIMITS,
        call_s: float = CALL_S,
        drive: Path | None = None,
        cgroups: bool = True,
    ) -> None:
        self._candidates = [python] if python else [Path(sys.executable), Path("/usr/bin/python3")]
        self._limits = limits
        self._call_s = call_s
        self._drive_folder = drive
        self._drive: Drive | None = None
        self._cgroups = cgroups
        self._box: Bubblewrap | None = None
        self._python = ""
        self._worker: _Worker | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._reason: str | None = None
        self._checked = False

    @property
    def notes(self) -> str:
        return "Internet access for this session is disabled."

    async def check(self) -> str | None:
        if not self._checked:
            self._reason = await self._find()
            self._checked = True
        return self._reason

    async def run(self, code: str, *, emit: Emit) -> Ran:
        async with self._lock:
            await self._stopped()
            reason = await self.check()
            if reason is not None:
                return Ran(f"There is no sandbox to run it in: {reason}", failed=True)
            try:
                if self._worker is None:
                    self._worker = await self._start()
                return await self._run(self._worker, code, emit)
            except SandboxError as error:
                return Ran(f"There is no sandbox to run it in: {error}", failed=True)

    async def aclose(self) -> None:
        await self._stopped()
        await self._end()
        if self._drive is not None:
            await asyncio.to_thread(self._drive.close)
            self._drive = None
            self._checked = False

    async def _run(self, worker: _Worker, code: str, emit: Emit) -> Ran:
        call = _Call(self._limits, emit)
        note = ""
        try:
            await worker.begin(code)
            try:
                async with asyncio.timeout(self._call_s):
                    await worker.finish(call)
            except TimeoutError:
                note = f"[interrupted: it took longer than {self._call_s:g} s"
                if await worker.interrupt(call):
                    note += "; variables are kept]"
                else:
                    await self._end()
                    note += "; the interpreter was ended and its variables are lost]"
        except _Died:
            why = await worker.why()
            await self._end()
            note = f"[the interpreter ended: {why}; its variables are lost]"
        except BaseException:
            # Cancelled: what runs must not run on, but its state is worth a moment. Whoever cancels
            # again does not wait for it; the next call does.
            self._stopping = asyncio.create_task(self._stop(worker, call))
            await asyncio.shield(self._stopping)
            raise
        assert self._drive is not None
        files, left = await asyncio.to_thread(self._drive.changed)
        return call.ran(note, files, left, lost=self._worker is None)

    async def _stop(self, worker: _Worker, call: _Call) -> None:
        if not await worker.interrupt(call):
            await self._end()

    async def _stopped(self) -> None:
        """Wait for what a cancelled call left behind."""
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
            self._stopping = None

    async def _find(self) -> str | None:
        if self._drive is None:
            self._drive = await asyncio.to_thread(Drive, self._drive_folder)
        reason = "no Python was found"
        for candidate in self._candidates:
            try:
                folders = await asyncio.to_thread(_homes, candidate)
            except OSError as error:
                reason = f"{candidate}: {error.strerror}"
                continue
            box = Bubblewrap(
                [*folders, Folder(self._drive.folder, writable=True, at=DATA)],
                cwd=DATA,
                limits=self._limits,
                environment=_ENVIRONMENT,
                cgroups=self._cgroups,
            )
            reason = await box.check() or ""
            if not reason:
                limits = msgspec.structs.replace(self._limits, wall_s=_READY_S)
                done = await box.run(
                    [str(candidate), "-I", "-c", "import ast, json"], limits=limits
                )
                if done.exit_code == 0:
                    self._box, self._python = box, str(candidate)
                    return None
                said = done.output.strip().splitlines()
                reason = f"{candidate} does not start in it: {said[-1] if said else done.ended}"
        return reason

    async def _start(self) -> _Worker:
        assert self._box is not None
        source = resources.files(__package__).joinpath("worker.py").read_text(encoding="utf-8")
        running = await self._box.start(
            [self._python, "-I", "-u", "-c", source],
            stdin=True,
            address_space=self._limits.memory_bytes,
        )
        worker = _Worker(running, self._limits)
        try:
            async with asyncio.timeout(_READY_S):
                await worker.ready()
        except (TimeoutError, _Died) as error:
            why = await worker.why() if isinstance(error, _Died) else "it did not get ready"
            await running.aclose()
            raise SandboxError(f"the interpreter did not start: {why}") from error
        except BaseException:
            await running.aclose()
            raise
        return worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.running.aclose()


class _Worker:
    """The other side of worker.py. Whatever it says may be false; it is only bounded."""

    def __init__(self, running: Running, limits: Limits) -> None:
        self.running = running
        self._limits = limits
        self._number = 0
        self._buffer = b""
        self._said = b""

    async def ready(self) -> None:
        while "ready" not in await self._message():
            pass
        self.running.resting = True

    async def begin(self, code: str) -> None:
        self.running.resting = False
        self._number += 1
        await self._send({"n": self._number, "code": code})

    async def finish(self, call: _Call) -> None:
        """Take what the call says until it is done."""
        while not call.done:
            message = await self._message()
            if message.get("n") == self._number:
                call.take(message)
            if call.output.total > self._limits.flood_bytes:
                self.running.end("output")
        self.running.resting = True

    async def interrupt(self, call: _Call) -> bool:
        """Interrupt the call, twice where it swallows the first. False where it does not end."""
        for _ in range(2):
            try:
                async with asyncio.timeout(_GRACE_S / 2):
                    await self._send({"interrupt": self._number})
                    await self.finish(call)
            except TimeoutError:
                continue
            except _Died:
                return False
            return True
        return False

    async def why(self) -> str:
        """Why it ended."""
        code = await self.running.wait()
        if self.running.ended == "memory":
            return "it took too much memory"
        if self.running.ended == "output":
            return f"it printed more than {counted(self._limits.flood_bytes >> 20, 'megabyte')}"
        if self.running.ended != "exit":
            return f"limit for {self.running.ended}"
        said = one_line(self._said.decode(errors="replace").strip().rsplit("\n", 1)[-1])
        return f"exit status {code}{f' ({said})' if said else ''}"

    async def _send(self, message: dict[str, Any]) -> None:
        stdin = self.running.process.stdin
        assert stdin is not None
        try:
            stdin.write(msgspec.json.encode(message) + b"\n")
            await stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise _Died from error

    async def _message(self) -> dict[str, Any]:
        stdout = self.running.process.stdout
        assert stdout is not None
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                try:
                    message = msgspec.json.decode(line)
                except (msgspec.DecodeError, RecursionError):
                    message = None
                if isinstance(message, dict):
                    return message
                self._said = line  # such as bash's word on a limit that it could not set
                continue
            if len(self._buffer) > _MAX_LINE:
                self._buffer = b""
            data = await stdout.read(_BLOCK)
            if not data:
                raise _Died
            self._buffer += data


class _Call:
    """One call's answer as it comes."""

    def __init__(self, limits: Limits, emit: Emit) -> None:
        self.output = Output(limits.output_bytes, emit)
        self.done = False
        self._failed = False
        self._last = ""

    def take(self, message: dict[str, Any]) -> None:
        for kind in ("out", "result", "error"):
            text = message.get(kind)
            if isinstance(text, str):
                if kind not in ("out", self._last):
                    self._new_line()
                self._last = kind
                self._failed |= kind == "error"
                self._add(text)
        self.done |= message.get("done") is True

    def ran(self, note: str, files: Sequence[Any], left: Sequence[str], *, lost: bool) -> Ran:
        parts = [self.output.text().rstrip("\n")]
        if note:
            parts.append(note)
        if files:
            names = ", ".join(one_line(file.name) for file in files)
            parts.append(f"[files in {DATA}: {names}]")
        if left:
            names = ", ".join(map(one_line, left[:10]))
            parts.append(f"[in {DATA}, too large to be shown: {names}]")
        text = "\n".join(part for part in parts if part)
        return Ran(
            text or "(no output)",
            failed=self._failed or bool(note),
            files=tuple(files),
            state_lost=lost,
        )

    def _new_line(self) -> None:
        if self.output.total and not self.output.ends_line:
            self._add("\n")

    def _add(self, text: str) -> None:
        self.output.add(text.encode(errors="replace"))


def _homes(python: Path) -> list[Folder]:
    """The folders that an interpreter needs besides /usr: its environment and its installation."""
    real = python.resolve(strict=True)
    homes = [real.parent.parent]
    if (python.parent.parent / "pyvenv.cfg").exists():
        homes.append(python.parent.parent.absolute())
    wanted = [home for home in homes if not str(home).startswith("/usr")]
    return [Folder(home, at=str(home)) for home in dict.fromkeys(wanted) if str(home) != "/"]
