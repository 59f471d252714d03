"""The sandbox: bubblewrap with namespaces of its own for everything, and limits for the whole tree.

A command sees ``/usr`` and the folders it is given, read-only but for those that it may write to;
no network, no other process, no other user, no environment of ours. It never runs as root (see
`identity.py`); limits hold for everything that it starts together (`cgroup.py`, else `watch.py`);
when it ends, or we do, all of that ends.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.tools.protocol import Emit
from antiphon.tools.sandbox.arguments import FILES, FORBIDDEN, Folder, arguments, limited
from antiphon.tools.sandbox.cgroup import Cgroup, make_cgroup
from antiphon.tools.sandbox.child import Child, reading, spawn
from antiphon.tools.sandbox.identity import Identity, identity
from antiphon.tools.sandbox.limits import Finished, Limits
from antiphon.tools.sandbox.output import Output
from antiphon.tools.sandbox.running import Running
from antiphon.tools.sandbox.seccomp import filter_program

__all__ = ["Bubblewrap", "SandboxError"]

_READY_S: Final = 10.0
"""How long bubblewrap may take to set the sandbox up."""
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 65536
_CHILD: Final = re.compile(rb'"child-pid": (\d+)')
_SECCOMP: Final = filter_program()


class SandboxError(Exception):
    """The sandbox could not be set up; the text says why."""


class Bubblewrap:
    """A sandbox for commands that see `folders`.

    `check` says whether it works here; without that word nothing may be run another way.
    """

    def __init__(
        self,
        folders: Sequence[Folder] = (),
        *,
        cwd: str = "/tmp",  # noqa: S108 - inside
        limits: Limits | None = None,
        environment: Mapping[str, str] | None = None,
        program: str = "bwrap",
        cgroups: bool = True,
    ) -> None:
        """`cgroups`: whether they are used where possible; `program`: bubblewrap's."""
        self.folders = tuple(
            msgspec.structs.replace(folder, path=Path(os.path.realpath(folder.path)))
            for folder in folders
        )
        self.cwd = cwd
        self.limits = limits or Limits()
        self._environment = dict(environment or {})
        self._program = program
        self._cgroups = cgroups
        self._reason: str | None = None
        self._checked = False

    async def check(self) -> str | None:
        """Why there is no sandbox here; None: there is one. Found out once, by running it."""
        if not self._checked:
            self._reason = await self._check()
            self._checked = True
        return self._reason

    async def run(
        self,
        argv: Sequence[str],
        *,
        emit: Emit = lambda text: None,
        limits: Limits | None = None,
    ) -> Finished:
        """Run a command to its end. Raises SandboxError where it cannot begin; cancelled, it ends
        the command.
        """
        limits = limits or self.limits
        running = await self.start(argv, limits=limits)
        output = Output(limits.output_bytes, emit)
        try:
            reader = running.process.stdout
            assert reader is not None
            while data := await reader.read(_BLOCK):
                output.add(data)
                if output.total > limits.flood_bytes:
                    running.end("output")
            code = await running.wait()
            seconds = asyncio.get_running_loop().time() - running.started
        finally:
            await running.aclose()
        text = output.text()
        if running.ended == "sandbox":
            raise SandboxError(text.strip().removeprefix("bwrap: ") or "bubblewrap ended at once")
        return Finished(running.ended, code, text, seconds)

    async def start(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        stdin: bool = False,
        address_space: int | None = None,
    ) -> Running:
        """Start a command; its output is ``process.stdout``, both streams in one. With ``stdin``
        there is ``process.stdin``. Raises SandboxError.
        """
        limits = limits or self.limits
        who = self._identity()
        with ExitStack() as undo:
            cgroup = self._cgroup(limits)
            if cgroup is not None:
                undo.callback(cgroup.remove)
            elif address_space is None:
                address_space = limits.memory_bytes
            status, status_end = os.pipe()
            status_file = undo.enter_context(os.fdopen(status, "rb", buffering=0))
            blocked, unblock = os.pipe()
            gate = undo.enter_context(os.fdopen(unblock, "wb", buffering=0))
            with _Descriptors() as given:
                given.add(blocked)
                folders = self._open_folders(given)
                names = {f"/proc/self/fd/{at}": str(folder.path) for folder, at in folders}
                said = arguments(
                    folders,
                    {name: given.add(_filled(data)) for name, data in FILES.items()},
                    cwd=self.cwd,
                    limits=limits,
                    environment=self._environment,
                    seccomp=given.add(_filled(_SECCOMP)) if _SECCOMP else None,
                    block=blocked,
                    status=given.add(status_end),
                )
                said += limited(argv, limits, address_space=address_space)
                process = await self._spawn(said, who, given.all, stdin=stdin)
            undo.callback(_kill, process)
            reader, pipe = await reading(status_file)
            undo.callback(pipe.close)
            inner = await _first_process(reader, process, names)
            if cgroup is not None and not cgroup.add(inner):
                cgroup.remove()
                cgroup = None
            try:
                gate.write(b"go")
            except BrokenPipeError:
                raise SandboxError(await _last_words(process, names)) from None
            gate.close()
            undo.pop_all()
        return Running(
            process,
            inner=inner,
            status=reader,
            status_pipe=pipe,
            cgroup=cgroup,
            limits=limits,
            disks=[folder.path for folder in self.folders if folder.writable],
        )

    async def _check(self) -> str | None:
        if not sys.platform.startswith("linux"):
            return "bubblewrap, the sandbox, is for Linux"
        if shutil.which(self._program) is None:
            return f"{self._program} is not installed (package bubblewrap)"
        try:
            done = await self.run(["/bin/true"])
        except SandboxError as error:
            return f"bubblewrap does not work here: {error}"
        if done.exit_code != 0:
            return f"bubblewrap does not work here: {done.output.strip() or done.ended}"
        return None

    def _cgroup(self, limits: Limits) -> Cgroup | None:
        # Eight for bubblewrap's own and the shell that sets the other limits.
        return make_cgroup(limits.memory_bytes, limits.processes + 8) if self._cgroups else None

    def _open_folders(self, given: _Descriptors) -> list[tuple[Folder, int]]:
        """Every folder, opened; the .git of those that are written to once more, read-only."""
        opened: list[tuple[Folder, int]] = []
        try:
            for folder in self.folders:
                opened.append((folder, given.add(os.open(folder.path, _FOLDER))))
                if folder.writable and (git := _git(folder.path)) is not None:
                    inside = Folder(folder.path / ".git", at=f"{folder.inside}/.git")
                    opened.append((inside, given.add(git)))
        except OSError as error:
            raise SandboxError(f"{error.filename}: {error.strerror}") from error
        return opened

    async def _spawn(
        self, said: Sequence[str], who: Identity, given: Sequence[int], *, stdin: bool
    ) -> Child:
        drop: dict[str, Any] = {}
        if who.change:
            drop = {"user": who.uid, "group": who.gid, "extra_groups": []}
        try:
            return await spawn(
                [self._program, *said],
                stdin=stdin,
                pass_fds=given,
                env={"PATH": os.defpath},
                as_user=drop,
            )
        except OSError as error:
            raise SandboxError(f"{self._program}: {error.strerror or error}") from error

    def _identity(self) -> Identity:
        writable = [folder.path for folder in self.folders if folder.writable]
        for folder in self.folders:
            if folder.writable and str(folder.path) in FORBIDDEN:
                raise SandboxError(f"{folder.path} is not handed in to be written to")
        try:
            who = identity(writable, [folder.path for folder in self.folders])
        except OSError as error:
            raise SandboxError(f"{error.filename}: {error.strerror}") from error
        if isinstance(who, str):
            raise SandboxError(who)
        return who


class _Descriptors:
    """Descriptors for bubblewrap; ours are closed as soon as it has its own."""

    def __init__(self) -> None:
        self.all: list[int] = []

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *details: object) -> None:
        for descriptor in self.all:
            os.close(descriptor)

    def add(self, descriptor: int) -> int:
        self.all.append(descriptor)
        return descriptor


def _filled(data: bytes) -> int:
    """A descriptor to read `data` from; it fits into a pipe."""
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(data)
    return read


def _git(folder: Path) -> int | None:
    try:
        return os.open(folder / ".git", _FOLDER)
    except OSError:
        return None


def _kill(process: Child) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _first_process(
    status: asyncio.StreamReader, process: Child, names: Mapping[str, str]
) -> int:
    """The pid of the sandbox's first process, which now waits for our word."""
    try:
        async with asyncio.timeout(_READY_S):
            said = await status.readuntil(b"}")
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise SandboxError(await _last_words(process, names)) from error
    found = _CHILD.search(said)
    if found is None:
        raise SandboxError("bubblewrap did not say which process it started")
    return int(found[1])


async def _last_words(process: Child, names: Mapping[str, str]) -> str:
    """What bubblewrap said before it gave up, with the folders' names for their descriptors."""
    _kill(process)
    text = (await process.stdout.read()).decode(errors="replace")
    await process.wait()
    said = text[:2000].strip().removeprefix("bwrap: ") or "bubblewrap did not begin"
    for descriptor, name in names.items():
        said = re.sub(rf"{descriptor}\b", lambda _, name=name: name, said)  # type: ignore[misc]
    return said
