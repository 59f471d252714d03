"""Traces: a JSON Lines file that says what the scripted engine does, and how it fails.

Each line is one rule, ``{"when": {…}, "emit": …, …}``; the first whose ``when`` fits and whose
``times`` are not used up is played (docs/scripted-engine.md).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.codec.text import CONTROL
from antiphon.engines.scripted.scene import Scene
from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_IDS, LAST_CONTROL_ID
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["Line", "Trace", "When", "marked_ids", "read_trace"]

MAX_TRACE_BYTES: Final = 64 * 1024 * 1024
"""Largest trace file."""

_As = Literal["ids", "marked", "stripped"]
_Count = Annotated[int, Meta(ge=0)]
_Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a prompt must be like. Everything that is given must hold."""

    user: str | None = None
    """A part of what the user said last."""
    regex: str | None = None
    """Found in what the user said last."""
    after_tool: str | None = None
    """The tool whose result the prompt ends in, with or without its namespace."""
    step: _Count | None = None
    """So many tool results since the user spoke last."""
    effort: str | None = None
    model: str | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line. Without ``emit`` and ``status`` the built-in rules answer, at this line's pace."""

    when: When = When()
    emit: str | list[Annotated[int, Meta(ge=0, le=LAST_CONTROL_ID)]] | None = None
    """Marked text, or ids."""
    form: _As | None = msgspec.field(default=None, name="as")
    """How completions come out of this engine; one for the whole file."""
    chunk: Annotated[int, Meta(ge=1)] = 1
    """Tokens a chunk."""
    delay_ms: _Milliseconds = 0
    """Before each chunk."""
    hang_ms: _Milliseconds = 0
    """Before the first."""
    die_after: _Count | None = None
    """The engine breaks off after so many tokens."""
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    """It refuses the request instead, as if with this HTTP status."""
    body: str | None = None
    """What it says when it refuses."""
    times: Annotated[int, Meta(ge=1)] | None = None
    """How often the line may be played; None: always."""


class Trace(msgspec.Struct, frozen=True):
    """A trace file."""

    lines: tuple[Line, ...]
    form: _As = "ids"

    def matching(self, scene: Scene, model: str | None) -> list[int]:
        """The indices of the lines that fit."""
        return [i for i, line in enumerate(self.lines) if _fits(line.when, scene, model)]


def read_trace(path: str | Path) -> Trace:
    """Read and check a trace file. Raises EngineError naming the file, and a line that is bad."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_TRACE_BYTES:
            raise EngineError(f"{path}: a trace may have {MAX_TRACE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read the trace {path}: {error.strerror or error}") from error
    lines: list[Line] = []
    form: _As | None = None
    for number, text in enumerate(data.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=Line)
            if line.when.regex is not None:
                re.compile(line.when.regex)
        except (msgspec.MsgspecError, re.error, UnicodeError) as error:
            raise EngineError(f"{path}:{number}: {error}") from error
        if line.form is not None:
            if form not in (None, line.form):
                raise EngineError(
                    f"{path}:{number}: `as` is {line.form!r} here and {form!r} above; an engine"
                    " speaks in one way, so a trace has one"
                )
            form = line.form
        lines.append(line)
    return Trace(tuple(lines), form or "ids")


def marked_ids(text: str) -> list[int]:
    """The ids of marked text: control tokens by name, the rest as ordinary text."""
    encode = default_tokenizer().encode
    out: list[int] = []
    done = 0
    for found in CONTROL.finditer(text):
        token = CONTROL_IDS.get(found.group())
        if token is not None:
            out += [*encode(text[done : found.start()]), token]
            done = found.end()
    return out + encode(text[done:])


def _fits(when: When, scene: Scene, model: str | None) -> bool:
    if when.user is not None and when.user not in scene.user:
        return False
    if when.regex is not None and re.search(when.regex, scene.user) is None:
        return False
    if when.after_tool is not None:
        last = scene.after_tool
        if last is None or when.after_tool not in (last, last.rpartition(".")[2]):
            return False
    if when.step is not None and when.step != len(scene.results):
        return False
    if when.effort is not None and when.effort != scene.effort:
        return False
    return when.model is None or when.model == model
