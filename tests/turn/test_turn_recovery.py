"""What the turn mends, beside what the parser does; every mend is told, under a documented code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.codec.reading import encode
from tests.turn.turning import (
    CALL,
    READINGS,
    THOUGHT,
    WEATHER,
    Part,
    asked,
    scripted,
    turn,
    weather,
)

from antiphon.engines.protocol import Reading
from antiphon.model.message import Message
from antiphon.model.tools import Tool
from antiphon.turn.codes import TURN_CODES, TURN_RULES, mended
from antiphon.vocab.control import END

FINAL = "<|channel|>final<|message|>"
OSLO = Part("call", '{"city":"Oslo"}', "get_weather")


@pytest.mark.parametrize("reading", READINGS)
def test_a_model_that_only_thinks_is_asked_for_its_answer(reading: Reading) -> None:
    engine = scripted(
        "<|channel|>analysis<|message|>Hm.<|return|>", "So.<|return|>", reading=reading
    )
    result = turn(engine)
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", "So.")]
    assert result.codes == ["silent-turn"]
    assert result.end.usage.completions == 2
    first, second = engine.requests
    thought = encode("<|channel|>analysis<|message|>Hm.")
    assert list(second.prompt) == [
        *first.prompt,
        *thought,
        END,
        *encode(f"<|start|>assistant{FINAL}"),
    ]


def test_a_model_that_stays_silent_is_asked_once() -> None:
    engine = scripted("<|channel|>analysis<|message|>Hm.<|return|>", "<|return|>")
    result = turn(engine)
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", "")]
    assert len(engine.requests) == 2


def test_continuation_can_be_turned_off() -> None:
    result = turn("<|channel|>analysis<|message|>Hm.<|return|>", continue_silent=False)
    assert result.parts == [Part("reasoning", "Hm.")]
    assert (result.codes, result.end.finish_reason) == ([], "stop")


def test_a_turn_that_ran_into_its_limit_is_not_continued() -> None:
    engine = scripted("<|channel|>analysis<|message|>Hm and more<|return|>")
    result = turn(engine, asked(max_tokens=5))
    assert result.end.finish_reason == "length"
    assert len(engine.requests) == 1


def test_a_continuation_gets_what_is_left_of_the_tokens() -> None:
    engine = scripted("<|channel|>analysis<|message|>Hm.<|return|>", "So.<|return|>")
    turn(engine, asked(max_tokens=20))
    assert [request.max_tokens for request in engine.requests] == [20, 14]
    engine = scripted("<|channel|>analysis<|message|>Hm.<|return|>")
    assert turn(engine, asked(max_tokens=6)).end.finish_reason == "length"


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"city":"Oslo"}]', "arguments-repaired"),
        ('{"city":"Oslo"', "arguments-repaired"),
        ('[{"city":"Oslo"}]', "arguments-repaired"),
        ('{city: "Oslo"}', "arguments-repaired"),
    ],
)
def test_broken_arguments_are_mended(reading: Reading, body: str, code: str) -> None:
    result = turn(scripted(f"{CALL}{body}<|call|>", reading=reading), weather())
    assert result.parts == [OSLO]
    assert result.codes == [code]
    assert result.end.messages[0].text == OSLO.text


def test_bare_text_becomes_the_one_string_that_a_tool_wants() -> None:
    assert turn(f"{CALL}Oslo<|call|>", weather()).parts == [OSLO]


def test_arguments_that_are_no_json_arrive_as_they_are() -> None:
    tool = Tool("run", "", {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]})
    script = "<|channel|>commentary to=functions.run<|message|>ls -la<|call|>"
    result = turn(script, asked(tools=(tool,)))
    assert result.parts == [Part("call", "ls -la", "run")]
    assert result.codes == ["arguments-raw"]


@pytest.mark.parametrize("reading", READINGS)
def test_several_objects_are_several_calls(reading: Reading) -> None:
    script = CALL + '{"city":"Oslo"}{"city":"Rome"}<|call|>'
    result = turn(scripted(script, reading=reading), weather())
    assert result.parts == [OSLO, Part("call", '{"city":"Rome"}', "get_weather")]
    assert result.codes == ["several-calls"]
    only = turn(scripted(script, reading=reading), weather(parallel=False))
    assert only.parts == [OSLO, Part("reasoning", '{"city":"Rome"}')]
    assert set(only.codes) == {"several-calls", "further-call"}


@pytest.mark.parametrize("reading", READINGS)
def test_a_call_without_an_address_is_adopted(reading: Reading) -> None:
    script = THOUGHT + '<|channel|>commentary<|message|>{"city":"Oslo"}<|call|>'
    result = turn(scripted(script, reading=reading), weather())
    assert result.parts == [Part("reasoning", "Hm."), OSLO]
    assert result.codes == ["adopted-call"]
    assert result.end.finish_reason == "tool_calls"
    assert result.end.messages[1] == Message.call("functions.get_weather", OSLO.text)


def test_an_address_without_a_name_is_found_by_its_arguments() -> None:
    body = '{"name": "get_weather", "arguments": {"city":"Oslo"}}'
    result = turn(f"<|channel|>commentary to=functions<|message|>{body}<|call|>", weather())
    assert result.parts == [OSLO]
    assert "adopted-call" in result.codes


def test_json_that_fits_no_tool_stays_a_preamble() -> None:
    script = '<|channel|>commentary<|message|> {"town": "Oslo"}<|return|>'
    assert turn(script, weather()).parts == [Part("preamble", ' {"town": "Oslo"}')]
    fits = script.replace("town", "city")
    assert turn(fits, weather(), adopt_calls=False).parts == [Part("preamble", ' {"city": "Oslo"}')]
    assert turn(fits).parts == [Part("preamble", ' {"city": "Oslo"}')]


@pytest.mark.parametrize("size", [1, 100])
def test_a_made_up_tool_result_is_cut_off(size: int) -> None:
    script = (
        f'{CALL}{{"city":"Oslo"}}<|end|><|start|>functions.get_weather to=assistant<|channel|>'
        f"commentary<|message|>Rain<|end|><|start|>assistant{FINAL}It rains.<|return|>"
    )
    engine = scripted(script, chunking=(size,))
    result = turn(engine, weather())
    assert result.parts == [OSLO]
    assert (result.codes, result.end.finish_reason) == (["message-of-another"], "tool_calls")


def test_a_made_up_question_ends_the_turn_and_is_kept_as_reasoning() -> None:
    script = f"{FINAL}Hi.<|end|><|start|>user<|message|>Thanks!<|end|><|start|>assistant{FINAL}x"
    result = turn(script)
    assert result.parts == [Part("answer", "Hi."), Part("reasoning", "Thanks!")]
    assert (result.codes, result.end.finish_reason) == (["message-of-another"], "stop")


def test_two_answers_are_two_parts() -> None:
    script = f"{FINAL}a<|end|><|start|>assistant{FINAL}b<|return|>"
    assert turn(script).parts == [Part("answer", "a"), Part("answer", "b")]


def test_the_parsers_mends_are_told_between_parts() -> None:
    script = f"{FINAL}a<|constrain|>b<|end|>loose words<|start|>assistant{FINAL}c<|return|>"
    result = turn(script)
    assert result.parts == [
        Part("answer", "a<|constrain|>b"),
        Part("reasoning", "loose words"),
        Part("answer", "c"),
    ]
    assert result.codes == ["control-token-in-content", "text-without-header"]


def test_a_custom_tools_input_is_unwrapped() -> None:
    tool = Tool("patch", "", {"type": "object", "properties": {"input": {"type": "string"}}})
    request = asked(tools=(tool,), custom_tools=frozenset({"functions.patch"}))
    header = "<|channel|>commentary to=functions.patch<|message|>"
    result = turn(header + '{"input": "a\\nb"}<|call|>', request)
    assert result.parts == [Part("call", "a\nb", "patch")]
    assert result.end.messages[0].text == '{"input":"a\\nb"}'
    bare = turn(header + "*** Begin<|call|>", request)
    assert bare.parts == [Part("call", "*** Begin", "patch")]
    assert bare.codes == ["custom-input-raw"]


def test_no_words_are_lost_when_no_tool_is_offered() -> None:
    engine = scripted(THOUGHT + CALL + '{"city": 1}<|call|>', "Well.<|return|>")
    assert [part.text for part in turn(engine).parts] == ["Hm.", '{"city": 1}', "Well."]


def test_every_code_of_the_turn_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recovery.md").read_text(encoding="utf-8")
    section = page.partition("## What a turn mends")[2]
    listed = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", section, re.MULTILINE)
    assert {code: (rule, meaning) for code, rule, meaning in listed} == TURN_CODES
    assert {rule for rule, _ in TURN_CODES.values()} <= set(TURN_RULES)
    for rule, text in TURN_RULES.items():
        assert f"| {rule} | {text} |" in page
    assert mended("repetition").rule == "T4"


def test_a_header_that_names_no_tool_of_the_table_is_mended_by_the_parser() -> None:
    other = Tool("other", "", {"type": "object"})
    script = "<|channel|>commentary to=functions.Get-Weather json<|message|>{}<|call|>"
    result = turn(script, asked(tools=(WEATHER, other)))
    assert result.parts == [Part("call", "{}", "get_weather")]
    assert result.codes == ["misspelt-recipient"]
