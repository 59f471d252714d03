"""Custom tools whose input must match a grammar: held, checked, asked for again, enforced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.codec.reading import encode
from tests.turn.turning import (
    READINGS,
    THOUGHT,
    LimitedEngine,
    Part,
    asked,
    refused,
    scripted,
    turn,
)

pytest.importorskip("llguidance")

from antiphon.api.toolset import CUSTOM_PARAMETERS
from antiphon.api.turn import InputGrammar, TurnRequest
from antiphon.codec.grammar.plan import NONE, REQUIRED
from antiphon.codec.parse import parse
from antiphon.engines.protocol import GrammarKind, Reading
from antiphon.model.message import Message
from antiphon.model.tools import Tool
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore
from antiphon.turn.engine import TurnRunner

FIELD = "tools[0].format.definition"
ISO = InputGrammar("regex", r"\d{4}-\d{2}-\d{2}", FIELD)
SUM = InputGrammar("lark", 'start: N ("+" N)*\nN: /[0-9]+/', FIELD)
CALL = "<|channel|>commentary to=functions.date <|constrain|>json<|message|>"
PATCH_GRAMMAR = InputGrammar(
    "lark",
    (Path(__file__).parents[1] / "golden/grammar/apply_patch.lark").read_text(),
    FIELD,
)
PATCH = "*** Begin Patch\n*** Add File: poem.txt\n+Roses\n*** End Patch\n"


def dated(grammar: InputGrammar = ISO, **given: Any) -> TurnRequest:
    """A request that offers a custom tool with a grammar."""
    recipient = "functions.date"
    return asked(
        Message.user("When?"),
        tools=(Tool("date", "A date.", CUSTOM_PARAMETERS),),
        custom_tools=frozenset({recipient}),
        input_grammars={recipient: grammar},
        **given,
    )


def wrapped(text: str) -> str:
    return json.dumps({"input": text})


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("grammar", [ISO, SUM], ids=["regex", "lark"])
def test_an_input_off_its_grammar_never_leaks_and_is_asked_for_again(
    reading: Reading, grammar: InputGrammar
) -> None:
    good = "2026-11-21" if grammar is ISO else "1+22"
    engine = scripted(
        f"{THOUGHT}{CALL}{wrapped('next Friday')}<|call|>",
        f"{wrapped(good)}<|call|>",
        reading=reading,
    )
    result = turn(engine, dated(grammar))
    assert result.parts == [Part("reasoning", "Hm."), Part("call", good, "date")]
    assert result.codes == ["invalid-input"]
    assert result.end.usage.completions == 2
    assert list(engine.requests[1].prompt)[-len(encode(CALL)) :] == encode(CALL)
    assert [message.channel for message in result.end.messages] == ["analysis", "commentary"]


def test_the_model_is_told_what_it_wrote_and_why_it_does_not_fit() -> None:
    engine = scripted(f"{CALL}{wrapped('friday')}<|call|>", f"{wrapped('2026-11-21')}<|call|>")
    result = turn(engine, dated())
    prompt = "".join([m.text for m in parse(list(engine.requests[1].prompt)).messages])
    assert wrapped("friday").replace(" ", "") in prompt.replace(" ", "")
    assert "did not match its grammar: line 1, character 1: 'friday' does not fit" in prompt
    assert result.parts == [Part("call", "2026-11-21", "date")]


def test_an_input_that_matches_passes_with_one_completion() -> None:
    for text in (wrapped("2026-11-21"), "2026-11-21"):
        result = turn(f"{CALL}{text}<|call|>", dated())
        assert result.parts == [Part("call", "2026-11-21", "date")]
        assert result.end.usage.completions == 1


def test_an_input_that_never_matches_is_a_clear_error() -> None:
    bad = f"{wrapped('soon')}<|call|>"
    error = refused(scripted(CALL + bad, bad), dated())
    assert (error.status, error.code) == (502, "structured_output_failed")
    assert "the input of date does not match its grammar" in str(error)
    assert "'soon' does not fit" in str(error)


def test_an_input_cut_by_the_limit_is_delivered_as_far_as_it_came() -> None:
    result = turn(f"{CALL}{wrapped('never to be a date')}<|call|>", dated(max_tokens=14))
    assert result.end.finish_reason == "length"
    assert [(part.kind, part.complete) for part in result.parts] == [("call", False)]
    assert result.parts[0].text


def test_one_bad_call_of_two_has_both_asked_for_again() -> None:
    second = f"<|end|><|start|>assistant{CALL}{wrapped('later')}<|call|>"
    engine = scripted(
        f"{CALL}{wrapped('2026-01-01')}{second}",
        f"{wrapped('2026-01-01')}<|end|><|start|>assistant{CALL}{wrapped('2026-01-02')}<|call|>",
    )
    result = turn(engine, dated())
    assert [part.text for part in result.parts] == ["2026-01-01", "2026-01-02"]
    assert result.codes == ["invalid-input"]


@pytest.mark.parametrize("choice", [None, NONE])
@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        (InputGrammar("regex", "[a-z", FIELD), "unclosed character class"),
        (InputGrammar("lark", "start: foo", FIELD), "unknown name"),
        (InputGrammar("regex", "a" * 70_000, FIELD), "the limit is 65536"),
    ],
)
def test_a_bad_grammar_is_refused_before_the_engine_is_asked(
    grammar: InputGrammar, words: str, choice: Any
) -> None:
    engine = scripted(f"{CALL}{wrapped('x')}<|call|>")
    given = {} if choice is None else {"choice": choice}
    error = refused(engine, dated(grammar, **given))
    assert (error.status, error.param, error.code) == (400, FIELD, "invalid_grammar")
    assert str(error).startswith(FIELD)
    assert words in str(error)
    assert engine.requests == []


def test_a_grammar_too_costly_to_check_is_a_clear_error() -> None:
    grammar = InputGrammar("lark", 'start: start start | "a"', FIELD)
    error = refused(f"{CALL}{wrapped('a' * 3000)}<|call|>", dated(grammar))
    assert (error.status, error.code) == (502, "structured_output_failed")
    assert error.param == FIELD
    assert "could not be checked" in str(error)


def test_codex_freeform_patch_passes_wrapped_and_bare() -> None:
    for text in (wrapped(PATCH), PATCH):
        result = turn(f"{CALL}{text}<|call|>", dated(PATCH_GRAMMAR))
        assert result.parts == [Part("call", PATCH, "date")]


# Enforced.


def constrained(*scripts: str, kind: GrammarKind = "gbnf") -> LimitedEngine:
    return scripted(*scripts, changes={"grammar": kind})


@pytest.mark.parametrize(
    ("kind", "sign"), [("gbnf", "[0-9]{4}"), ("structural_tag", r"^\\d{4}-\\d{2}-\\d{2}$")]
)
def test_a_regular_expression_is_enforced_where_the_engine_can(
    kind: GrammarKind, sign: str
) -> None:
    engine = constrained(f"{CALL}{wrapped('2026-11-21')}<|call|>", kind=kind)
    result = turn(engine, dated())
    assert sign in (engine.requests[0].grammar or "")
    assert result.parts == [Part("call", "2026-11-21", "date")]


def test_what_an_engine_made_of_a_pattern_is_seen_before_it_is_shown() -> None:
    bad, good = f"{CALL}{wrapped('soon')}<|call|>", f"{CALL}{wrapped('2026-11-21')}<|call|>"
    result = turn(constrained(bad, good, kind="structural_tag"), dated())
    assert result.parts == [Part("call", "2026-11-21", "date")]
    assert result.codes == ["invalid-input"]


def test_a_grammar_that_did_not_take_hold_is_found_out() -> None:
    bad, good = f"{CALL}{wrapped('soon')}<|call|>", f"{wrapped('2026-11-21')}<|call|>"
    engine = constrained(bad, bad, good)
    runner = TurnRunner(engine, settings=Settings(), store=MemoryStore(), new_id=lambda: "id")
    assert refused(engine, dated(), runner=runner).code == "structured_output_failed"
    result = turn(engine, dated(), runner=runner)
    assert result.parts == [Part("call", "2026-11-21", "date")]
    assert result.codes == ["invalid-input"]


def test_a_required_call_has_its_grammar_inside_the_envelope() -> None:
    engine = constrained(f"{CALL}{wrapped('2026-11-21')}<|call|>")
    turn(engine, dated(choice=REQUIRED))
    grammar = engine.requests[0].grammar or ""
    assert "final" not in grammar
    assert "[0-9]{4}" in grammar


@pytest.mark.parametrize(
    "definition",
    [
        r"(?i)[\p{L}--x]+",
        r"[\p{L}[a-z]]+",
        r"[[:alpha:]ößü]+",
        # llama.cpp refuses what may be empty inside a repetition.
        r"((G|r)*(ö|ß|e)*)*",
        r"(G?r?|öße){0,4}",
    ],
)
def test_what_cannot_be_written_for_the_engine_is_checked_all_the_same(definition: str) -> None:
    hard = InputGrammar("regex", definition, FIELD)
    engine = constrained(f"{CALL}{wrapped('123')}<|call|>", f"{wrapped('Größe')}<|call|>")
    result = turn(engine, dated(hard))
    assert engine.requests[0].grammar is None
    assert result.parts == [Part("call", "Größe", "date")]
    assert result.codes == ["invalid-input"]
