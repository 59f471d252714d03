"""A patch onto a workspace: all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from antiphon.tools.patch.match import apply_hunks
from antiphon.tools.patch.parse import Add, Delete, Operation, PatchError, Update
from antiphon.tools.text import one_line
from antiphon.tools.workspace.content import Text, decode
from antiphon.tools.workspace.root import (
    MAX_FILE_BYTES,
    MissingFolderError,
    Place,
    Stamp,
    Workspace,
    WorkspaceError,
    is_protected,
)

__all__ = ["Applied", "apply_patch"]


class Applied(msgspec.Struct, frozen=True):
    """What was done."""

    changes: tuple[tuple[Literal["A", "M", "D"], str], ...]
    remarks: tuple[str, ...]
    """Hunks that matched only roughly."""


class _File:
    """One file, as it was and as the patch leaves it. Contents are None where there is no file."""

    def __init__(self, path: str, before: bytes | None, status: os.stat_result | None) -> None:
        self.path = path
        self.before = before
        self.status = status
        self.after = before
        self.like = status
        """Whose mode it takes when it is new."""


def apply_patch(workspace: Workspace, operations: Sequence[Operation]) -> Applied:
    """Apply a patch. Raises PatchError or WorkspaceError, and then nothing has changed.

    Every hunk is matched before anything is written; new contents are then all written beside their
    files and put in place one by one. Where that fails half way what was done is undone; only a
    machine that stops at that moment leaves half of it.
    """
    with workspace.lock:
        plan = _Plan(workspace)
        for operation in operations:
            plan.add(operation)
        changed = [file for file in plan.files.values() if file.after != file.before]
        try:
            _commit(workspace, changed)
        except BaseException:
            for file in changed:
                _remove_folders(workspace, file.path, plan.new_folders)
            raise
        return Applied(tuple(plan.changes), tuple(plan.remarks))


class _Plan:
    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.new_folders: set[str] = set()
        self.files: dict[str, _File] = {}
        self.changes: list[tuple[Literal["A", "M", "D"], str]] = []
        self.remarks: list[str] = []

    def add(self, operation: Operation) -> None:
        file = self._file(operation.path)
        match operation:
            case Add(text=text):
                if file.after is not None:
                    raise PatchError(f"{file.path}: exists already; update it instead of adding it")
                file.after = _encoded(Text(""), text, file.path)
                self.changes.append(("A", file.path))
            case Delete():
                if file.after is None:
                    raise PatchError(f"{file.path}: no such file to delete")
                file.after = None
                self.changes.append(("D", file.path))
            case Update():
                self._update(file, operation)

    def _update(self, file: _File, update: Update) -> None:
        if file.after is None:
            raise PatchError(f"{file.path}: no such file to update")
        data = file.after
        if update.hunks:
            text = decode(data)
            if text is None:
                raise PatchError(f"{file.path}: not a text file in UTF-8")
            made, remarks = apply_hunks(text.text, update.hunks, file.path)
            data = _encoded(text, made, file.path)
            self.remarks += remarks
        self.changes.append(("M", file.path))
        if update.move_to is None:
            file.after = data
            return
        target = self._file(update.move_to)
        if target is not file:
            if target.after is not None:
                raise PatchError(f"{target.path}: exists already, {file.path} cannot move there")
            file.after = None
            target.like = file.status
            self.changes[-1] = ("M", f"{file.path} -> {target.path}")
        target.after = data

    def _file(self, path: str) -> _File:
        try:
            with self._workspace.place(path) as place:
                known = self.files.get(place.path)
                if known is None:
                    status = self._workspace.check_writable(place)
                    before = None
                    if status is not None:
                        before, status = self._workspace.read_at(place)
                    known = self.files[place.path] = _File(place.path, before, status)
                return known
        except MissingFolderError as missing:
            if is_protected(missing.path):
                raise WorkspaceError(f"{one_line(path)}: in .git nothing is written") from None
            self.new_folders.add(missing.folder)
            return self.files.setdefault(missing.path, _File(missing.path, None, None))


def _encoded(like: Text, text: str, path: str) -> bytes:
    try:
        data = like.encode(text)
    except UnicodeEncodeError:
        raise PatchError(f"{path}: the patch holds half a surrogate pair") from None
    if len(data) > MAX_FILE_BYTES:
        raise PatchError(f"{path}: would become larger than {MAX_FILE_BYTES:,} bytes")
    return data


def _commit(workspace: Workspace, files: Sequence[_File]) -> None:
    with ExitStack() as stack:
        places: list[Place] = []
        staged: list[str | None] = []
        done = 0
        try:
            for file in files:
                place = stack.enter_context(workspace.place(file.path, make_folders=True))
                if place.path != file.path:
                    raise WorkspaceError(f"{one_line(file.path)}: became a link meanwhile")
                places.append(place)
                staged.append(
                    None
                    if file.after is None
                    else workspace.stage(place, file.after, like=file.like)
                )
            for file, place, name in zip(files, places, staged, strict=True):
                _put(workspace, file, place, name)
                done += 1
        except BaseException:
            for place, name in zip(places[done:], staged[done:], strict=False):
                if name is not None:
                    workspace.discard(place, name)
            for file, place in zip(files[:done], places[:done], strict=True):
                _undo(workspace, file, place)
            raise


def _remove_folders(workspace: Workspace, path: str, new: set[str]) -> None:
    """Take away the empty folders that were made for a file."""
    for parent in PurePosixPath(path).parents:
        if not any(parent.is_relative_to(folder) for folder in new):
            return
        with suppress(WorkspaceError), workspace.place(str(parent)) as place:
            os.rmdir(place.name, dir_fd=place.folder)


def _put(workspace: Workspace, file: _File, place: Place, staged: str | None) -> None:
    expected = Stamp.of(file.status) if file.status is not None else None
    if staged is None:
        if expected is not None:
            workspace.delete_at(place, expected=expected)
        return
    if expected is None and workspace.status_at(place) is not None:
        raise WorkspaceError(f"{one_line(place.path)}: was made by somebody else meanwhile")
    workspace.commit(place, staged, expected=expected)


def _undo(workspace: Workspace, file: _File, place: Place) -> None:
    if file.before is None:
        workspace.discard(place, place.name)
        return
    try:
        workspace.commit(place, workspace.stage(place, file.before, like=file.status))
    except (OSError, WorkspaceError) as error:
        raise WorkspaceError(f"{one_line(place.path)}: could not be put back: {error}") from error
