"""Secrets in a file, mode 0600: the newest seals, all of them open.

Processes that share the file notice a key that another added within a second.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from antiphon.errors import StoreError
from antiphon.settings import private_file
from antiphon.store.aead import SECRET_BYTES

__all__ = ["CHECK_SECONDS", "ID_BYTES", "FileKeyRing", "KeyRing", "MemoryKeyRing", "SecretKey"]

ID_BYTES: Final = 4
CHECK_SECONDS: Final = 1.0
"""How often the file is looked at, at most."""
MAX_FILE_BYTES: Final = 1024 * 1024


class SecretKey(msgspec.Struct, frozen=True):
    """A secret; ``id`` is 8 hexadecimal digits, ``created`` in Unix seconds."""

    id: str
    created: int
    secret: bytes

    def __repr__(self) -> str:
        return f"SecretKey(id={self.id!r})"


class KeyRing(Protocol):
    """Keys by id. Raises StoreError if there is no key, or the file cannot be read or written."""

    def newest(self) -> SecretKey: ...

    def find(self, id: str) -> SecretKey | None: ...

    def all(self) -> Sequence[SecretKey]:
        """All of them, the oldest first."""
        ...

    def add(self, *, unless_newer_than: int | None = None) -> SecretKey:
        """Make a key, which is the newest now; or not, if one is newer than that Unix second."""
        ...

    def drop(self, ids: Collection[str]) -> None: ...


class MemoryKeyRing:
    """Keys that end with the process."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._keys: tuple[SecretKey, ...] = (_new_key(now(), ()),)

    def newest(self) -> SecretKey:
        return self._keys[-1]

    def find(self, id: str) -> SecretKey | None:
        return next((key for key in self._keys if key.id == id), None)

    def all(self) -> Sequence[SecretKey]:
        return self._keys

    def add(self, *, unless_newer_than: int | None = None) -> SecretKey:
        if unless_newer_than is None or self._keys[-1].created <= unless_newer_than:
            self._keys = (*self._keys, _new_key(self._now(), self._keys))
        return self._keys[-1]

    def drop(self, ids: Collection[str]) -> None:
        self._keys = _without(self._keys, ids)


class FileKeyRing:
    """Keys in a file, which is made with a first key where there is none. For any thread."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Final = path
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._checked = clock()
        self._keys: tuple[SecretKey, ...] = ()
        try:
            self._read()
            if not self._keys:
                private_file.make_folder(path)
                with private_file.locked(path):
                    self._read()
                    if not self._keys:
                        self._write((_new_key(now(), ()),))
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error

    def newest(self) -> SecretKey:
        self._look()
        return self._keys[-1]

    def find(self, id: str) -> SecretKey | None:
        found = _find(self._keys, id)
        if found is None:
            self._look(now=True)
            found = _find(self._keys, id)
        return found

    def all(self) -> Sequence[SecretKey]:
        self._look()
        return self._keys

    def add(self, *, unless_newer_than: int | None = None) -> SecretKey:
        def added(keys: tuple[SecretKey, ...]) -> tuple[SecretKey, ...]:
            if unless_newer_than is not None and keys[-1].created > unless_newer_than:
                return keys
            return (*keys, _new_key(self._now(), keys))

        return self._change(added)[-1]

    def drop(self, ids: Collection[str]) -> None:
        """Forget keys. The newest stays."""
        self._change(lambda keys: _without(keys, ids))

    def _change(
        self, change: Callable[[tuple[SecretKey, ...]], tuple[SecretKey, ...]]
    ) -> tuple[SecretKey, ...]:
        try:
            with self._lock, private_file.locked(self.path):
                self._read()
                changed = change(self._keys)
                if changed != self._keys:
                    self._write(changed)
                return self._keys
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror or error}") from error

    def _look(self, *, now: bool = False) -> None:
        """Take over what another process has written. A file that is gone changes nothing."""
        with self._lock:
            if not now and self._clock() - self._checked < CHECK_SECONDS:
                return
            self._checked = self._clock()
            try:
                self._read()
            except (OSError, StoreError):
                return

    def _read(self) -> None:
        try:
            if _stamp(self.path) == self._stamp:
                return
            with self.path.open("rb") as file:
                stamp = _stamp(file.fileno())
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return
        self._keys = _decode(data, self.path)
        self._stamp = stamp

    def _write(self, keys: tuple[SecretKey, ...]) -> None:
        private_file.replace(self.path, _encode(keys))
        self._keys = keys
        self._stamp = None


class _Line(msgspec.Struct):
    id: str
    created: int
    secret: str


class _File(msgspec.Struct):
    keys: list[_Line]


def _stamp(file: Path | int) -> tuple[int, ...]:
    found = os.stat(file)  # noqa: PTH116 - of an open file as well
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _decode(data: bytes, path: Path) -> tuple[SecretKey, ...]:
    wrong = StoreError(f"{path}: not a file of keys made by antiphon")
    if len(data) > MAX_FILE_BYTES:
        raise wrong
    try:
        lines = msgspec.json.decode(data, type=_File).keys
        keys = tuple(
            SecretKey(line.id, line.created, base64.b64decode(line.secret, validate=True))
            for line in lines
        )
        ids = {bytes.fromhex(key.id) for key in keys}
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise wrong from error
    if not keys or len(ids) != len(keys) or any(len(id_) != ID_BYTES for id_ in ids):
        raise wrong
    if any(len(key.secret) != SECRET_BYTES for key in keys):
        raise wrong
    return keys


def _encode(keys: Sequence[SecretKey]) -> bytes:
    lines = [
        _Line(key.id, key.created, base64.b64encode(key.secret).decode("ascii")) for key in keys
    ]
    return msgspec.json.format(msgspec.json.encode(_File(lines))) + b"\n"


def _new_key(now: float, beside: Sequence[SecretKey]) -> SecretKey:
    id_ = secrets.token_hex(ID_BYTES)
    while _find(beside, id_) is not None:
        id_ = secrets.token_hex(ID_BYTES)
    return SecretKey(id_, int(now), secrets.token_bytes(SECRET_BYTES))


def _find(keys: Sequence[SecretKey], id_: str) -> SecretKey | None:
    return next((key for key in keys if key.id == id_), None)


def _without(keys: tuple[SecretKey, ...], ids: Collection[str]) -> tuple[SecretKey, ...]:
    return tuple(key for key in keys if key.id not in ids or key is keys[-1])
