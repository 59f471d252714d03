"""What a command and all that it started take, read from /proc; for where no cgroup counts it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["free_disk", "memory_left", "tree", "tree_memory"]

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
MAX_PROCESSES: Final = 4096
"""Processes looked at; more than any limit allows."""


def tree(pid: int) -> list[int]:
    """A process and its descendants. In a pid namespace of their own, orphans come to its first
    process, so none gets away.
    """
    found = [pid]
    for parent in found:
        if len(found) > MAX_PROCESSES:
            break
        with suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):  # noqa: PTH208 - names alone
                children = Path(f"/proc/{parent}/task/{task}/children").read_text(encoding="ascii")
                found += [int(child) for child in children.split()]
    return found


def tree_memory(pids: Sequence[int], limit: int) -> int:
    """Bytes of memory that these processes hold together.

    The quick sum counts shared pages for each; only where it is over `limit` are they shared out.
    """
    total = sum(_resident(pid) for pid in pids)
    return total if total <= limit else sum(_proportional(pid) for pid in pids)


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - many, many times
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (OSError, ValueError):
        return _resident(pid)
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_left() -> int:
    """Bytes of memory that the machine can still give."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


def free_disk(folder: Path) -> int:
    """Bytes that may still be written there."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 1 << 62
    return status.f_bavail * status.f_frsize
