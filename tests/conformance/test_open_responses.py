"""The 17 compliance tests of Open Responses, built from their description and named after theirs.

Over a real socket, on the scripted engine, in the ``reasoning`` dialect. Each event is held to the
grammar and to OpenAI's schemas besides.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("websockets")

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.api.responses_schemas import check_schema_of_event, validator
from tests.gateway.serving import Gateway, OneModel
from websockets.sync.client import ClientConnection, connect

from antiphon.engines.scripted import ScriptedEngine
from antiphon.engines.served import Served
from antiphon.settings.model import PromptSettings, ResponsesSettings, Settings

MODEL = "gpt-oss-120b"
WAIT = 20.0
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[Gateway]:
    settings = Settings(
        prompt=PromptSettings(on_media="placeholder"),
        responses=ResponsesSettings(reasoning_events="reasoning"),
    )
    engine = ScriptedEngine()
    with Gateway(engine, settings, catalog=_AnyName(engine)) as gateway:
        yield gateway


class _AnyName(OneModel):
    def find(self, name: str | None) -> Served:
        return self._served


def user(text: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": text, **more}


def ask(server: Gateway, items: Any, **parameters: Any) -> dict[str, Any]:
    """One completed response, which is valid."""
    answer = server.send("POST", "/v1/responses", {"model": MODEL, "input": items, **parameters})
    assert answer.status == 200, answer.body
    return valid(answer.json)


def valid(response: dict[str, Any]) -> dict[str, Any]:
    check_response(response)
    validator("Response").validate(response)
    assert response["status"] == "completed"
    assert response["output"]
    return response


def text_of(response: dict[str, Any]) -> str:
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


@contextmanager
def socket_to(server: Gateway) -> Iterator[ClientConnection]:
    url = f"ws://127.0.0.1:{server.port}/v1/responses"
    with connect(url, open_timeout=WAIT, close_timeout=WAIT) as client:
        yield client


def events_for(client: ClientConnection, items: Any, **parameters: Any) -> list[dict[str, Any]]:
    body = {"type": "response.create", "model": MODEL, "input": items, **parameters}
    client.send(json.dumps(body))
    events = []
    while True:
        event = json.loads(client.recv(timeout=WAIT))
        events.append(event)
        if event["type"] == "error":
            return events
        check_schema_of_event(event)
        if event["type"] in ("response.completed", "response.failed", "response.incomplete"):
            check_events(events)
            return events


def turn(client: ClientConnection, items: Any, **parameters: Any) -> dict[str, Any]:
    last = events_for(client, items, **parameters)[-1]
    assert last["type"] == "response.completed", last
    return valid(last["response"])


def refused(client: ClientConnection, items: Any, **parameters: Any) -> dict[str, Any]:
    (error,) = events_for(client, items, **parameters)
    assert error["type"] == "error"
    assert error["status"] >= 400
    return dict(error["error"])


def test_basic_response(server: Gateway) -> None:
    response = ask(server, [user("Say hello in exactly 3 words.")])
    assert response["usage"]["output_tokens"] > 0


def test_assistant_phase(server: Gateway) -> None:
    items = [
        assistant("I should answer with the saved number.", phase="commentary"),
        assistant("The number is four.", phase="final_answer"),
        user("Repeat only the number."),
    ]
    ask(server, items)


def test_response_output_phase_schema(server: Gateway) -> None:
    messages = [
        item for item in ask(server, [user("Say one word.")])["output"] if item["type"] == "message"
    ]
    assert [item["phase"] for item in messages] == ["final_answer"]


def test_streaming_response(server: Gateway) -> None:
    answer = server.send(
        "POST",
        "/v1/responses",
        {
            "model": MODEL,
            "input": [user("Count from 1 to 5.")],
            "stream": True,
            "reasoning": {"effort": "high"},
        },
    )
    events = read_sse(answer.body)
    check_events(events)
    for event in events:
        check_schema_of_event(event)
    kinds = {event["type"] for event in events}
    assert {"response.reasoning.delta", "response.reasoning.done"} <= kinds
    assert not any("reasoning_text" in kind for kind in kinds)
    assert "1, 2, 3, 4, 5" in text_of(valid(events[-1]["response"]))


def test_websocket_response(server: Gateway) -> None:
    with socket_to(server) as client:
        events = events_for(client, [user("Say hello.")])
    assert events[0]["type"] == "response.created"
    valid(events[-1]["response"])


def test_websocket_sequential_responses(server: Gateway) -> None:
    with socket_to(server) as client:
        ids = {turn(client, [user(f"Say {word}.")])["id"] for word in ("one", "two", "three")}
    assert len(ids) == 3


def test_websocket_continuation(server: Gateway) -> None:
    with socket_to(server) as client:
        first = turn(client, [user("My name is Alice.")], store=False)
        second = turn(
            client, [user("What is my name?")], store=False, previous_response_id=first["id"]
        )
    assert second["previous_response_id"] == first["id"]
    assert "Alice" in text_of(second)


def test_websocket_reconnect_store_false_recovery(server: Gateway) -> None:
    with socket_to(server) as client:
        first = turn(client, [user("My name is Alice.")], store=False)
    with socket_to(server) as client:
        question = [user("What is my name?")]
        error = refused(client, question, store=False, previous_response_id=first["id"])
        assert error["code"] == "previous_response_not_found"
        history = [user("My name is Alice."), assistant("Hello."), *question]
        assert "Alice" in text_of(turn(client, history, store=False))


def test_websocket_previous_response_not_found(server: Gateway) -> None:
    with socket_to(server) as client:
        error = refused(client, [user("Hi")], previous_response_id="resp_does_not_exist")
        assert error["code"] == "previous_response_not_found"
        assert error["message"]
        turn(client, [user("Hi")])


def test_websocket_failed_continuation_evicts_cache(server: Gateway) -> None:
    with socket_to(server) as client:
        first = turn(client, [user("Hi")], store=False)
        orphan = [{"type": "function_call_output", "call_id": "call_missing", "output": "x"}]
        refused(client, orphan, store=False, previous_response_id=first["id"])
        error = refused(client, [user("Hi")], store=False, previous_response_id=first["id"])
    assert error["code"] == "previous_response_not_found"


def test_websocket_compact_new_chain(server: Gateway) -> None:
    with socket_to(server) as client:
        first = turn(client, [user("The code word is quartz.")])
        body = {"model": MODEL, "previous_response_id": first["id"]}
        compacted = server.send("POST", "/v1/responses/compact", body).json
        items = [*compacted["output"], user("What was the code word?")]
        fresh = turn(client, items, store=False)
    assert fresh["previous_response_id"] is None
    assert "quartz" in text_of(fresh)


def test_system_prompt(server: Gateway) -> None:
    instructions = {"type": "message", "role": "system", "content": "Answer in one word."}
    ask(server, [instructions, user("Say hello.")])


def test_tool_calling(server: Gateway) -> None:
    response = ask(server, [user("What's the weather in San Francisco?")], tools=[WEATHER])
    (call,) = [item for item in response["output"] if item["type"] == "function_call"]
    assert call["name"] == "get_weather"
    assert "San Francisco" in json.loads(call["arguments"])["location"]
    assert {"id", "call_id", "status"} <= call.keys()


def test_image_input(server: Gateway) -> None:
    content = [
        {"type": "input_text", "text": "What is in this picture?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
    ]
    ask(server, [user(content)])


def test_multi_turn(server: Gateway) -> None:
    items = [user("My name is Alice."), assistant("Hello Alice!"), user("What is my name?")]
    assert "Alice" in text_of(ask(server, items))


def test_compact_response(server: Gateway) -> None:
    items = [
        user("We agreed to launch on Tuesday and notify support first."),
        assistant("Understood. The launch is Tuesday, with support notified beforehand."),
    ]
    body = {"model": MODEL, "input": items, "prompt_cache_key": "compact-test"}
    answer = server.send("POST", "/v1/responses/compact", body)
    compacted = answer.json
    validator("CompactResource").validate(compacted)
    assert answer.status == 200
    assert compacted["object"] == "response.compaction"
    (item,) = [item for item in compacted["output"] if item["type"] == "compaction"]
    assert item["id"]
    assert item["encrypted_content"]


def test_compact_missing_model(server: Gateway) -> None:
    refused = server.send("POST", "/v1/responses/compact", {"input": [user("Compact this.")]})
    assert 400 <= refused.status < 500
    assert refused.error["param"] == "model"


def test_all_of_them_at_once(server: Gateway) -> None:
    """The suite runs its tests in parallel."""
    failures: list[BaseException] = []

    def run(test: Any) -> None:
        try:
            test(server)
        except BaseException as error:  # noqa: BLE001 - told to the test's thread
            failures.append(error)

    tests = [
        test
        for name, test in globals().items()
        if name.startswith("test_") and test is not test_all_of_them_at_once
    ]
    threads = [threading.Thread(target=run, args=(test,)) for test in tests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(tests) == 17
    assert failures == []
