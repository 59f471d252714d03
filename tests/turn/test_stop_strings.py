"""Stop strings across chunks, and where they are looked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.turn.turning import CALL, READINGS, THOUGHT, Part, asked, scripted, turn, weather

from antiphon.engines.protocol import Reading
from antiphon.turn.stops import StopStrings

ANSWER = "<|channel|>final<|message|>"


def feed(stops: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    scanner = StopStrings(stops)
    shown = "".join([scanner.feed(piece) for piece in pieces])
    return shown + scanner.rest(), scanner.found


@given(
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.text("abc", max_size=4), max_size=12),
)
def test_the_first_stop_string_to_end_cuts_the_text(stops: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    ends = [(text.find(s) + len(s), -len(s), s) for s in stops if s in text]
    expected: tuple[str, str | None] = (text, None)
    if ends:
        end, _, stop = min(ends)
        expected = (text[: end - len(stop)], stop)
    assert feed(tuple(stops), pieces) == expected


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=9))
def test_nothing_is_held_longer_than_it_must_be(pieces: list[str]) -> None:
    stop = "aab"
    scanner = StopStrings((stop,))
    seen = shown = ""
    for piece in pieces:
        seen += piece
        shown += scanner.feed(piece)
        if scanner.found:
            break
        held = seen[len(shown) :]
        assert stop.startswith(held)
        assert len(held) < len(stop)


def test_characters_that_mean_something_to_patterns_are_only_characters() -> None:
    assert feed(("]^-\\",), ["a]^", "-\\b"]) == ("a", "]^-\\")


@pytest.mark.parametrize("reading", READINGS)
def test_a_stop_string_ends_the_answer_and_the_turn(reading: Reading) -> None:
    engine = scripted(f"{THOUGHT}{ANSWER}one two EN D three<|return|>", reading=reading)
    result = turn(engine, asked(stop=("EN D",)))
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", "one two ")]
    assert (result.end.finish_reason, result.end.stop_string) == ("stop", "EN D")
    assert result.end.usage.completion_tokens > 0


def test_thoughts_calls_and_preambles_are_not_searched() -> None:
    script = (
        "<|channel|>analysis<|message|>stop<|end|><|start|>assistant"
        "<|channel|>commentary<|message|>stop<|end|><|start|>assistant"
        f'{CALL}{{"city": "stop"}}<|call|>'
    )
    result = turn(script, weather(stop=("stop",)))
    assert [part.kind for part in result.parts] == ["reasoning", "preamble", "call"]
    assert result.end.stop_string is None


def test_what_only_began_a_stop_string_is_shown_at_the_end() -> None:
    result = turn(f"{ANSWER}a EN<|return|>", asked(stop=("END",)))
    assert result.parts == [Part("answer", "a EN")]
