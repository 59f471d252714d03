"""Custom tools with grammars, and schemas that nothing satisfies, as clients see them."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("llguidance")

from tests.gateway.responding import answer, calling, create, created, encode, streamed
from tests.gateway.serving import Gateway, StepEngine
from tests.gateway.test_responses_ordinary import Chat, call, delta, over

from antiphon.vocab.control import CALL

CHAT = "/v1/chat/completions"
DATE = {"type": "grammar", "syntax": "regex", "definition": r"\d{4}-\d{2}-\d{2}"}


def custom(**form: Any) -> dict[str, Any]:
    return {"type": "custom", "name": "date", "format": {**DATE, **form}}


def called(text: str) -> list[int]:
    return calling("date", json.dumps({"input": text}))


class Retried(StepEngine):
    """Writes one completion after the other."""

    def complete(self, request: Any) -> Any:
        self.steps = [self.turns.pop(0)]
        return super().complete(request)

    turns: list[list[int]]


def retried(*turns: list[int]) -> Retried:
    engine = Retried()
    engine.turns = list(turns)
    return engine


def again(text: str) -> list[int]:
    return [*encode(json.dumps({"input": text})), CALL]


@pytest.mark.parametrize("stream", [False, True])
def test_an_input_off_its_grammar_is_asked_for_again_unseen(stream: bool) -> None:
    engine = retried(called("Friday"), again("2026-11-20"))
    with Gateway(engine) as gateway:
        if stream:
            events = streamed(gateway, tools=[custom()])
            response = events[-1]["response"]
            assert "Friday" not in json.dumps(events)
        else:
            response = created(gateway, tools=[custom()])
    (item,) = [item for item in response["output"] if item["type"] == "custom_tool_call"]
    assert item["input"] == "2026-11-20"
    assert len(engine.requests) == 2


def test_chat_has_the_same() -> None:
    tool = {"type": "custom", "custom": {"name": "date", "format": {"type": "grammar"}}}
    tool["custom"]["format"]["grammar"] = {  # type: ignore[index]
        "syntax": "regex",
        "definition": DATE["definition"],
    }
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}
    with Gateway(retried(called("Friday"), again("2026-11-20"))) as gateway:
        got = gateway.send("POST", CHAT, body)
    assert got.status == 200
    assert "antiphon-ignored" not in got.headers
    (call_,) = got.json["choices"][0]["message"]["tool_calls"]
    assert call_["custom"] == {"name": "date", "input": "2026-11-20"}


@pytest.mark.parametrize("how", [{}, {"stream": True}, {"background": True}])
def test_a_bad_grammar_is_a_400_before_anything_is_said_or_kept(how: dict[str, Any]) -> None:
    engine = StepEngine(answer("Hi."))
    weather = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    bad = custom(syntax="lark", definition='start: "a')
    with Gateway(engine) as gateway:
        got = create(gateway, tools=[weather, bad], **how)
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": "stream" in how,
            "tools": [{"type": "custom", "custom": {"name": "x", "format": bad["format"]}}],
        }
        chat = gateway.send("POST", CHAT, body)
    assert got.status == chat.status == 400
    assert got.error["param"] == "tools[1].format.definition"
    assert chat.error["param"] == "tools[0].custom.format.grammar.definition"
    for error in (got.error, chat.error):
        assert error["type"] == "invalid_request_error"
        assert error["code"] == "invalid_grammar"
        assert "lexer error" in error["message"]
    assert engine.requests == []


NEVER = {"type": "object", "properties": {"a": False}, "required": ["a"]}


@pytest.mark.parametrize("how", [{}, {"stream": True}, {"background": True}])
@pytest.mark.parametrize(
    ("given", "param"),
    [
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": NEVER}}},
            "text.format.schema",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "strict": True, "parameters": NEVER}]},
            "tools[0].parameters",
        ),
    ],
)
def test_a_schema_that_nothing_satisfies_is_a_400_too(
    how: dict[str, Any], given: dict[str, Any], param: str
) -> None:
    engine = StepEngine(answer("{}"))
    with Gateway(engine) as gateway:
        got = create(gateway, **given, **how)
    assert got.status == 400
    assert (got.error["param"], got.error["code"]) == (param, "invalid_json_schema")
    assert engine.requests == []


def test_an_input_that_never_matches_fails_the_response() -> None:
    with Gateway(retried(called("Friday"), again("Saturday"))) as gateway:
        events = streamed(gateway, tools=[custom()])
    final = events[-1]
    assert final["type"] == "response.failed"
    assert "does not match its grammar" in final["response"]["error"]["message"]
    assert [item["type"] for item in final["response"]["output"]] == []


@pytest.mark.parametrize(("text", "fits"), [("2026-11-20", True), ("Friday", False)])
def test_an_ordinary_models_input_is_checked(text: str, fits: bool) -> None:
    wrapped = json.dumps({"input": text})
    chat = Chat(
        delta(tool_calls=[call(0, "a", "date", wrapped[:7])]),
        delta(tool_calls=[call(0, text=wrapped[7:])]),
        delta("tool_calls"),
    )
    with over(chat) as gateway:
        got = create(gateway, tools=[custom()])
    if fits:
        assert got.json["output"][-1]["input"] == text
    else:
        assert got.status == 502
        assert got.error["code"] == "structured_output_failed"
