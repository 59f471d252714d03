"""Every step of an agent's work as a value: what a terminal shows, and ``antiphon run --json``.

    run  := RunStarted turn* RunEnded
    turn := TurnStarted part* TurnEnded call*
    part := (Thinking | Preamble | Answer | CallStarted CallInput*)+ PartEnded

Parts never interleave; their pieces carry the number of the part, which grows over the whole run.
What happens to the calls of one turn does interleave: it carries the call's id. `Mended` may come
anywhere. Events are complete for whoever shows them: nothing has to be asked of the agent besides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from antiphon.api.citations import UrlCitation
from antiphon.api.turn import FinishReason, TurnUsage
from antiphon.tools.protocol import ToolFile

__all__ = [
    "AgentEvent",
    "Answer",
    "ApprovalAsked",
    "ApprovalGiven",
    "By",
    "CallInput",
    "CallMade",
    "CallStarted",
    "EndReason",
    "Kind",
    "Mended",
    "PartBecame",
    "PartEnded",
    "Preamble",
    "RunEnded",
    "RunStarted",
    "Thinking",
    "ToolEnded",
    "ToolPiece",
    "ToolStarted",
    "TurnEnded",
    "TurnStarted",
    "encode_event",
]

Kind = Literal["thinking", "preamble", "answer", "call"]
By = Literal["policy", "person", "nobody"]
"""Who decided on a call: the settings or the tool itself, a person, or nobody, as nobody could be
asked."""

EndReason = Literal[
    "answer",
    "turns",
    "tokens",
    "time",
    "length",
    "repeated",
    "silent",
    "cancelled",
    "error",
]
"""Why a run ended. ``turns``, ``tokens``, ``time``: a limit of the settings. ``length``: what the
model may write in one turn. ``repeated``: the same call failed again and again. ``silent``: neither
an answer nor a call. ``error``: the engine, or what the session is kept in."""

_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")


def _tag(name: str) -> str:
    return _WORD.sub("-", name).lower()


class _Event(msgspec.Struct, frozen=True, tag_field="type", tag=_tag):
    pass


class RunStarted(_Event, frozen=True, kw_only=True):
    """A question is taken up; ``text`` is None where the work on the last one goes on."""

    text: str | None
    model: str
    engine: str
    effort: str
    tools: tuple[str, ...]
    session: str | None = None


class TurnStarted(_Event, frozen=True):
    """The model is asked, for the ``turn``-th time in this run."""

    turn: int


class Thinking(_Event, frozen=True, gc=False):
    """The next piece of a thought."""

    part: int
    text: str


class Preamble(_Event, frozen=True, gc=False):
    """The next piece of a word to the user beside calls."""

    part: int
    text: str


class Answer(_Event, frozen=True, gc=False):
    """The next piece of the answer."""

    part: int
    text: str


class CallStarted(_Event, frozen=True):
    """The model begins to write a call."""

    part: int
    call_id: str
    tool: str


class CallInput(_Event, frozen=True, gc=False):
    """The next piece of a call's arguments, or of its text for a tool that takes text."""

    part: int
    call_id: str
    text: str


class PartEnded(_Event, frozen=True):
    """A part is over; not ``complete`` if it was cut off."""

    part: int
    kind: Kind
    complete: bool = True


class PartBecame(_Event, frozen=True):
    """What was told as an answer was none, because calls followed: it is a preamble."""

    part: int
    kind: Kind


class Mended(_Event, frozen=True):
    """What the model wrote had to be mended: docs/recovery.md has the codes."""

    code: str
    rule: str
    detail: str


class TurnEnded(_Event, frozen=True, kw_only=True):
    """The model has spoken. ``usage`` is that of the turn, ``total`` that of the run so far."""

    turn: int
    finish_reason: FinishReason
    usage: TurnUsage
    total: TurnUsage


class CallMade(_Event, frozen=True, kw_only=True):
    """A call, whole. ``known`` is False for a tool that was not offered."""

    call_id: str
    tool: str
    arguments: str
    """JSON, or text for a tool that takes text; as it is if the model wrote neither."""
    known: bool = True


class ApprovalAsked(_Event, frozen=True, kw_only=True):
    """A call waits for a person. ``summary`` says in one line what it would do."""

    call_id: str
    tool: str
    summary: str
    arguments: str


class ApprovalGiven(_Event, frozen=True, kw_only=True):
    """It is decided whether a call is made, by a policy or a person."""

    call_id: str
    allowed: bool
    by: By
    reason: str = ""


class ToolStarted(_Event, frozen=True):
    """A call is being made."""

    call_id: str
    tool: str
    summary: str


class ToolPiece(_Event, frozen=True, gc=False):
    """The next piece of what a tool says while it works. The model reads the result."""

    call_id: str
    text: str


class ToolEnded(_Event, frozen=True, kw_only=True):
    """What the call came to; ``text`` is what the model reads."""

    call_id: str
    tool: str
    text: str
    failed: bool
    refused: bool = False
    seconds: float = 0.0
    files: tuple[ToolFile, ...] = ()
    details: Mapping[str, Any] = {}


class RunEnded(_Event, frozen=True, kw_only=True):
    """The run is over. The session goes on from here, whatever the reason."""

    reason: EndReason
    answer: str = ""
    """The answer; as far as it came, where the reason is another."""
    citations: tuple[UrlCitation, ...] = ()
    """What the answer's ``【3†L4】`` cite, where they stand in it; those that cite something."""
    detail: str = ""
    """For people: which limit, which call, which error."""
    turns: int = 0
    calls: int = 0
    refused: int = 0
    """Calls that were not allowed."""
    usage: TurnUsage = TurnUsage(completions=0)
    seconds: float = 0.0


AgentEvent = (
    RunStarted
    | TurnStarted
    | Thinking
    | Preamble
    | Answer
    | CallStarted
    | CallInput
    | PartEnded
    | PartBecame
    | Mended
    | TurnEnded
    | CallMade
    | ApprovalAsked
    | ApprovalGiven
    | ToolStarted
    | ToolPiece
    | ToolEnded
    | RunEnded
)

_ENCODER: Final = msgspec.json.Encoder(enc_hook=repr)


def encode_event(event: AgentEvent) -> bytes:
    """One line of JSON, without its line feed. What a tool's ``details`` hold beyond JSON becomes
    text; files are base64.
    """
    return _ENCODER.encode(event)
