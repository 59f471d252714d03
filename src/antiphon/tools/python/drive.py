"""The folder that code sees as /mnt/data, and which of its files a call made."""

from __future__ import annotations

import mimetypes
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from antiphon.tools.protocol import ToolFile
from antiphon.tools.sandbox.identity import own_uid
from antiphon.tools.workspace.root import Stamp, Workspace, WorkspaceError
from antiphon.tools.workspace.walk import Budget, entries

__all__ = ["Drive"]

MAX_FILES: Final = 20
MAX_FILE_BYTES: Final = 16 << 20
MAX_BYTES: Final = 64 << 20
MAX_SECONDS: Final = 2.0


class Drive:
    """A folder: the given one, or one of its own that goes when it is closed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._own = folder is None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="antiphon-python-"))
            if os.geteuid() == 0:
                os.chown(folder, own_uid(), own_uid())
        self.folder = folder
        self._workspace = Workspace(folder)
        self._known = self._stamps()

    def changed(self) -> tuple[list[ToolFile], list[str]]:
        """Files that are new or other than at the last call; and the names of those too large to
        come along.
        """
        before, self._known = self._known, self._stamps()
        files: list[ToolFile] = []
        left: list[str] = []
        room = MAX_BYTES
        for path, stamp in self._known.items():
            if before.get(path) == stamp:
                continue
            if len(files) == MAX_FILES or stamp.size > min(room, MAX_FILE_BYTES):
                left.append(path)
                continue
            with suppress(WorkspaceError):
                data, _, _ = self._workspace.read(path, limit=MAX_FILE_BYTES)
                room -= len(data)
                kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
                files.append(ToolFile(path, data, kind))
        return files, left

    def close(self) -> None:
        """Remove it, if it is its own."""
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stamps(self) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        with suppress(WorkspaceError), self._workspace.place(".") as top:
            for entry in entries(top, Budget(MAX_SECONDS)):
                if entry.is_file:
                    found[entry.place.path] = Stamp.of(entry.status)
        return found
