"""The guard against runaway repetition (recovery row 80)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.turn.turning import CALL, READINGS, Part, asked, scripted, turn, weather

from antiphon.engines.protocol import Reading
from antiphon.turn.repetition import RepetitionGuard, period


@given(st.text("ab", max_size=60) | st.text("ab", min_size=1, max_size=6).map(lambda t: t * 9))
def test_the_period_is_the_shortest_there_is(text: str) -> None:
    size = len(text)
    periods = [p for p in range(1, size // 4 + 1) if text[p:] == text[:-p]]
    assert period(text) == (periods[0] if periods else None)


def test_text_that_varies_is_left_alone() -> None:
    guard = RepetitionGuard(64)
    assert not any(guard.add(f"step {i}, ") for i in range(5000))


def test_repetition_is_found_soon_after_it_began() -> None:
    guard = RepetitionGuard(64)
    for i in range(100):
        assert not guard.add(f"step {i}, ")
    found = next(i for i in range(1000) if guard.add(" loop" if i % 2 else " again"))
    assert found <= 2 * 64


@pytest.mark.parametrize("reading", READINGS)
def test_a_looping_thought_ends_the_turn(reading: Reading) -> None:
    script = "<|channel|>analysis<|message|>Let me see. " + "Wait, no. " * 2000
    result = turn(scripted(script, reading=reading), asked(), repetition_tokens=64)
    assert [(part.kind, part.complete) for part in result.parts] == [("reasoning", False)]
    assert result.codes == ["repetition"]
    assert result.end.finish_reason == "length"
    assert len(result.parts[0].text) < 2000


def test_endless_empty_messages_end_the_turn() -> None:
    script = "<|channel|>analysis<|message|><|end|><|start|>assistant" * 500
    result = turn(script, asked(), repetition_tokens=64)
    assert "repetition" in result.codes
    assert result.end.usage.completion_tokens < 600


def test_a_looping_call_is_cut_and_not_complete() -> None:
    script = CALL + '{"city": "' + "na " * 3000
    result = turn(script, weather(), repetition_tokens=64)
    assert result.parts[0].kind == "call"
    assert not result.parts[0].complete
    assert result.end.finish_reason == "length"


def test_the_guard_can_be_turned_off() -> None:
    script = "<|channel|>final<|message|>" + "la " * 2000 + "<|return|>"
    result = turn(script, asked(), repetition_guard=False)
    assert result.parts == [Part("answer", "la " * 2000)]
