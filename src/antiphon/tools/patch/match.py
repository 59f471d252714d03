"""Where a hunk's lines stand in a file: exactly, or apart from spaces and typographic signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from antiphon.tools.patch.parse import Hunk, PatchError
from antiphon.tools.text import one_line

__all__ = ["Level", "apply_hunks"]

_SIGNS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000", " "),
        "\u2026": "...",
    }
)


class Level(msgspec.Struct, frozen=True):
    """One way of calling two lines the same."""

    name: str
    """What was overlooked, for the answer; empty for nothing."""
    normal: Callable[[str], str]


LEVELS: Final = (
    Level("", lambda line: line),
    Level("spaces at line ends", str.rstrip),
    Level("indentation", str.strip),
    Level("spaces and typographic signs", lambda line: line.translate(_SIGNS).strip()),
)
"""From strict to tolerant; the first that finds something is taken."""


class _Change(msgspec.Struct):
    start: int
    removed: int
    lines: list[str]


def apply_hunks(text: str, hunks: Sequence[Hunk], path: str) -> tuple[str, list[str]]:
    """The text with all hunks applied, and a remark for each that matched only roughly.

    Raises PatchError naming the hunk that has no place, and the nearest one.
    """
    lines = text.split("\n")
    ends = lines[-1] == ""
    if ends:
        lines.pop()
    finder = _Finder(lines, path)
    changes: list[_Change] = []
    remarks: list[str] = []
    position = 0
    for hunk in hunks:
        change, level = finder.change(hunk, position)
        changes.append(change)
        position = change.start + change.removed
        if level.name:
            remarks.append(f"{path}: hunk {hunk.number} matched apart from {level.name}")
    changes.sort(key=lambda change: change.start)
    made: list[str] = []
    at = 0
    for change in changes:
        if change.start < at:
            raise PatchError(f"{path}: two hunks change the same lines, at line {change.start + 1}")
        made += lines[at : change.start]
        made += change.lines
        at = change.start + change.removed
    made += lines[at:]
    if not made:
        return "", remarks
    return "\n".join(made) + ("\n" if ends or not lines else ""), remarks


class _Finder:
    def __init__(self, lines: list[str], path: str) -> None:
        self._lines = lines
        self._path = path
        self._normal: dict[str, list[str]] = {"": lines}

    def change(self, hunk: Hunk, position: int) -> tuple[_Change, Level]:
        start, header_found = self._below(hunk.headers, position)
        old = hunk.old
        if not old:
            if hunk.headers and not header_found:
                raise PatchError(
                    f"{self._path}: hunk {hunk.number}: there is no line"
                    f" `{one_line(hunk.headers[-1])}`"
                )
            at = start if hunk.headers else len(self._lines)
            return _Change(at, 0, [text for _, text in hunk.lines]), LEVELS[0]
        # A last empty line may stand for the end of the file's last line.
        for shown in (hunk, _without_last_blank(hunk)):
            if shown is None:
                continue
            for level in LEVELS:
                found = self._find(shown, level, start, position)
                if found is not None:
                    return self._replace(shown, found, level), level
        raise PatchError(self._nowhere(hunk, start))

    def _below(self, headers: Sequence[str], position: int) -> tuple[int, bool]:
        """The first line after the headers, and whether all were found."""
        found = True
        for header in headers:
            at = None
            for level in LEVELS:
                normal = self._at_level(level)
                wanted = level.normal(header)
                at = _index(normal, wanted, position)
                if at is None and position:
                    at = _index(normal, wanted, 0)
                if at is not None:
                    break
            if at is None:
                found = False
            else:
                position = at + 1
        return position, found

    def _find(self, hunk: Hunk, level: Level, start: int, position: int) -> int | None:
        lines = self._at_level(level)
        old = [level.normal(line) for line in hunk.old]
        if hunk.at_end:
            last = len(lines) - len(old)
            if last >= 0 and lines[last:] == old:
                return last
        at, _ = _search(lines, old, start)
        if at is None and hunk.headers and start > 0:
            # The header may itself be the first line of the context.
            at, _ = _search(lines, old, max(0, start - 1))
        if at is None and start != position:
            at, _ = _search(lines, old, position)
        if at is None and start:
            at, _ = _search(lines, old, 0)
        return at

    def _replace(self, hunk: Hunk, start: int, level: Level) -> _Change:
        old = hunk.old
        there = self._lines[start : start + len(old)]
        shift = _Shift(old, there) if level is not LEVELS[0] else None
        made: list[str] = []
        at = start
        for kind, text in hunk.lines:
            if kind == "+":
                made.append(shift.apply(text) if shift else text)
            else:
                if kind == " ":
                    made.append(self._lines[at])  # as it stands in the file
                at += 1
        return _Change(start, len(old), made)

    def _at_level(self, level: Level) -> list[str]:
        if level.name not in self._normal:
            self._normal[level.name] = [level.normal(line) for line in self._lines]
        return self._normal[level.name]

    def _nowhere(self, hunk: Hunk, start: int) -> str:
        """Why: how far the best place agrees, and where it stops to."""
        said = f"{self._path}: hunk {hunk.number} does not fit"
        level = LEVELS[2]
        lines = self._at_level(level)
        old = [level.normal(line) for line in hunk.old]
        _, (at, agreed) = _search(lines, old, 0)
        wanted = one_line(hunk.old[agreed])
        if not agreed:
            return f"{said}: there is no line `{wanted}`. Read the file again"
        there = at + agreed
        stands = f"`{one_line(self._lines[there])}`" if there < len(self._lines) else "the end"
        return (
            f"{said}. From line {at + 1} on its first {agreed} lines match, but line {there + 1} is"
            f" {stands} where the patch has `{wanted}`. Read the file again"
        )


class _Shift:
    """How much deeper the file is indented than the patch, if it is so everywhere."""

    def __init__(self, patch: Sequence[str], file: Sequence[str]) -> None:
        self._from = self._to = ""
        pairs = [(p, f) for p, f in zip(patch, file, strict=True) if p.strip() and p != f]
        moved = [(p, f) for p, f in pairs if _indent(p) != _indent(f)]
        if not moved:
            return
        first, second = _indent(moved[0][0]), _indent(moved[0][1])
        if all(
            _indent(p).startswith(first) and _indent(f) == second + _indent(p)[len(first) :]
            for p, f in moved
        ):
            self._from, self._to = first, second

    def apply(self, line: str) -> str:
        if not line.strip() or not line.startswith(self._from):
            return line
        return self._to + line[len(self._from) :]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _without_last_blank(hunk: Hunk) -> Hunk | None:
    if hunk.lines[-1] != (" ", "") or len(hunk.old) < 2:
        return None
    return msgspec.structs.replace(hunk, lines=hunk.lines[:-1])


def _index(lines: Sequence[str], wanted: str, start: int) -> int | None:
    try:
        return lines.index(wanted, start)
    except ValueError:
        return None


def _search(
    lines: Sequence[str], wanted: Sequence[str], start: int
) -> tuple[int | None, tuple[int, int]]:
    """The first place of `wanted` from `start` on; and the longest beginning of it that stands
    somewhere, as (place, length). Linear, after Knuth, Morris and Pratt: files and patches may
    repeat one line a hundred thousand times.
    """
    fallback = [0] * len(wanted)
    length = 0
    for at in range(1, len(wanted)):
        while length and wanted[at] != wanted[length]:
            length = fallback[length - 1]
        length += wanted[at] == wanted[length]
        fallback[at] = length
    best = (start, 0)
    length = 0
    for at in range(start, len(lines)):
        while length and lines[at] != wanted[length]:
            length = fallback[length - 1]
        length += lines[at] == wanted[length]
        if length > best[1]:
            best = (at - length + 1, length)
        if length == len(wanted):
            return at - length + 1, best
    return None, best
