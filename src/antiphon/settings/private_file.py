"""Files that only their owner reads: replaced in one step, changed by one process at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["DIRECTORY_MODE", "FILE_MODE", "locked", "make_folder", "open_to_others", "replace"]

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def make_folder(path: Path) -> None:
    """The folder that the file ``path`` is to be in, closed to others if it is new."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` in place: who reads at any moment sees the old file or the new one, whole."""
    # Behind a symbolic link, the file is replaced and not the link.
    target = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            Path(name).chmod(FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def open_to_others(path: Path) -> bool:
    """Whether anyone but its owner can read or write the file."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time, by a lock file beside ``path`` that a dead process lets go of."""
    lock = path.with_name(f"{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
