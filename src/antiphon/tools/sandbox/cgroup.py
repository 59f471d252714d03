"""A cgroup around one command, where we may make one: limits that hold for all its processes.

With version 2 it is made beside or above our own, wherever memory and pids are handed down; with
version 1 below our own in both hierarchies. Elsewhere there is none and `watch.py` looks instead.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Cgroup", "make_cgroup"]

_NAME: Final = "antiphon-"
_numbers = itertools.count()


class Cgroup:
    """Folders of the cgroup file system, one a hierarchy."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders

    def add(self, pid: int) -> bool:
        """Put a process in, before it starts others. False where the kernel refuses."""
        try:
            for folder in self._folders:
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        return True

    def out_of_memory(self) -> bool:
        """Whether the kernel killed a process of it for memory."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    for line in (folder / name).read_text().splitlines():
                        if line.startswith("oom_kill ") and int(line.split()[1]):
                            return True
        return False

    def out_of_processes(self) -> bool:
        """Whether a process could not be started for their number."""
        for folder in self._folders:
            with suppress(OSError):
                for line in (folder / "pids.events").read_text().splitlines():
                    if line.startswith("max ") and int(line.split()[1]):
                        return True
        return False

    def remove(self) -> bool:
        """Take it away. False while there are still processes in it."""
        left: list[Path] = []
        for folder in self._folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(folder)
        self._folders = left
        return not left


def make_cgroup(memory_bytes: int, processes: int) -> Cgroup | None:
    """A new cgroup with these limits, or None where we may not make one."""
    with suppress(OSError, ValueError):
        ours = _own()
        for parent in _parents(ours.get("")):
            _tidy(parent)
            if folder := _version_2(parent, memory_bytes, processes):
                return Cgroup([folder])
        memory, pids = ours.get("memory"), ours.get("pids")
        if memory and pids:
            return _version_1(memory, pids, memory_bytes, processes)
    return None


def _version_2(parent: Path, memory_bytes: int, processes: int) -> Path | None:
    folder = _make(parent)
    if folder is None:
        return None
    try:
        (folder / "memory.max").write_text(str(memory_bytes))
        (folder / "pids.max").write_text(str(processes))
    except OSError:
        folder.rmdir()
        return None
    for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
        with suppress(OSError):
            (folder / name).write_text(value)
    return folder


def _version_1(memory: Path, pids: Path, memory_bytes: int, processes: int) -> Cgroup | None:
    folders: list[Path] = []
    try:
        for parent, name, value in (
            (memory, "memory.limit_in_bytes", memory_bytes),
            (pids, "pids.max", processes),
        ):
            _tidy(parent)
            folder = _make(parent)
            if folder is None:
                raise OSError
            folders.append(folder)
            (folder / name).write_text(str(value))
    except OSError:
        Cgroup(folders).remove()
        return None
    with suppress(OSError):
        (folders[0] / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
    return Cgroup(folders)


def _make(parent: Path) -> Path | None:
    folder = parent / f"{_NAME}{os.getpid()}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    return folder


def _tidy(parent: Path) -> None:
    """Take away what processes that died left behind."""
    with suppress(OSError):
        for folder in parent.glob(f"{_NAME}*-*"):
            pid = folder.name.removeprefix(_NAME).split("-")[0]
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                with suppress(OSError):
                    folder.rmdir()


def _own() -> dict[str, Path]:
    """Our own cgroup's folder, by controller; version 2's under an empty name."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, _, options = fields[fields.index("-") + 1 :]
        if kind == "cgroup2":
            mounts[""] = (fields[3], fields[4])
        elif kind == "cgroup":
            for option in options.split(","):
                mounts[option] = (fields[3], fields[4])
    found: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, mount = mounts[controller]
                inside = os.path.relpath(path, root) if path.startswith(root) else "."
                found[controller] = Path(os.path.normpath(f"{mount}/{inside}"))
    return found


def _parents(folder: Path | None) -> Iterator[Path]:
    while folder is not None and (folder / "cgroup.procs").exists():
        yield folder
        if folder == folder.parent:
            return
        folder = folder.parent
