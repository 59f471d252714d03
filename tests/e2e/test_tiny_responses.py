"""The tiny model in real llama.cpp behind `antiphon serve`, through the Responses API."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("starlette")

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.e2e.serving import Serving, serving

from antiphon.engines.tiny import weather

pytestmark = pytest.mark.slow

WEATHER = {"type": "function", **msgspec.to_builtins(weather.WEATHER)}


@pytest.fixture(scope="module")
def server(
    tiny_cache: Path, tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_CACHE", str(tiny_cache))
        with serving(tmp_path_factory.mktemp("tiny"), "--engine", "tiny") as running:
            yield running


def respond(server: Serving, given: Any, *, stream: bool, **parameters: Any) -> dict[str, Any]:
    """The response, and that it is kept just so."""
    body = {"model": "tiny", "input": given, "temperature": 0, **parameters}
    if stream:
        events = read_sse(_sent(server, {**body, "stream": True}))
        check_events(events)
        response = events[-1]["response"]
    else:
        response = json.loads(_sent(server, body))
        check_response(response)
    assert response["status"] == "completed", response
    with urllib.request.urlopen(
        f"{server.base_url}/responses/{response['id']}", timeout=30
    ) as answer:
        assert json.load(answer) == response
    return dict(response)


def _sent(server: Serving, body: Any) -> bytes:
    request = urllib.request.Request(
        f"{server.base_url}/responses",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def said(response: dict[str, Any]) -> str:
    return "".join(
        [
            part["text"]
            for item in response["output"]
            if item["type"] == "message"
            for part in item["content"]
        ]
    )


def calls(response: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == "function_call"]


def told(response: dict[str, Any]) -> list[Any]:
    """The output without what differs from response to response."""
    own = {"id", "call_id"}
    return [{key: item[key] for key in item if key not in own} for item in response["output"]]


def loop(server: Serving, *, stream: bool) -> list[dict[str, Any]]:
    """A question, the result of the call, and a further question with its own call."""
    given: dict[str, Any] = {"tools": [WEATHER], "stream": stream}
    first = respond(
        server,
        "What is the weather in Oslo?",
        instructions="Use the tools when needed.",
        **given,
    )
    (call,) = calls(first)
    result = {
        "type": "function_call_output",
        "call_id": call["call_id"],
        "output": '{"temperature": 14}',
    }
    second = respond(
        server,
        [result],
        instructions="Use the tools when needed.",
        previous_response_id=first["id"],
        **given,
    )
    third = respond(
        server,
        "And in London?",
        instructions="Use the tools when needed.",
        previous_response_id=second["id"],
        **given,
    )
    return [first, second, third]


def test_a_tool_loop_is_stored_chained_and_the_same_streamed_and_whole(server: Serving) -> None:
    whole, streamed = loop(server, stream=False), loop(server, stream=True)
    for first, second, third in (whole, streamed):
        (call,) = calls(first)
        assert call["name"] == "get_current_weather"
        assert json.loads(call["arguments"])["location"] == "Oslo"
        assert first["output"][0]["type"] == "reasoning"
        assert calls(second) == []
        assert "14" in said(second)
        assert second["previous_response_id"] == first["id"]
        (call,) = calls(third)
        assert json.loads(call["arguments"])["location"] == "London"
        assert third["previous_response_id"] == second["id"]
    assert [told(response) for response in whole] == [told(response) for response in streamed]
    tokens = [[r["usage"]["output_tokens"] for r in responses] for responses in (whole, streamed)]
    assert tokens[0] == tokens[1]


# Custom tools with a grammar.


def custom(syntax: str, definition: str) -> dict[str, Any]:
    form = {"type": "grammar", "syntax": syntax, "definition": definition}
    return {"type": "custom", "name": "note", "description": "Takes a note.", "format": form}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "definition", [r"[A-Z]{3}-\d{4}", r'^("[a-z]{1,9}"|<[0-9]{2}>)$', r"(yes|no)(, (yes|no)){2}"]
)
def test_a_regular_expression_holds_a_real_model(
    server: Serving, stream: bool, definition: str
) -> None:
    """The model never saw such a tool: what fits was made by the grammar, not asked for twice."""
    response = respond(
        server,
        "Hi",
        stream=stream,
        tools=[custom("regex", definition)],
        tool_choice={"type": "custom", "name": "note"},
        temperature=1.0,
        parallel_tool_calls=False,
        reasoning={"effort": "none"},
    )
    (call,) = [item for item in response["output"] if item["type"] == "custom_tool_call"]
    assert re.fullmatch(definition, call["input"])


QUERY = """
start: "SELECT " column (", " column){0,2} " FROM " NAME [" WHERE " column "=" value] ";"
column: NAME | "\\"" NAME "\\""
value: /[0-9]{1,3}/ | /'[^'\\n]{0,5}'/
NAME: /[a-z]{1,6}/
"""


@pytest.mark.parametrize("stream", [False, True])
def test_a_lark_grammar_holds_a_real_model(server: Serving, stream: bool) -> None:
    response = respond(
        server,
        "Hi",
        stream=stream,
        tools=[custom("lark", QUERY)],
        tool_choice={"type": "custom", "name": "note"},
        temperature=1.0,
        parallel_tool_calls=False,
        reasoning={"effort": "none"},
    )
    (call,) = [item for item in response["output"] if item["type"] == "custom_tool_call"]
    column = '(?:[a-z]{1,6}|"[a-z]{1,6}")'
    value = "(?:[0-9]{1,3}|'[^'\n]{0,5}')"
    assert re.fullmatch(
        f"SELECT {column}(?:, {column}){{0,2}} FROM [a-z]{{1,6}}(?: WHERE {column}={value})?;",
        call["input"],
    )


def test_a_bad_grammar_is_a_400_for_streams_too(server: Serving) -> None:
    for stream in (False, True):
        body = {
            "model": "tiny",
            "input": "Hi",
            "stream": stream,
            "tools": [WEATHER, custom("lark", "start: nowhere")],
        }
        with pytest.raises(urllib.error.HTTPError) as caught:
            _sent(server, body)
        with caught.value as answer:
            assert answer.code == 400
            error = json.load(answer)["error"]
        assert error["param"] == "tools[1].format.definition"
        assert error["type"] == "invalid_request_error"
        assert 'unknown name: "nowhere"' in error["message"]
