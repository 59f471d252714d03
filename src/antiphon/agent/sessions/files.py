"""Files that tools made, kept in a folder under names that are not trusted."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Final

from antiphon.settings.private_file import DIRECTORY_MODE
from antiphon.tools.protocol import ToolFile

__all__ = ["FileShelf", "keep_file"]

MAX_FILES: Final = 1_000
MAX_BYTES: Final = 256 * 1024 * 1024
"""Of all files of one session."""
MAX_NAME: Final = 120
"""Characters of a file's name that are kept."""
MAX_TAKEN: Final = 1000
"""Numbers tried for a name that is taken."""

_UNSAFE: Final = re.compile(r"[^\w.\- ]")


def keep_file(folder: Path, file: ToolFile) -> Path:
    """Write the file into a folder, which must be there: nothing hidden, nothing beside it, nothing
    replaced; a name that is taken gets a number. Raises OSError.
    """
    name = _UNSAFE.sub("_", file.name.replace("\\", "/").rpartition("/")[2])[-MAX_NAME:]
    name = name.lstrip(".") or "file"
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, suffix = name, ""
    for number in range(1, MAX_TAKEN):
        extra = "" if number == 1 else f"-{number}"
        path = folder / f"{stem}{extra}{dot}{suffix}"
        try:
            with path.open("xb") as kept:
                kept.write(file.data)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(errno.EEXIST, "too many files of this name")


class FileShelf:
    """A session's folder of files, made when the first one comes; within bounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._room: tuple[int, int] | None = None
        """Files and bytes that still fit."""

    def keep(self, file: ToolFile) -> str | None:
        """Its name in the folder; None: there is no room for it. Raises OSError."""
        if self._room is None:
            self.folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            sizes = [path.lstat().st_size for path in self.folder.iterdir()]
            self._room = MAX_FILES - len(sizes), MAX_BYTES - sum(sizes)
        files, bytes_ = self._room
        if files < 1 or bytes_ < len(file.data):
            return None
        name = keep_file(self.folder, file).name
        self._room = files - 1, bytes_ - len(file.data)
        return name

    def read(self, name: str, limit: int) -> bytes | None:
        """A file's content; None if it is gone, too large, or none of ours."""
        path = self.folder / name
        if path.parent != self.folder or path.is_symlink() or not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def remove(self) -> None:
        """With all that is in it. Raises OSError."""
        if self.folder.is_dir() and not self.folder.is_symlink():
            shutil.rmtree(self.folder)
