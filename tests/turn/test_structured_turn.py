"""Answers and arguments that are bound to a schema: with a grammar, without, and when it fails."""

from __future__ import annotations

import json

import pytest
from tests.codec.reading import encode
from tests.turn.turning import (
    CALL,
    READINGS,
    THOUGHT,
    WEATHER,
    LimitedEngine,
    Part,
    asked,
    refused,
    scripted,
    turn,
    weather,
)

from antiphon.api.turn import PartDelta, Sampling, StructuredOutput, TurnRequest
from antiphon.codec.grammar.plan import REQUIRED, ToolChoice, ToolMode
from antiphon.engines.protocol import GrammarKind, Reading
from antiphon.engines.scripted import ScriptedEngine
from antiphon.model.message import Message
from antiphon.model.tools import Tool
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore
from antiphon.turn.engine import TurnRunner

FINAL = "<|channel|>final<|message|>"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "<|end|>"]}, "n": {"type": "integer"}},
    "required": ["colour"],
    "additionalProperties": False,
}
OUTPUT = StructuredOutput(schema=SCHEMA)
GOOD = '{"colour": "<|end|>", "n": 1}'
BAD = '{"colour": "blue"}'


def structured(output: StructuredOutput = OUTPUT) -> TurnRequest:
    return asked(output=output)


def constrained(*scripts: str, kind: GrammarKind = "gbnf") -> LimitedEngine:
    return scripted(*scripts, changes={"grammar": kind})


def in_content(*scripts: str) -> list[list[int]]:
    """Scripts whose JSON spells control tokens with ordinary tokens."""
    return [
        [*encode(head + FINAL), *encode_plain(body), *encode("<|return|>")]
        for head, _, body in (script.partition(FINAL) for script in scripts)
    ]


def encode_plain(text: str) -> list[int]:
    from antiphon.vocab.tokenizer import default_tokenizer

    return default_tokenizer().encode(text)


@pytest.mark.parametrize("reading", ["ids", "hybrid"])
def test_text_that_spells_control_tokens_arrives_byte_for_byte(reading: Reading) -> None:
    engine = LimitedEngine(in_content(THOUGHT + FINAL + GOOD), reading=reading)
    engine.given = {"grammar": None}
    result = turn(engine, structured())
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", GOOD)]
    assert result.codes == []


@pytest.mark.parametrize("reading", READINGS)
def test_without_a_grammar_a_bad_answer_never_leaks_and_is_asked_for_again(
    reading: Reading,
) -> None:
    engine = scripted(
        f"{THOUGHT}{FINAL}{BAD}<|return|>", '{"colour": "red"}<|return|>', reading=reading
    )
    result = turn(engine, structured())
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", '{"colour": "red"}')]
    assert result.codes == ["invalid-output"]
    assert (
        result.end.messages
        == (
            Message.analysis("Hm."),
            Message.assistant('{"colour": "red"}', "final", content_type="<|constrain|>json"),
        )
        or reading == "stripped"
    )
    prompt = list(engine.requests[1].prompt)
    header = encode("<|channel|>final <|constrain|>json<|message|>")
    assert prompt[-len(header) :] == header
    assert result.end.usage.completions == 2


def test_an_answer_that_never_fits_is_a_clear_error() -> None:
    engine = scripted(f"{FINAL}{BAD}<|return|>", f"{BAD}<|return|>")
    error = refused(engine, structured())
    assert (error.status, error.code) == (502, "structured_output_failed")
    assert "blue" in str(error)
    engine = scripted(f"{FINAL}{BAD}<|return|>")
    assert refused(engine, structured(), structured_retries=0).code == "structured_output_failed"
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    "written", ['```json\n{"colour":"red"}\n```', 'Here: {"colour":"red"}', '{"colour":"red"}]']
)
def test_an_answer_that_is_almost_json_is_mended(written: str) -> None:
    result = turn(f"{FINAL}{written}<|return|>", structured())
    assert result.parts == [Part("answer", '{"colour":"red"}')]
    assert result.codes == ["repaired-output"]


def test_the_first_of_two_answers_counts() -> None:
    script = f'{FINAL}{{"colour":"red"}}<|end|><|start|>assistant{FINAL}{BAD}<|return|>'
    result = turn(script, structured())
    assert result.parts == [Part("answer", '{"colour":"red"}'), Part("reasoning", BAD)]
    assert result.codes == ["further-answer"]


def test_what_is_not_strict_is_delivered_as_it_is() -> None:
    loose = StructuredOutput(schema=SCHEMA, strict=False)
    result = turn(f"{FINAL}{BAD}<|return|>", structured(loose))
    assert result.parts == [Part("answer", BAD)]
    deltas = [event for event in result.events if isinstance(event, PartDelta)]
    assert len(deltas) > 1


def test_an_answer_cut_by_the_limit_is_delivered_as_far_as_it_came() -> None:
    engine = scripted(f"{FINAL}{GOOD}<|return|>")
    result = turn(engine, asked(output=OUTPUT, max_tokens=6))
    assert result.end.finish_reason == "length"
    assert [(part.kind, part.complete) for part in result.parts] == [("answer", False)]


def test_a_grammar_is_sent_and_the_answer_streams() -> None:
    for kind, sign in (("gbnf", "root ::="), ("structural_tag", '"structural_tag"')):
        engine = constrained(f'{THOUGHT}{FINAL}{{"colour": "red"}}<|return|>', kind=kind)  # type: ignore[arg-type]
        result = turn(engine, structured())
        assert sign in (engine.requests[0].grammar or "")
        deltas = [e.text for e in result.events if isinstance(e, PartDelta)]
        assert len(deltas) > 3


def test_no_grammar_is_sent_where_nothing_is_bound() -> None:
    engine = constrained(THOUGHT + FINAL + "Hi<|return|>", THOUGHT + FINAL + "Hi<|return|>")
    turn(engine)
    turn(engine, weather())
    assert [request.grammar for request in engine.requests] == [None, None]


def test_a_grammar_that_did_not_take_hold_is_found_out() -> None:
    answers = [f"{FINAL}{BAD}<|return|>"] * 2
    engine = constrained(*answers, '{"colour": "red"}<|return|>')
    runner = TurnRunner(engine, settings=Settings(), store=MemoryStore(), new_id=lambda: "id")
    assert refused(engine, structured(), runner=runner).code == "structured_output_failed"
    result = turn(engine, structured(), runner=runner)
    assert result.parts[-1].text == '{"colour": "red"}'
    assert result.codes == ["invalid-output"]


def test_prose_where_a_grammar_wants_json_never_leaks() -> None:
    engine = constrained(f"{FINAL}Sure! Red it is.<|return|>", '{"colour":"red"}<|return|>')
    result = turn(engine, structured())
    assert result.parts == [Part("answer", '{"colour":"red"}')]
    assert result.codes == ["invalid-output"]
    assert engine.requests[1].grammar is None


def test_a_schema_the_grammar_cannot_express_is_checked_before_it_is_shown() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    bad, good = '{"a": [1, 1]}', '{"a": [1, 2]}'
    engine = constrained(f"{FINAL}{bad}<|return|>", f"{FINAL}{good}<|return|>")
    result = turn(engine, structured(StructuredOutput(schema=schema)))
    assert result.parts == [Part("answer", good)]


def test_strict_arguments_are_checked_and_asked_for_again() -> None:
    request = weather(strict_tools=frozenset({"functions.get_weather"}))
    engine = scripted(f'{THOUGHT}{CALL}{{"city": 5}}<|call|>', '{"city": "Oslo"}<|call|>')
    result = turn(engine, request)
    assert result.parts == [
        Part("reasoning", "Hm."),
        Part("call", '{"city": "Oslo"}', "get_weather"),
    ]
    assert result.codes == ["invalid-arguments"]
    assert list(engine.requests[1].prompt)[-len(encode(CALL)) :] == encode(CALL)
    assert len(result.end.messages) == 2


def test_strict_arguments_that_never_fit_are_a_clear_error() -> None:
    request = weather(strict_tools=frozenset({"functions.get_weather"}))
    error = refused(scripted(f"{CALL}{{}}<|call|>", "{}<|call|>"), request)
    assert (error.status, error.code) == (502, "structured_output_failed")
    assert "get_weather" in str(error)


def test_a_required_call_is_bound_by_the_grammar() -> None:
    engine = constrained(f'{CALL}{{"city": "Oslo"}}<|call|>')
    other = Tool("other", "", {"type": "object"})
    choice = ToolChoice(ToolMode.REQUIRED, ("functions.get_weather",))
    turn(engine, asked(tools=(WEATHER, other), choice=choice, think=False))
    grammar = engine.requests[0].grammar or ""
    assert "get_weather" in grammar
    assert "other" not in grammar
    assert "final" not in grammar
    assert engine.requests[0].prompt[-1] == encode("assistant")[0]


def test_tools_that_are_not_strict_keep_their_arguments_free() -> None:
    engine = constrained(f"{CALL}{{}}<|call|>")
    assert turn(engine, weather(choice=REQUIRED)).parts == [Part("call", "{}", "get_weather")]
    assert "city" not in (engine.requests[0].grammar or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": "object", "properties": {"a": {"pattern": "(?<=a)b"}}},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"type": "object", "properties": 5},
        json.loads('{"items":' * 80 + "{}" + "}" * 80),
        {"enum": ["x" * 2_000_000]},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_the_engine_is_asked(
    schema: dict[str, object],
) -> None:
    engine = scripted(f"{FINAL}{{}}<|return|>")
    error = refused(engine, structured(StructuredOutput(schema=schema)))
    assert (error.status, error.param, error.code) == (
        400,
        "response_format",
        "invalid_json_schema",
    )
    assert engine.requests == []


def test_a_hostile_pattern_costs_no_time() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    text = json.dumps({"a": "a" * 5000 + "!"})
    engine = scripted(f"{FINAL}{text}<|return|>")
    output = StructuredOutput(schema=schema)
    assert refused(engine, structured(output), structured_retries=0).status == 502


def test_the_rule_driven_engine_keeps_to_its_plan() -> None:
    result = turn(ScriptedEngine(), structured())
    assert json.loads(result.parts[-1].text)["colour"] in ("red", "<|end|>")
    calls = turn(ScriptedEngine(), weather(choice=REQUIRED, sampling=Sampling(seed=1)))
    assert calls.parts[-1].kind == "call"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "string", "minLength": 2, "maxLength": 1},
        {"enum": []},
    ],
)
@pytest.mark.parametrize("kind", ["gbnf", None])
def test_a_schema_nothing_can_satisfy_is_refused_before_the_engine_is_asked(
    schema: dict[str, object], kind: GrammarKind | None
) -> None:
    engine = scripted(f"{FINAL}{{}}<|return|>", changes={"grammar": kind})
    output = StructuredOutput(schema=schema, field="text.format.schema")
    error = refused(engine, structured(output))
    assert (error.status, error.code) == (400, "invalid_json_schema")
    assert (error.type, error.param) == ("invalid_request_error", "text.format.schema")
    assert "no value satisfies" in str(error)
    assert engine.requests == []


def test_a_strict_tool_nothing_can_call_is_refused_naming_its_place() -> None:
    never = Tool("never", "", {"type": "object", "properties": {"a": False}, "required": ["a"]})
    strict = frozenset({"functions.never"})
    where = {"functions.never": "tools[3].parameters"}
    engine = scripted(f"{FINAL}Hi.<|return|>")
    error = refused(engine, asked(tools=(never,), strict_tools=strict, schema_fields=where))
    assert (error.status, error.param) == (400, "tools[3].parameters")
    assert error.code == "invalid_json_schema"
    assert turn(engine, asked(tools=(never,))).parts == [Part("answer", "Hi.")]


@pytest.mark.parametrize("draft", [None, "http://json-schema.org/draft-04/schema#"])
@pytest.mark.parametrize("number", ["491.0", "4.91e2", "491"])
def test_a_whole_number_is_an_integer_however_it_is_written(draft: str | None, number: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    if draft is not None:
        schema["$schema"] = draft
    written = f'{{"n": {number}}}'
    result = turn(f"{FINAL}{written}<|return|>", structured(StructuredOutput(schema=schema)))
    assert result.parts == [Part("answer", written)]
    engine = scripted(f'{FINAL}{{"n": 491.5}}<|return|>')
    output = StructuredOutput(schema=schema)
    assert refused(engine, structured(output), structured_retries=0).status == 502
