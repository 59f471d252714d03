"""The lines of a session's file: what each holds, and how one is written and read.

    begin, then in any order: setup, said, turn, decision, made, end

A line is JSON with a ``type``. A version that knows more types adds lines that this one passes
over; a line that is damaged costs only itself.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.agent.journal import Setup
from antiphon.agent.transcript import Entry
from antiphon.api.turn import TurnUsage
from antiphon.errors import MessageError
from antiphon.model.json import encode_message, message_from_builtins
from antiphon.model.validate import check_message
from antiphon.tools.protocol import Shown

__all__ = [
    "VERSION",
    "Begin",
    "Decision",
    "End",
    "KeptFile",
    "Line",
    "MadeRecord",
    "Record",
    "Said",
    "SetupRecord",
    "Turn",
    "decode_line",
    "encode_line",
    "entry_of",
    "line_of",
]

VERSION: Final = 1


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message in the file, in Harmony's own JSON form."""

    message: Any
    call_id: str | None = None


class Begin(msgspec.Struct, frozen=True, tag="begin", omit_defaults=True, kw_only=True):
    """The first line. ``at`` is UTC, ISO; ``folder`` is where the agent worked."""

    id: str
    at: str
    folder: str = ""
    version: int = VERSION


class SetupRecord(msgspec.Struct, frozen=True, tag="setup"):
    """What the model is asked with from here on."""

    setup: Setup


class Said(msgspec.Struct, frozen=True, tag="said", omit_defaults=True, kw_only=True):
    """The user's words, or a tool's result."""

    at: str = ""
    line: Line


class Turn(msgspec.Struct, frozen=True, tag="turn", omit_defaults=True, kw_only=True):
    """A turn of the model, whole. ``finish`` is None if it was broken off."""

    at: str = ""
    lines: tuple[Line, ...] = ()
    finish: str | None = None
    usage: TurnUsage = TurnUsage(completions=0)


class Decision(msgspec.Struct, frozen=True, tag="decision", omit_defaults=True, kw_only=True):
    """Whether a call was allowed, and by whom."""

    call_id: str
    tool: str
    allowed: bool
    by: str
    reason: str = ""


class KeptFile(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A file that a call made. ``kept`` is its name in the session's folder of files; None: there
    was no room for it.
    """

    name: str
    media_type: str
    bytes: int
    kept: str | None = None


class MadeRecord(msgspec.Struct, frozen=True, tag="made", omit_defaults=True, kw_only=True):
    """What a call came to beside its text."""

    call_id: str | None = None
    files: tuple[KeptFile, ...] = ()
    shown: Shown | None = None


class End(msgspec.Struct, frozen=True, tag="end", omit_defaults=True, kw_only=True):
    """A question was worked on to this end."""

    at: str = ""
    reason: str
    detail: str = ""


Record = Begin | SetupRecord | Said | Turn | Decision | MadeRecord | End

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODER: Final = msgspec.json.Decoder(Record)


def encode_line(record: Record) -> bytes:
    """One line, its line feed included."""
    return _ENCODE(record) + b"\n"


def decode_line(line: bytes) -> Record | None:
    """The record; None for a line that is damaged or of a type that is not known here."""
    try:
        record: Record = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record


def line_of(entry: Entry) -> Line:
    """A message as it stands in a line."""
    return Line(msgspec.Raw(encode_message(entry.message)), entry.call_id)


def entry_of(line: Line) -> Entry | None:
    """The message again; None if it is none."""
    try:
        message = message_from_builtins(line.message)
        check_message(message)
    except MessageError:
        return None
    return Entry(message, line.call_id)
