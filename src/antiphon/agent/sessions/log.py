"""One session's file, while it grows: a line for each thing that is said, and nothing rewritten.

Beside ``ID.jsonl`` there is ``ID.partial`` while a turn runs: the pieces of what the model is
saying. The turn's own line takes their place; if the process dies before, they are what is left of
the turn. Files that tools make are in ``ID.files``. A session belongs to one process at a time.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from antiphon.agent.events import ApprovalGiven, Kind, RunEnded
from antiphon.agent.journal import Setup
from antiphon.agent.sessions.files import FileShelf
from antiphon.agent.sessions.records import (
    Begin,
    Decision,
    End,
    KeptFile,
    MadeRecord,
    Record,
    Said,
    SetupRecord,
    Turn,
    decode_line,
    encode_line,
    line_of,
)
from antiphon.agent.transcript import Entry, spoken
from antiphon.api.turn import FinishReason, TurnUsage
from antiphon.errors import StoreError
from antiphon.settings.private_file import DIRECTORY_MODE, FILE_MODE
from antiphon.tools.protocol import ToolOutput

__all__ = ["FILES", "PARTIAL", "SUFFIX", "Piece", "SessionLog", "Sync", "left_of_turn", "mend_end"]

SUFFIX: Final = ".jsonl"
PARTIAL: Final = ".partial"
FILES: Final = ".files"
_TAIL: Final = 64 * 1024

Sync = Literal["normal", "full"]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of an open turn. ``turn`` is how many turn lines the file had when it came."""

    turn: int
    part: int
    kind: Kind
    text: str


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Piece).decode
_TURN: Final = b'{"type":"turn"'


class SessionLog:
    """Appends to a session's file (`antiphon.agent.journal.Journal`). Every method raises
    StoreError if the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], dt.datetime],
        sync: Sync = "normal",
    ) -> None:
        """Open the file, which is made if there is none. What a crash left is put in order: a torn
        last line is cut off, and what the model was saying becomes a turn that was broken off.
        """
        self._path = path
        self._partial = path.with_suffix(PARTIAL)
        self._now = now
        self._full = sync == "full"
        self._turns = 0
        self._pieces: int | None = None
        self._file = -1
        self._shelf = FileShelf(path.with_suffix(FILES))
        try:
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._file = os.open(path, flags, FILE_MODE)
            self._lock()
            mend_end(self._file)
            self._adopt_pieces()
        except OSError as error:
            self.close()
            raise _cannot("open", path, error) from error
        except StoreError:
            self.close()
            raise

    @property
    def id(self) -> str:
        return self._path.stem

    @property
    def path(self) -> Path:
        return self._path

    def begin(self, folder: str) -> None:
        """The first line of a new session."""
        self._write(Begin(id=self.id, at=self._at(), folder=folder))

    def setup(self, setup: Setup) -> None:
        self._write(SetupRecord(setup))

    def said(self, entry: Entry) -> None:
        self._write(Said(at=self._at(), line=line_of(entry)))

    def piece(self, part: int, kind: Kind, text: str) -> None:
        try:
            if self._pieces is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
                self._pieces = os.open(self._partial, flags, FILE_MODE)
            _all(self._pieces, _ENCODE(Piece(self._turns, part, kind, text)) + b"\n")
        except OSError as error:
            raise _cannot("write", self._partial, error) from error

    def turn(self, entries: Sequence[Entry], finish: FinishReason | None, usage: TurnUsage) -> None:
        lines = tuple([line_of(entry) for entry in entries])
        self._write(Turn(at=self._at(), lines=lines, finish=finish, usage=usage))
        self._turns += 1
        if self._pieces is not None:
            try:
                os.ftruncate(self._pieces, 0)
            except OSError as error:
                raise _cannot("write", self._partial, error) from error

    def decided(self, tool: str, given: ApprovalGiven) -> None:
        self._write(
            Decision(
                call_id=given.call_id,
                tool=tool,
                allowed=given.allowed,
                by=given.by,
                reason=given.reason,
            )
        )

    def made(self, call_id: str | None, output: ToolOutput) -> None:
        files = []
        for file in output.files:
            try:
                kept = self._shelf.keep(file)
            except OSError as error:
                raise _cannot("write beside", self._path, error) from error
            size = len(file.data)
            files.append(
                KeptFile(name=file.name, media_type=file.media_type, bytes=size, kept=kept)
            )
        self._write(MadeRecord(call_id=call_id, files=tuple(files), shown=output.shown))

    def ended(self, end: RunEnded) -> None:
        self._write(End(at=self._at(), reason=end.reason, detail=end.detail))

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            empty = os.fstat(pieces).st_size == 0
            os.close(pieces)
            if empty:
                self._partial.unlink(missing_ok=True)
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __enter__(self) -> SessionLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, record: Record) -> None:
        try:
            _all(self._file, encode_line(record))
            if self._full:
                os.fsync(self._file)
        except OSError as error:
            raise _cannot("write", self._path, error) from error

    def _adopt_pieces(self) -> None:
        with self._path.open("rb") as file:
            self._turns = sum(line.startswith(_TURN) for line in file)
        left = left_of_turn(self._partial, self._turns)
        if left:
            self.turn(left, None, TurnUsage(completions=0))
        self._partial.unlink(missing_ok=True)

    def _at(self) -> str:
        return self._now().isoformat(timespec="milliseconds")

    def _lock(self) -> None:
        """One process at a time; a dead process lets go. Windows has no such locks."""
        if os.name != "posix":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"the session {self.id} is open in another process") from None


def left_of_turn(partial: Path, turns: int) -> list[Entry]:
    """What the model had said of a turn that did not end, behind ``turns`` that did: OSError."""
    parts: dict[int, tuple[Kind, list[str]]] = {}
    try:
        with partial.open("rb") as file:
            for line in file:
                try:
                    piece = _DECODE(line)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue  # the last one, torn
                if piece.turn == turns:
                    parts.setdefault(piece.part, (piece.kind, []))[1].append(piece.text)
    except FileNotFoundError:
        return []
    return [Entry(spoken(kind, "".join(texts))) for kind, texts in parts.values()]


def mend_end(file: int) -> None:
    """Make the file end in a whole line: a torn one is cut off, a missing line feed added."""
    size = os.fstat(file).st_size
    if not stat.S_ISREG(os.fstat(file).st_mode) or size == 0:
        return
    start, tail = size, b""
    while start and b"\n" not in tail:
        step = min(start, _TAIL)
        start -= step
        os.lseek(file, start, os.SEEK_SET)
        tail = _read(file, step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return
    if decode_line(last) is None:
        os.ftruncate(file, size - len(last))
    else:
        os.lseek(file, 0, os.SEEK_END)
        _all(file, b"\n")


def _read(file: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.read(file, size - len(data))):
        data += piece
    return data


def _all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _cannot(what: str, path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot {what} the session file {path}: {error.strerror or error}")
