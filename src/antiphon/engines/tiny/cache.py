"""A file that is expensive to make, made once for each key and kept in the user's cache.

The file's name holds its key and the start of its own SHA-256, so one rename publishes both, a
damaged file is noticed, and a file that is there under the right name is whole. Who makes it holds
a lock that the operating system takes back when the process dies, however it dies.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from antiphon.errors import EngineError

__all__ = ["CACHE_VARIABLE", "cache_directory", "cached_file"]

CACHE_VARIABLE: Final = "ANTIPHON_CACHE"
"""Environment variable that overrides where the cache is."""

_DIGEST_CHARS: Final = 16


def cache_directory() -> Path:
    """Where this user's caches belong: ANTIPHON_CACHE, else the platform's place for them."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "antiphon"
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path there is invalid and ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "antiphon"


def cached_file(
    directory: Path,
    key: str,
    suffix: str,
    make: Callable[[Path], None],
    *,
    waiting: Callable[[], None],
) -> Path:
    """The whole, undamaged file for ``key``, made by ``make(path)`` if need be.

    ``waiting`` is called if another process is making it. Raises EngineError if the directory
    cannot be written, and whatever ``make`` raises.
    """
    try:
        if found := _find(directory, key, suffix):
            return found
        directory.mkdir(parents=True, exist_ok=True)
        with _lock(directory / f"{key}.lock", waiting):
            if found := _find(directory, key, suffix):
                return found
            _clear(directory, key, suffix)
            return _make(directory, key, suffix, make)
    except OSError as error:
        raise EngineError(
            f"cannot keep a file in {directory}: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to a folder with room for it"
        ) from error


def _find(directory: Path, key: str, suffix: str) -> Path | None:
    """A file for ``key`` whose content still has the digest in its name."""
    for path in directory.glob(f"{key}.*{suffix}"):
        with suppress(FileNotFoundError):
            if path.name == _name(key, _digest(path), suffix):
                return path
    return None


def _clear(directory: Path, key: str, suffix: str) -> None:
    """Remove what a killed process and what damage left. Only while the lock is held."""
    for path in (*directory.glob(f"{key}.*{suffix}"), *directory.glob(f"{key}.*.part")):
        path.unlink(missing_ok=True)


def _make(directory: Path, key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    partial = directory / f"{key}.{os.getpid()}.part"
    try:
        make(partial)
        _sync(partial)
        whole = directory / _name(key, _digest(partial), suffix)
        partial.replace(whole)
        _sync(directory)
    finally:
        partial.unlink(missing_ok=True)
    return whole


def _name(key: str, digest: str, suffix: str) -> str:
    return f"{key}.{digest[:_DIGEST_CHARS]}{suffix}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have what was written survive a power cut before anything refers to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on ``path``; one process at a time, and none after its death."""
    import fcntl

    # The lock file stays: removing it would let two processes lock two files of the same name.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
