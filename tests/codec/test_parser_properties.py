"""What holds for every input of the parser. fuzz/invariants.py lists and checks it; here Hypothesis
looks for inputs that break it, and long inputs show that memory stays bounded."""

from __future__ import annotations

from typing import Any

import pytest
from fuzz.inputs import BROKEN_IDS, FRAGMENTS, ROLES, STRIPPED_FRAGMENTS, TOOLS, case_from, ids_of
from fuzz.invariants import Case, check, events_of, held
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codec.events import TextDelta
from antiphon.codec.parse import parse
from antiphon.codec.stream import Input, Parser
from antiphon.vocab import control
from antiphon.vocab.control import LAST_CONTROL_ID
from antiphon.vocab.table import token_bytes

roles = st.sampled_from(sorted(set(ROLES), key=str))
tools = st.sampled_from(TOOLS)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple)
marked_text = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5))).map("".join)
stripped_text = st.lists(st.one_of(st.sampled_from(STRIPPED_FRAGMENTS), st.text(max_size=5))).map(
    "".join
)
any_text = st.text(st.characters(exclude_categories=()))
any_ids = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS).map(ids_of),
        st.sampled_from(BROKEN_IDS).map(lambda i: [i]),
        st.integers(0, LAST_CONTROL_ID).map(lambda i: [i]),
        st.integers().map(lambda i: [i]),
    )
).map(lambda parts: [i for part in parts for i in part])


@settings(deadline=None)
@given(any_ids, roles, tools, cuts)
def test_ids_in_any_chunks_give_the_same_and_lose_nothing(source, role, tools, cuts) -> None:
    check(Case(source, "ids", role, tools, cuts))
    check(Case(source, "auto", role, tools, cuts))


@settings(deadline=None)
@given(st.one_of(marked_text, any_text), roles, tools, cuts)
def test_marked_text_in_any_chunks_gives_the_same_and_loses_nothing(
    source, role, tools, cuts
) -> None:
    check(Case(source, "marked", role, tools, cuts))


@settings(deadline=None)
@given(st.one_of(stripped_text, any_text), roles, tools, cuts)
def test_stripped_text_in_any_chunks_gives_the_same_and_loses_nothing(
    source, role, tools, cuts
) -> None:
    check(Case(source, "stripped", role, tools, cuts))


@settings(deadline=None)
@given(st.binary(min_size=4, max_size=60))
def test_what_the_fuzzer_would_try_holds_as_well(data) -> None:
    case = case_from(data)
    assert case is not None
    check(case)


@settings(deadline=None)
@given(marked_text, roles, tools)
def test_ids_and_the_marked_text_they_spell_give_the_same_messages(source, role, tools) -> None:
    ids = ids_of(source)
    by_ids = parse(ids, role=role, tools=tools)
    by_text = parse(source, role=role, tools=tools, input="marked")
    assert by_ids.messages == by_text.messages
    assert by_ids.stops == by_text.stops
    assert [d.code for d in by_ids.diagnostics] == [d.code for d in by_text.diagnostics]


@settings(deadline=None)
@given(st.lists(st.integers(0, control.ORDINARY_COUNT - 1), min_size=1), cuts)
def test_deltas_of_any_tokens_join_to_their_bytes_decoded(tokens, cuts) -> None:
    ids = [control.CHANNEL, *ids_of("final"), control.MESSAGE, *tokens, control.RETURN]
    events = events_of(Case(ids, "ids", "assistant", None, cuts), ids)
    text = "".join([e.text for e in events if isinstance(e, TextDelta)])
    spelled = b"".join([token_bytes(i) or b"" for i in tokens])
    assert text == spelled.decode("utf-8", "replace")


@settings(deadline=None)
@given(st.lists(st.one_of(any_ids, st.text())), roles)
def test_hybrid_input_takes_anything(chunks, role) -> None:
    parser = Parser(role=role, input="hybrid")
    for chunk in chunks:
        parser.feed(chunk)
    parser.eof()


MILLION = 1_000_000
LONG: dict[str, tuple[Input, Any, Any]] = {
    "a header of ids": ("ids", [control.START, *ids_of("assistant")], [256]),
    "a header of words": ("marked", "<|start|>assistant ", "word "),
    "a header of control tokens": ("ids", [control.START], [control.CHANNEL]),
    "an unterminated channel": ("marked", "<|channel|>", "x"),
    "one content": ("marked", "<|channel|>final<|message|>", "word "),
    "one content of ids": ("ids", [control.CHANNEL, *ids_of("final"), control.MESSAGE], [24912]),
    "words outside any message": ("marked", "", "to= "),
    "half characters": ("ids", [control.MESSAGE], [187]),
    "half control tokens": ("marked", "<|message|>", "<|start"),
    "unknown ids": ("ids", [], [-1]),
    "a stripped recipient": ("stripped", "analysis to=", "x"),
    "a stripped name": ("stripped", "analysisHm.functions.", "x"),
    "stripped white space": ("stripped", "", "\n"),
    "stripped boundaries": ("stripped", "analysis", "assistant"),
    "stripped types": ("stripped", "final json", " "),
}


@pytest.mark.parametrize("name", LONG)
def test_memory_stays_bounded_however_long_the_input_goes_on(name) -> None:
    kind, start, more = LONG[name]
    parser = Parser(role="assistant", input=kind, tools=("functions.get_weather",))
    parser.feed(start)
    piece = more * (1000 // len(more))
    most, events = 0, 0
    for turn in range(MILLION // len(piece)):
        # Small steps at times, so that what is held between them shows.
        for chunk in (more, more, piece) if turn % 50 == 0 else (piece,):
            events += len(parser.feed(chunk))
            most = max(most, held(parser))
    assert most < 8192
    assert events + len(parser.eof()) > 0


def test_a_parser_may_go_on_after_the_end_of_its_input() -> None:
    parser = Parser(role="assistant")
    for _ in range(3):
        parser.feed("<|channel|>final<|message|>Hi")
        events = parser.eof()
        assert events
    assert parser.eof() == []
