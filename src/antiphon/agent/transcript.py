"""What was said in a session: messages, and which call each of them is or answers.

Whatever broke off, `settled` makes it whole: every call has its result, in the order of the calls,
so that the model can be asked again at any point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from antiphon.agent.events import Kind
from antiphon.api.turn import PastCall
from antiphon.model.message import Message, Role

__all__ = ["INTERRUPTED", "Entry", "past_calls", "result_of", "settled", "spoken"]

INTERRUPTED: Final = "The call was interrupted before it had a result."
"""What the model reads in place of a result that never came."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. ``call_id`` is that of a call, and of its result."""

    message: Message
    call_id: str | None = None

    @property
    def is_call(self) -> bool:
        return self.message.role is Role.ASSISTANT and self.message.recipient is not None

    @property
    def is_result(self) -> bool:
        return self.message.role is Role.TOOL


def result_of(call: Entry, text: str) -> Entry:
    """The result of a call, on the channel that the call came on."""
    message = call.message
    name = message.recipient or "tool"
    return Entry(Message.tool(name, text, channel=message.channel or "commentary"), call.call_id)


def settled(entries: Iterable[Entry]) -> list[Entry]:
    """The same, each call with one result, in the order of the calls; results of no call are left
    out. What is settled already comes back as it is.
    """
    known = list(entries)
    results = {entry.call_id: entry for entry in known if entry.is_result}
    out: list[Entry] = []
    waiting: list[Entry] = []

    def answer_all() -> None:
        out.extend(results.get(c.call_id) or result_of(c, INTERRUPTED) for c in waiting)
        waiting.clear()

    for entry in known:
        if entry.is_result or entry.message.role is not Role.ASSISTANT:
            answer_all()
        if not entry.is_result:
            out.append(entry)
        if entry.is_call:
            waiting.append(entry)
    answer_all()
    return out


def past_calls(entries: Sequence[Entry], before: int) -> tuple[PastCall, ...]:
    """The calls, for a turn's request; ``before`` messages stand in front of the entries."""
    return tuple(
        PastCall(entry.call_id, before + at) for at, entry in enumerate(entries) if entry.is_call
    )


def spoken(kind: Kind, text: str) -> Message:
    """Words of the model as a message."""
    if kind == "thinking":
        return Message.analysis(text)
    return Message.preamble(text) if kind == "preamble" else Message.final(text)
