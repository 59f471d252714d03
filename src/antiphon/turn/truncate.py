"""A conversation that is too long, without its oldest turns (``truncation: auto``).

A turn is a user's message and everything up to the next one, so that calls keep their results. What
stands before the first turn stays, and so does the last turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from antiphon.model.message import Conversation, Role

__all__ = ["MIN_ROOM", "room_for_answer", "truncated"]

MIN_ROOM: Final = 4096
"""Tokens kept free for the answer where the client does not say how many it wants."""


def room_for_answer(context: int, asked: int | None) -> int:
    """How many tokens of the context should be left."""
    return min(asked, context // 2) if asked is not None else min(MIN_ROOM, context // 4)


def truncated(
    conversation: Conversation, limit: int, length: Callable[[Conversation], int]
) -> tuple[Conversation, int]:
    """The conversation with as few turns dropped as make it ``limit`` tokens long at most, and how
    many they are; with all but the last, if even that is too long. ``length`` renders it, which is
    done once for each halving.
    """
    if length(conversation) <= limit:
        return conversation, 0
    messages = conversation.messages
    starts = [at for at, message in enumerate(messages) if message.role is Role.USER]
    if len(starts) < 2:
        return conversation, 0

    def without(turns: int) -> Conversation:
        return Conversation((*messages[: starts[0]], *messages[starts[turns] :]))

    low, high = 1, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if length(without(middle)) <= limit:
            high = middle
        else:
            low = middle + 1
    return without(low), low
