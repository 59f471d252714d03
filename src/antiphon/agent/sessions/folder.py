"""The folder of saved sessions: begin one, find one, read it, list them, remove one."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from antiphon.agent.journal import Setup
from antiphon.agent.sessions.files import FileShelf
from antiphon.agent.sessions.log import FILES, PARTIAL, SUFFIX, SessionLog, Sync, left_of_turn
from antiphon.agent.sessions.records import (
    Begin,
    Decision,
    End,
    Line,
    MadeRecord,
    Said,
    SetupRecord,
    Turn,
    decode_line,
    entry_of,
)
from antiphon.agent.transcript import Entry
from antiphon.api.turn import TurnUsage
from antiphon.errors import StoreError
from antiphon.model.message import Role
from antiphon.settings.model import AgentSettings
from antiphon.settings.paths import state_directory
from antiphon.tools.protocol import Shown

__all__ = ["Saved", "SessionFolder", "Summary", "sessions_folder"]

_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}\Z")
_HEAD: Final = 256 * 1024
"""Bytes of a file that are looked at for a list."""
TITLE_CHARS: Final = 80


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A session in a list. Times are UTC, ISO."""

    id: str
    begun: str
    changed: str
    folder: str = ""
    model: str = ""
    title: str = ""
    """How the first question begins."""
    bytes: int = 0


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A session, read. ``damaged`` counts lines that could not be."""

    id: str
    begun: str = ""
    folder: str = ""
    setup: Setup = Setup()
    entries: tuple[Entry, ...] = ()
    """What was said, as far as it was written: calls without a result are left so."""
    turns: int = 0
    usage: TurnUsage = TurnUsage(completions=0)
    decisions: Mapping[str, Decision] = {}
    """By call id."""
    made: Mapping[str, MadeRecord] = {}
    """What calls came to beside their texts, by call id."""
    shelf: FileShelf | None = None
    """Where the files are that tools made."""
    end: str | None = None
    """Why the last run ended; None if it did not."""
    damaged: int = 0

    @property
    def shown(self) -> tuple[Shown, ...]:
        """The pages that its browser showed, for answers that cite them."""
        return tuple([made.shown for made in self.made.values() if made.shown is not None])


def sessions_folder(settings: AgentSettings, environ: Mapping[str, str]) -> Path:
    """Where sessions are kept."""
    if settings.sessions:
        return Path(settings.sessions).expanduser()
    return state_directory(environ) / "sessions"


class SessionFolder:
    """The folder at ``path``, which is made when the first session begins."""

    def __init__(
        self, path: Path, *, now: Callable[[], dt.datetime], sync: Sync = "normal"
    ) -> None:
        self.path = path
        self._now = now
        self._sync: Sync = sync

    def begin(self, folder: str) -> SessionLog:
        """A new session. Raises StoreError."""
        stamp = self._now().strftime("%Y%m%d-%H%M%S")
        while (path := self._file(f"{stamp}-{secrets.token_hex(2)}")).exists():
            pass
        log = SessionLog(path, now=self._now, sync=self._sync)
        log.begin(folder)
        return log

    def resume(self, id: str) -> tuple[Saved, SessionLog]:
        """A session to go on with, locked and then read. Raises StoreError."""
        path = self._file(self.find(id))
        log = SessionLog(path, now=self._now, sync=self._sync)
        try:
            return self.read(path.stem), log
        except BaseException:
            log.close()
            raise

    def find(self, text: str) -> str:
        """The id that ``text`` is, or begins or ends. Raises StoreError if none or several are."""
        if _ID.match(text) and self._file(text).exists():
            return text
        ids = [path.stem for path in self._files()]
        found = [id for id in ids if text and (id.startswith(text) or id.endswith(text))]
        if len(found) == 1:
            return found[0]
        if not found:
            raise StoreError(f"there is no session {text[:60]!r} in {self.path}", status=404)
        raise StoreError(f"{len(found)} sessions are named like {text[:60]!r}", status=404)

    def latest(self, folder: str | None = None) -> str | None:
        """The session that changed last; with ``folder``, of those begun there."""
        for summary in self.list():
            if folder is None or summary.folder == folder:
                return summary.id
        return None

    def list(self) -> list[Summary]:
        """Every session, the one that changed last first. Files that are none are passed over."""
        found = [summary for path in self._files() if (summary := _summary(path)) is not None]
        return sorted(found, key=lambda summary: (summary.changed, summary.id), reverse=True)

    def read(self, id: str) -> Saved:
        """A session. Raises StoreError if it is not there or cannot be read."""
        path = self._file(self.find(id))
        reader = _Reader(path.stem)
        try:
            with path.open("rb") as file:
                for line in file:
                    reader.line(line)
            left = left_of_turn(path.with_suffix(PARTIAL), reader.turns)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
        saved = reader.saved(left)
        return msgspec.structs.replace(saved, shelf=FileShelf(path.with_suffix(FILES)))

    def remove(self, id: str) -> str:
        """Remove a session that no process has open. Returns its id. Raises StoreError."""
        path = self._file(self.find(id))
        with SessionLog(path, now=self._now):
            try:
                path.with_suffix(PARTIAL).unlink(missing_ok=True)
                FileShelf(path.with_suffix(FILES)).remove()
                path.unlink()
            except OSError as error:
                raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error
        return path.stem

    def _file(self, id: str) -> Path:
        return self.path / f"{id}{SUFFIX}"

    def _files(self) -> Iterator[Path]:
        try:
            paths = sorted(self.path.glob(f"*{SUFFIX}"))
        except OSError:
            return
        yield from [path for path in paths if _ID.match(path.stem) and path.is_file()]


class _Reader:
    """Lines → a session."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._begin = Begin(id=id, at="")
        self._setup = Setup()
        self._entries: list[Entry] = []
        self._usage = TurnUsage(completions=0)
        self._decisions: dict[str, Decision] = {}
        self._made: dict[str, MadeRecord] = {}
        self._end: str | None = None
        self._damaged = 0
        self.turns = 0

    def line(self, line: bytes) -> None:
        record = decode_line(line)
        if isinstance(record, Begin):
            self._begin = record
        elif isinstance(record, SetupRecord):
            self._setup = record.setup
        elif isinstance(record, Said):
            self._end = None
            self._add(record.line)
        elif isinstance(record, Turn):
            self.turns += 1
            self._usage = _sum(self._usage, record.usage)
            for said in record.lines:
                self._add(said)
        elif isinstance(record, Decision):
            self._decisions[record.call_id] = record
        elif isinstance(record, MadeRecord):
            self._made[record.call_id or str(len(self._made))] = record
        elif isinstance(record, End):
            self._end = record.reason
        elif line.strip():
            self._damaged += 1

    def saved(self, left: Sequence[Entry]) -> Saved:
        return Saved(
            id=self._id,
            begun=self._begin.at,
            folder=self._begin.folder,
            setup=self._setup,
            entries=(*self._entries, *left),
            turns=self.turns,
            usage=self._usage,
            decisions=self._decisions,
            made=self._made,
            end=self._end,
            damaged=self._damaged,
        )

    def _add(self, line: Line) -> None:
        entry = entry_of(line)
        if entry is None:
            self._damaged += 1
        else:
            self._entries.append(entry)


def _sum(one: TurnUsage, other: TurnUsage) -> TurnUsage:
    return TurnUsage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        completions=one.completions + other.completions,
    )


def _summary(path: Path) -> Summary | None:
    """What the beginning of a file says; None if it cannot be read, or is no session's."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            lines = file.read(_HEAD).splitlines()
    except OSError:
        return None
    reader = _Reader(path.stem)
    for line in lines:
        reader.line(line)
    saved = reader.saved(())
    if not saved.begun:
        return None
    asked = next((e.message.text for e in saved.entries if e.message.role is Role.USER), "")
    title = " ".join(asked.split())
    changed = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
    return Summary(
        id=path.stem,
        begun=saved.begun,
        changed=changed.isoformat(timespec="seconds"),
        folder=saved.folder,
        model=saved.setup.model,
        title=title if len(title) <= TITLE_CHARS else f"{title[: TITLE_CHARS - 1]}…",
        bytes=status.st_size,
    )
