"""The text of a patch → what it asks for, in the format that gpt-oss was trained on.

    *** Begin Patch
    *** Add File: PATH          then lines that begin with +
    *** Delete File: PATH
    *** Update File: PATH       then, if wanted, *** Move to: PATH
    @@ A LINE ABOVE             one or more, or none; narrows down where
     context
    -removed
    +added
    *** End of File             the hunk ends where the file does
    *** End Patch

Sources: apply_patch.md and apply_patch.py in openai/gpt-oss; codex-rs/apply-patch in openai/codex.
What models get wrong without ambiguity is taken: a shell's here-document or a code fence around it,
the numbers of a unified diff after ``@@``, empty context lines without their space.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

__all__ = ["Add", "Delete", "Hunk", "Operation", "PatchError", "Update", "parse_patch"]

MAX_PATCH_CHARS: Final = 4 << 20
MAX_OPERATIONS: Final = 100

_BEGIN: Final = "*** Begin Patch"
_END: Final = "*** End Patch"
_ADD: Final = "*** Add File:"
_DELETE: Final = "*** Delete File:"
_UPDATE: Final = "*** Update File:"
_MOVE: Final = "*** Move to:"
_EOF: Final = "*** End of File"
_NUMBERS: Final = re.compile(r"-\d+(?:,\d+)? \+\d+(?:,\d+)? @@ ?")


class PatchError(ValueError):
    """A patch that cannot be applied; the text is for the model."""


class Hunk(msgspec.Struct, frozen=True):
    """One change within a file."""

    number: int
    """From 1, for messages."""
    headers: tuple[str, ...]
    """Lines that stand above it, outermost first."""
    lines: tuple[tuple[Literal[" ", "-", "+"], str], ...]
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        """What stands there before."""
        return [text for kind, text in self.lines if kind != "+"]


class Add(msgspec.Struct, frozen=True, tag=True):
    """A new file."""

    path: str
    text: str


class Delete(msgspec.Struct, frozen=True, tag=True):
    """A file that goes."""

    path: str


class Update(msgspec.Struct, frozen=True, tag=True):
    """A file that changes, or moves, or both."""

    path: str
    hunks: tuple[Hunk, ...]
    move_to: str | None = None


Operation = Add | Delete | Update


def parse_patch(text: str) -> list[Operation]:
    """What a patch asks for, in its order. Raises PatchError."""
    if len(text) > MAX_PATCH_CHARS:
        raise PatchError(
            f"The patch has {len(text):,} characters, the limit is {MAX_PATCH_CHARS:,}"
        )
    lines = text.replace("\r\n", "\n").split("\n")
    begin = next((at for at, line in enumerate(lines) if line.strip() == _BEGIN), None)
    if begin is None:
        raise PatchError(f"The patch must begin with the line `{_BEGIN}`")
    end = next((at for at in range(begin + 1, len(lines)) if lines[at].rstrip() == _END), None)
    if end is None:
        raise PatchError(f"The patch does not end with the line `{_END}`; it may have been cut off")
    operations = _Reader(lines[begin + 1 : end], begin + 2).operations()
    if not operations:
        raise PatchError("The patch is empty")
    return operations


class _Reader:
    def __init__(self, lines: list[str], first: int) -> None:
        self._lines = lines
        self._first = first
        self._at = 0

    def operations(self) -> list[Operation]:
        found: list[Operation] = []
        while self._at < len(self._lines):
            if len(found) == MAX_OPERATIONS:
                raise PatchError(f"The patch changes more than {MAX_OPERATIONS} files")
            if not self._lines[self._at].strip():
                self._at += 1
            elif (path := self._header(_ADD)) is not None:
                found.append(Add(path, self._added(path)))
            elif (path := self._header(_DELETE)) is not None:
                found.append(Delete(path))
            elif (path := self._header(_UPDATE)) is not None:
                move_to = self._header(_MOVE) if self._at < len(self._lines) else None
                found.append(self._update(path, move_to))
            else:
                raise self._wrong(f"expected `{_ADD}`, `{_DELETE}` or `{_UPDATE}` with a path")
        return found

    def _header(self, prefix: str) -> str | None:
        line = self._lines[self._at].strip()
        if not line.startswith(prefix):
            return None
        path = line[len(prefix) :].strip()
        if not path:
            raise self._wrong("the path is missing")
        self._at += 1
        return path

    def _added(self, path: str) -> str:
        lines: list[str] = []
        while (line := self._within()) is not None:
            if line.startswith("+"):
                lines.append(line[1:])
            elif not line.strip():
                lines.append("")
            else:
                raise self._wrong(f"every line of the new file {path} begins with +")
            self._at += 1
        # Empty lines between two sections belong to the patch, not to the file.
        while lines and lines[-1] == "" and not self._lines[self._at - 1].startswith("+"):
            lines.pop()
            self._at -= 1
        while self._at < len(self._lines) and not self._lines[self._at].strip():
            self._at += 1
        return "\n".join(lines) + "\n" if lines else ""

    def _update(self, path: str, move_to: str | None) -> Update:
        hunks: list[Hunk] = []
        while self._within() is not None:
            hunk = self._hunk(len(hunks) + 1)
            if hunk is not None:
                hunks.append(hunk)
        if not hunks and move_to is None:
            raise PatchError(f"The update of {path} has no hunks")
        return Update(path, tuple(hunks), move_to)

    def _hunk(self, number: int) -> Hunk | None:
        headers: list[str] = []
        start = self._at
        while (line := self._within()) is not None and line.startswith("@@"):
            header = line[2:].removeprefix(" ")
            header = _NUMBERS.sub("", header, count=1)
            if header.strip() and header.strip() != "@@":
                headers.append(header)
            self._at += 1
        lines: list[tuple[Literal[" ", "-", "+"], str]] = []
        at_end = False
        blank = 0
        while (line := self._within()) is not None and not line.startswith("@@"):
            if line.rstrip() == _EOF:
                at_end = True
                self._at += 1
                break
            if line.startswith((" ", "-", "+")):
                lines.append((line[0], line[1:]))  # type: ignore[arg-type]
                blank = 0
            elif not line:
                lines.append((" ", ""))
                blank += 1
            else:
                raise self._wrong("a line of a hunk begins with a space, - or +")
            self._at += 1
        if self._within() is None and not at_end:
            # Empty lines before the next section are its spacing.
            lines = lines[: len(lines) - blank]
        if not any(kind != " " for kind, _ in lines):
            if not lines and self._at > start and self._within() is None and not headers:
                return None
            if lines or headers:
                raise PatchError(f"Line {self._first + start}: hunk {number} changes nothing")
            return None
        return Hunk(number, tuple(headers), tuple(lines), at_end)

    def _within(self) -> str | None:
        """The line at hand, unless it begins the next file."""
        if self._at >= len(self._lines):
            return None
        line = self._lines[self._at]
        return None if line.startswith("*** ") and line.rstrip() != _EOF else line

    def _wrong(self, why: str) -> PatchError:
        line = self._lines[self._at]
        return PatchError(f"Line {self._first + self._at}: {why}, not {line[:80]!r}")
