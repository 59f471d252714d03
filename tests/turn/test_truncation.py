"""Turns are dropped from the beginning, whole, as few as make the conversation fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.model.message import Conversation, Message, Role
from antiphon.turn.truncate import room_for_answer, truncated

SYSTEM = Message.developer("Be brief.")


def length(conversation: Conversation) -> int:
    return sum(len(message.text) for message in conversation.messages)


def turns(*sizes: int) -> Conversation:
    messages = [SYSTEM]
    for size in sizes:
        messages += [
            Message.user("u" * size),
            Message.call("functions.f", "{}"),
            Message.tool("functions.f", "r"),
            Message.final("a"),
        ]
    return Conversation(tuple(messages))


def test_what_fits_is_left_alone() -> None:
    conversation = turns(10, 10)
    assert truncated(conversation, 1000, length) == (conversation, 0)


def test_the_oldest_turns_go_and_the_instructions_stay() -> None:
    shorter, dropped = truncated(turns(50, 50, 10, 10), 40, length)
    assert dropped == 2
    assert shorter == turns(10, 10)


def test_the_last_turn_stays_however_long_it_is() -> None:
    shorter, dropped = truncated(turns(10, 10, 500), 40, length)
    assert (shorter, dropped) == (turns(500), 2)
    assert truncated(turns(500), 40, length) == (turns(500), 0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 400))
def test_never_more_goes_than_must(sizes: list[int], limit: int) -> None:
    shorter, dropped = truncated(turns(*sizes), limit, length)
    assert shorter == turns(*sizes[dropped:])
    assert length(shorter) <= limit or dropped == len(sizes) - 1
    if dropped:
        assert length(turns(*sizes[dropped - 1 :])) > limit
    calls = [m for m in shorter.messages if m.recipient == "functions.f"]
    results = [m for m in shorter.messages if m.role is Role.TOOL]
    assert len(calls) == len(results)


def test_room_is_left_for_the_answer() -> None:
    assert room_for_answer(131_072, None) == 4096
    assert room_for_answer(8192, None) == 2048
    assert room_for_answer(8192, 100) == 100
    assert room_for_answer(8192, 100_000) == 4096
