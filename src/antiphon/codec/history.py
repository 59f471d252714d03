"""Which reasoning survives when a conversation is rendered again (format rule 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from antiphon.model.message import Role

__all__ = ["History", "guide_history", "reference_history", "surviving"]

History = Literal["reference", "guide", "keep"]
"""A policy: ``reference`` and ``guide`` as the functions below, ``keep`` drops nothing."""


class _Author(Protocol):
    @property
    def role(self) -> str: ...
    @property
    def name(self) -> str | None: ...


class _HasHeader(Protocol):
    """What a policy looks at; our own messages and the drop-in's both fit."""

    @property
    def author(self) -> _Author: ...
    @property
    def channel(self) -> str | None: ...
    @property
    def recipient(self) -> str | None: ...


_M = TypeVar("_M", bound=_HasHeader)


def surviving(messages: Sequence[_M], policy: History, *, training: bool = False) -> Sequence[_M]:
    """The messages that ``policy`` keeps, in order.

    With ``training``, ``guide`` keeps the reasoning of the turn that ends the conversation, because
    that turn is what the sample teaches.
    """
    if policy == "keep":
        return messages
    if policy == "reference":
        return reference_history(messages)
    if policy == "guide":
        return guide_history(messages, training=training)
    raise ValueError(f"unknown history policy {policy!r}; use 'reference', 'guide' or 'keep'")


def reference_history(messages: Sequence[_M]) -> Sequence[_M]:
    """The reference library's ``auto_drop_analysis``, its defect included.

    If the last assistant message is a ``final``, everything on the analysis channel before the
    *first* ``final`` of any role goes. From the third turn on, that leaves stale reasoning in.
    """
    for message in reversed(messages):
        if message.author.role == Role.ASSISTANT:
            if message.channel != "final":
                return messages
            break
    else:
        return messages
    first = 0
    stale = False
    for first, message in enumerate(messages):  # noqa: B007 - used after the loop
        if message.channel == "final":
            break
        if message.channel == "analysis":
            stale = True
    if not stale:
        return messages
    return [m for m in messages[:first] if m.channel != "analysis"] + list(messages[first:])


def guide_history(messages: Sequence[_M], *, training: bool = False) -> Sequence[_M]:
    """What OpenAI's guide on raw chains of thought asks for.

    The analysis of every turn closed by an assistant's ``final`` goes; what follows the last
    ``final`` stays, so that a model in an open tool loop still sees why it made its calls. Calls on
    the analysis channel (python, browser) go with the reasoning they belong to. A tool result
    shares the fate of its call, whatever channel it came back on, so that neither is left alone.
    Commentary, calls and preambles alike, stays.
    """
    end = len(messages)
    if training and end and _closes(messages[-1]):
        end -= 1
    while end and not _closes(messages[end - 1]):
        end -= 1
    kept: list[_M] = []
    calls: dict[str, bool] = {}
    for message in messages[:end]:
        keep = message.channel != "analysis"
        author = message.author
        if message.recipient is not None and author.role == Role.ASSISTANT:
            calls[message.recipient] = keep
        elif author.role == Role.TOOL and author.name is not None:
            keep = calls.get(author.name, keep)
        if keep:
            kept.append(message)
    if len(kept) == end:
        return messages
    kept.extend(messages[end:])
    return kept


def _closes(message: _HasHeader) -> bool:
    return message.channel == "final" and message.author.role == Role.ASSISTANT
