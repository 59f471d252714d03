"""Our GBNF in the real llama.cpp server: it parses, it holds, and it means what we think.

A server that cannot parse a grammar might generate without one, so every test asks for something
the model would not do by itself, or compares token by token with our own reading of the grammar.
"""

from __future__ import annotations

import json
import urllib.request
from codecs import getincrementaldecoder
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import jsonschema
import pytest
from tests.codec.gbnf_recogniser import Gbnf
from tests.codec.test_grammar import ANSWER, CASES, TIME, WEATHER
from tests.codec.test_grammar_schema import HOSTILE, NULLABLE_TREE, TREE

from antiphon.codec.grammar import NONE, REQUIRED, Plan, ToolChoice, ToolMode, gbnf, plan
from antiphon.codec.parse import parse
from antiphon.model.message import Message
from antiphon.model.tools import BROWSER, PYTHON, Tool
from antiphon.vocab.control import CALL, ENDOFTEXT, RETURN, is_control
from antiphon.vocab.table import ordinary_bytes

PROMPTS = {
    case["name"]: case["prompt"]
    for case in json.loads(
        (Path(__file__).parents[1] / "golden" / "tiny_model.json").read_text(encoding="utf-8")
    )
}
SUM, QUESTION = PROMPTS["add-medium"], PROMPTS["weather-medium"]
"""What the model answers at once, and what it answers by calling `get_current_weather`."""

STOPS = (RETURN, CALL, ENDOFTEXT)


def complete(url: str, value: Plan, prompt: list[int] = SUM, **options: Any) -> list[int]:
    body = {
        "prompt": prompt,
        "grammar": gbnf(value).text,
        "return_tokens": True,
        "temperature": 0,
        "n_predict": 200,
        **options,
    }
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        tokens: list[int] = json.load(answer)["tokens"]
    return tokens


def messages_of(tokens: list[int]) -> Sequence[Message]:
    return parse(tokens).messages


def text_of(message: Message) -> str:
    return "".join([part.text for part in message.content if hasattr(part, "text")])


def items_of(tokens: list[int]) -> list[str | int]:
    """Characters and control tokens, without the stop token."""
    out: list[str | int] = []
    decoder = getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        if token in STOPS:
            break
        if is_control(token):
            out.append(token)
        else:
            out += decoder.decode(ordinary_bytes()[token])
    return out


def test_a_grammar_that_does_not_parse_is_an_error_here(llama_server: str) -> None:
    body = json.dumps({"prompt": SUM, "grammar": "root ::= (", "n_predict": 1}).encode()
    with pytest.raises(HTTPError):
        urllib.request.urlopen(urllib.request.Request(f"{llama_server}/completion", body))


def test_left_free_the_model_answers(
    llama_server: str,
) -> None:
    """What the other tests rest on."""
    assert plan().free
    assert messages_of(complete(llama_server, plan()))[-1].channel == "final"


def test_a_required_call_is_made_where_the_model_would_answer(llama_server: str) -> None:
    schema = {"properties": {"to": {"enum": ["EUR", "USD"]}}, "required": ["to"]}
    tool = Tool("convert", "", {"type": "object", **schema, "additionalProperties": False})
    tokens = complete(llama_server, plan([tool], REQUIRED, parallel=False))
    last = messages_of(tokens)[-1]
    assert last.recipient == "functions.convert"
    assert json.loads(text_of(last))["to"] in ("EUR", "USD")
    assert tokens[-1] in STOPS


def test_a_named_tool_is_called_and_no_other(llama_server: str) -> None:
    choice = ToolChoice(ToolMode.REQUIRED, ("get_time",))
    tool = Tool("get_time", "", {"type": "object", "additionalProperties": False})
    last = messages_of(complete(llama_server, plan([WEATHER, tool], choice), QUESTION))[-1]
    assert last.recipient == "functions.get_time"
    assert json.loads(text_of(last)) == {}


def test_arguments_follow_the_schema_where_the_model_would_write_others(llama_server: str) -> None:
    days = {"type": "integer", "minimum": 3, "maximum": 14}
    schema = {"properties": {"days": days, "ok": {"const": "é<|x|>"}}, "required": ["days", "ok"]}
    closed = {"type": "object", **schema, "additionalProperties": False}
    tool = Tool("get_current_weather", "", closed)
    last = messages_of(complete(llama_server, plan([tool], REQUIRED), QUESTION))[-1]
    arguments = json.loads(text_of(last))
    assert 3 <= arguments["days"] <= 14
    assert arguments["ok"] == "é<|x|>"


def test_no_call_is_made_where_calls_are_forbidden(llama_server: str) -> None:
    messages = messages_of(complete(llama_server, plan([WEATHER], NONE), QUESTION))
    assert [m.recipient for m in messages] == [None] * len(messages)
    assert messages[-1].channel == "final"


def test_a_structured_answer_is_json_behind_free_analysis(llama_server: str) -> None:
    messages = messages_of(complete(llama_server, plan(response=ANSWER)))
    assert [m.channel for m in messages] == ["analysis"] * (len(messages) - 1) + ["final"]
    assert len(messages) > 1
    jsonschema.validate(json.loads(text_of(messages[-1])), ANSWER)


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMAS: dict[str, dict[str, Any]] = {
    "tree": TREE,
    "nullable tree": NULLABLE_TREE,
    "bounds": closed(
        id={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
        day={"type": "string", "format": "date"},
        name={"type": "string", "minLength": 2, "maxLength": 8},
        tags={"type": "array", "items": {"enum": ["é", "b\nc", '"', "<|end|>"]}, "maxItems": 3},
        pair={
            "type": "array",
            "prefixItems": [{"type": "boolean"}, {"type": "null"}],
            "items": False,
            "minItems": 2,
        },
        n={"type": "integer", "minimum": -20, "maximum": 120},
    ),
    "unions": {
        **closed(value={"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/point"}]}, digit=DIGIT),
        "$defs": {"point": closed(x=DIGIT)},
    },
}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("tree", "bounds") else pytest.mark.slow) for n in SCHEMAS],
)
def test_what_is_sampled_is_valid(llama_server: str, name: str, seed: int) -> None:
    value = plan(response=SCHEMAS[name], analysis=False)
    tokens = complete(llama_server, value, seed=seed, temperature=1.0)
    items = items_of(tokens)
    assert Gbnf(gbnf(value).text).accepted(items)[0] == len(items)
    if tokens[-1] in STOPS:
        jsonschema.validate(json.loads(text_of(messages_of(tokens)[-1])), SCHEMAS[name])


PLANS = list(
    {
        gbnf(value).text: value
        for value in [
            *[case.plan for case in CASES],
            plan([WEATHER, BROWSER, PYTHON, TIME], response=ANSWER),
        ]
    }.values()
)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(PLANS)))
def test_what_is_sampled_wildly_is_what_we_read_the_grammar_to_allow(
    llama_server: str, index: int
) -> None:
    value = PLANS[index]
    grammar = Gbnf(gbnf(value).text)
    tokens = complete(
        llama_server, value, QUESTION, seed=index, temperature=1.6, n_predict=40, top_k=0, min_p=0
    )
    items = items_of(tokens)
    count, complete_ = grammar.accepted(items)
    assert count == len(items)
    assert complete_ or tokens[-1] not in STOPS


TAKEN = ["many strings with bounds", "merges that lead back", "repeated pattern", "deep enum"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_hostile_schema_that_is_written_is_one_the_server_takes(
    llama_server: str, name: str
) -> None:
    value = plan(response=HOSTILE[name], analysis=False)
    items = items_of(complete(llama_server, value, n_predict=12))
    assert Gbnf(gbnf(value).text).accepted(items)[0] == len(items)
