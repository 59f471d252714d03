"""POST /v1/responses: whole answers and streams, over a real socket."""

from __future__ import annotations

import json
from typing import Any

from tests.gateway.serving import Answer, Gateway, StepEngine, final


def create(gateway: Gateway, text: Any = "Hi", **parameters: Any) -> Answer:
    body = {"model": "m", "input": text, **parameters}
    return gateway.send("POST", "/v1/responses", body)


def events_of(answer: Answer) -> list[dict[str, Any]]:
    frames = [f for f in answer.body.decode().split("\n\n") if f and not f.startswith(":")]
    assert frames.pop() == "data: [DONE]"
    found = []
    for frame in frames:
        name, data = frame.split("\n", 1)
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def test_an_answer_is_a_response_object() -> None:
    with Gateway(StepEngine(final("Hello."))) as gateway:
        answer = create(gateway)
    assert answer.status == 200, answer.body
    body = answer.json
    assert body["object"] == "response"
    assert body["status"] == "completed"
    assert body["output"][-1]["content"][0]["text"] == "Hello."
    assert body["id"].startswith("resp_")


def test_a_stream_ends_with_the_same_object() -> None:
    with Gateway(StepEngine(final("Hello."))) as gateway:
        answer = create(gateway, stream=True)
        events = events_of(answer)
        stored = gateway.send("GET", f"/v1/responses/{events[0]['response']['id']}").json
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[1]["type"] == "response.in_progress"
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"] == stored
