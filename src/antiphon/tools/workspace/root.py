"""A folder that tools may touch, and nothing outside it: every path is walked, never trusted.

A path is resolved one component at a time. Each folder is opened relative to the one before it and
without following links; a link is read and its target walked by the same rules. What has been
checked is thus what is used: a folder that is swapped for a link meanwhile cannot lead out, and
``..`` goes back along the way that was walked, not to wherever the folder lies now.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from antiphon.tools.text import counted, one_line

__all__ = ["MissingFolderError", "Place", "Stamp", "Workspace", "WorkspaceError", "is_protected"]

MAX_PATH_CHARS: Final = 4096
MAX_LINKS: Final = 40
"""Links followed for one path, as Linux does."""
MAX_FILE_BYTES: Final = 16 << 20
"""Largest file that is read whole."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

PROTECTED: Final = frozenset({".git"})
"""Names that are never written: git runs programs that are named in there, outside any sandbox."""


class WorkspaceError(Exception):
    """A path that cannot be used; the text is for the model."""


class MissingFolderError(WorkspaceError):
    """A folder on the way does not exist. ``path`` is the whole path, links resolved; ``folder``
    the first folder that is missing.
    """

    def __init__(self, path: str, folder: str) -> None:
        super().__init__(f"{one_line(path)}: no such file or folder")
        self.path = path
        self.folder = folder


class Stamp(msgspec.Struct, frozen=True):
    """What a file was when it was read, to notice that somebody else changed it."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Place(msgspec.Struct, frozen=True):
    """Where a path leads: an open folder of the workspace and a name in it, which is no link."""

    folder: int
    name: str
    """``.`` for the folder itself."""
    path: str
    """From the workspace's root, links resolved."""

    @property
    def protected(self) -> bool:
        return is_protected(self.path)


def is_protected(path: str) -> bool:
    """Whether a resolved path is one that is never written."""
    return any(part.casefold() in PROTECTED for part in PurePosixPath(path).parts)


class Workspace:
    """The folder at `root`. Raises WorkspaceError where there is none.

    ``lock`` is held while a file is read to be changed and written back.
    """

    def __init__(self, root: Path | str) -> None:
        if os.open not in os.supports_dir_fd:
            raise WorkspaceError("This system cannot open files relative to a folder")
        self.root = Path(os.path.realpath(root))
        self.lock = threading.RLock()
        try:
            status = self.root.stat()
        except OSError as error:
            raise WorkspaceError(f"{self.root}: {error.strerror}") from error
        if not stat.S_ISDIR(status.st_mode):
            raise WorkspaceError(f"{self.root}: not a folder")
        self._identity = (status.st_dev, status.st_ino)

    @contextmanager
    def place(self, path: str, *, make_folders: bool = False) -> Iterator[Place]:
        """Where `path` leads, missing files included. Relative, or absolute within the root.

        Raises WorkspaceError, as everything here does.
        """
        folders = [self._open_root()]
        try:
            names: list[str] = []
            last = self._walk(path, folders, names, make_folders=make_folders)
            where = "/".join([*names, last] if last != "." else names) or "."
            while len(folders) > 1:
                os.close(folders.pop(0))
            yield Place(folders[-1], last, where)
        except OSError as error:
            raise WorkspaceError(f"{one_line(path)}: {_said(error)}") from error
        finally:
            for folder in folders:
                os.close(folder)

    def read(self, path: str, *, limit: int = MAX_FILE_BYTES) -> tuple[bytes, os.stat_result, str]:
        """A file's bytes, status and resolved path."""
        with self.place(path) as place:
            data, status = self.read_at(place, limit=limit)
            return data, status, place.path

    def read_at(self, place: Place, *, limit: int = MAX_FILE_BYTES) -> tuple[bytes, os.stat_result]:
        """A file's bytes and status."""
        with os.fdopen(self.open_at(place), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size <= limit:
                data = file.read(limit + 1)
                if len(data) <= limit:
                    return data, status
        raise WorkspaceError(
            f"{one_line(place.path)}: larger than the limit of {counted(limit, 'byte')}"
        )

    def open_at(self, place: Place) -> int:
        """A descriptor of a regular file, to read. Devices and pipes are refused."""
        if place.name == ".":
            raise WorkspaceError(f"{one_line(place.path)}: is a folder")
        descriptor = os.open(place.name, _FILE, dir_fd=place.folder)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            kind = "is a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise WorkspaceError(f"{one_line(place.path)}: {kind}")
        return descriptor

    def status_at(self, place: Place) -> os.stat_result | None:
        """What is there; None where nothing is."""
        try:
            return os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def check_writable(self, place: Place) -> os.stat_result | None:
        """Raise where no file may be written; else the status of the file that is there."""
        if place.protected:
            raise WorkspaceError(f"{one_line(place.path)}: in .git nothing is written")
        if place.name == ".":
            raise WorkspaceError(f"{one_line(place.path)}: is a folder")
        status = self.status_at(place)
        if status is not None and not stat.S_ISREG(status.st_mode):
            kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise WorkspaceError(f"{one_line(place.path)}: {kind}")
        return status

    def stage(self, place: Place, data: bytes, *, like: os.stat_result | None = None) -> str:
        """Write `data` beside the file, under a name of its own, with the mode and owner of the
        file, or of ``like`` where there is none. Gives that name, for `commit` or `discard`.
        """
        status = self.check_writable(place) or like
        name = f".{secrets.token_hex(8)}.antiphon"
        descriptor = os.open(name, _NEW, 0o666, dir_fd=place.folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if status is not None:
                    with suppress(PermissionError):
                        os.fchown(descriptor, status.st_uid, status.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
                elif os.geteuid() == 0:
                    # What root makes in somebody's folder is theirs, as all the rest of it.
                    owner = os.fstat(place.folder)
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                file.write(data)
        except BaseException:
            self.discard(place, name)
            raise
        return name

    def commit(self, place: Place, staged: str, *, expected: Stamp | None = None) -> None:
        """Put what was staged in the file's place. ``expected``: only if it is still that file."""
        if expected is not None:
            self._check_same(place, expected)
        os.replace(staged, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)

    def delete_at(self, place: Place, *, expected: Stamp) -> None:
        """Delete a file, if it is still that file."""
        self.check_writable(place)
        self._check_same(place, expected)
        os.unlink(place.name, dir_fd=place.folder)

    def discard(self, place: Place, staged: str) -> None:
        """Take away what was staged."""
        with suppress(OSError):
            os.unlink(staged, dir_fd=place.folder)

    def write_at(self, place: Place, data: bytes, *, expected: Stamp | None = None) -> None:
        """Write a file whole, or not at all."""
        staged = self.stage(place, data)
        try:
            self.commit(place, staged, expected=expected)
        except BaseException:
            self.discard(place, staged)
            raise

    def _check_same(self, place: Place, expected: Stamp) -> None:
        status = self.status_at(place)
        if status is None or Stamp.of(status) != expected:
            raise WorkspaceError(
                f"{one_line(place.path)}: changed by somebody else meanwhile; read it again"
            )

    def _open_root(self) -> int:
        try:
            root = os.open(self.root, _DIRECTORY)
        except OSError as error:
            raise WorkspaceError(f"The workspace: {_said(error)}") from error
        status = os.fstat(root)
        if (status.st_dev, status.st_ino) != self._identity:
            os.close(root)
            raise WorkspaceError("The workspace has been replaced by another folder")
        return root

    def _walk(self, path: str, folders: list[int], names: list[str], *, make_folders: bool) -> str:
        if len(path) > MAX_PATH_CHARS or "\0" in path:
            raise WorkspaceError("Not a path: it is too long or holds a NUL")
        todo = deque(self._parts(path, path))
        links = 0
        while todo:
            part = todo.popleft()
            if part == "..":
                if not names:
                    raise WorkspaceError(f"{one_line(path)}: outside the workspace")
                names.pop()
                os.close(folders.pop())
                continue
            target = _link(part, folders[-1])
            if target is not None:
                links += 1
                if links > MAX_LINKS:
                    raise WorkspaceError(f"{one_line(path)}: too many links")
                if target.startswith("/"):
                    while names:
                        names.pop()
                        os.close(folders.pop())
                todo.extendleft(reversed(self._parts(target, path)))
                continue
            if not todo:
                return part
            try:
                folder = os.open(part, _DIRECTORY, dir_fd=folders[-1])
            except FileNotFoundError:
                if ".." in todo:
                    raise
                if not make_folders or part.casefold() in PROTECTED:
                    missing = "/".join([*names, part])
                    raise MissingFolderError("/".join([missing, *todo]), missing) from None
                self._make_folder(part, folders[-1])
                folder = os.open(part, _DIRECTORY, dir_fd=folders[-1])
            folders.append(folder)
            names.append(part)
        return "."

    def _make_folder(self, name: str, parent: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
            if os.geteuid() == 0:
                owner = os.fstat(parent)
                os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)

    def _parts(self, path: str, asked: str) -> list[str]:
        if path.startswith("/"):
            # `..` must not be taken out of the text: it is walked, for links may stand before it.
            root = str(self.root).rstrip("/") + "/"
            if not (path + "/").startswith(root):
                raise WorkspaceError(
                    f"{one_line(asked)}: outside the workspace, which is {self.root}"
                )
            path = path[len(root) :]
        return [part for part in path.split("/") if part not in ("", ".")]


def _link(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _said(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "no such file or folder"
    if error.errno == errno.ELOOP:
        return "became a link while it was opened"
    return (error.strerror or type(error).__name__).lower()
