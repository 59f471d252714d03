"""`antiphon serve --engine scripted:FILE`: what a trace does to a client, over a real socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.serving import Serving, serving

pytest.importorskip("starlette")

LINES = [
    {"when": {"user": "die"}, "emit": "<|channel|>final<|message|>one two three", "die_after": 5},
    {"when": {"user": "busy"}, "status": 503, "body": "no slot is free"},
    {"when": {"user": "once"}, "emit": "<|channel|>final<|message|>first<|return|>", "times": 1},
    {
        "when": {"user": "weather", "step": 0},
        "emit": "<|channel|>commentary to=functions.get_weather json<|message|>"
        "{'city': 'Oslo'<|call|>",
    },
    {"when": {"after_tool": "get_weather"}, "emit": "<|channel|>final<|message|>Rain.<|return|>"},
]
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object"}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("traced")
    trace = folder / "trace.jsonl"
    trace.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    with serving(folder, "--engine", f"scripted:{trace}") as running:
        yield running


def chat(server: Serving, text: str, *more: Any, **options: Any) -> Any:
    messages = [{"role": "user", "content": text}, *more]
    return server.post(
        "/v1/chat/completions", {"model": "any-name", "messages": messages, **options}
    )


def frames(server: Serving, text: str) -> list[Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True}
    request = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = [line.decode().rstrip("\n") for line in answer]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(text) for text in data]


def test_a_completion_that_breaks_off_ends_in_an_error_event(server: Serving) -> None:
    *chunks, error = frames(server, "die now")
    text = "".join([c["choices"][0]["delta"].get("content") or "" for c in chunks])
    assert text == "one two"
    assert "broke off" in error["error"]["message"]


def test_a_refusal_reaches_the_client_with_its_status(server: Serving) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        frames(server, "too busy?")
    with refused.value as answer:
        assert answer.status == 503
        assert "no slot is free" in json.load(answer)["error"]["message"]


def test_a_line_that_is_used_up_leaves_the_rest_to_the_rules(server: Serving) -> None:
    told = [chat(server, "Say exactly: once")["choices"][0]["message"]["content"] for _ in range(2)]
    assert told == ["first", "once"]


def test_a_faulty_call_is_mended_and_its_result_answered(server: Serving) -> None:
    message = chat(server, "The weather?", tools=[WEATHER])["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    answer = chat(server, "The weather?", message, result, tools=[WEATHER])
    assert answer["choices"][0]["message"]["content"] == "Rain."
