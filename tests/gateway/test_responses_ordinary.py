"""Ordinary models over the Responses API: the engine's chat deltas, folded into responses."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.chat import ANSWER
from tests.fakes.wire import Faults
from tests.gateway.responding import PATH, WEATHER, create, created, said, stored, streamed
from tests.gateway.serving import Gateway, StepEngine
from tests.gateway.test_app_engines import served

from antiphon.settings.model import Settings, TurnSettings

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 6,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int, id: str | None = None, name: str | None = None, text: str = "") -> Any:
    function = {key: value for key, value in (("name", name), ("arguments", text)) if value}
    return {"index": index, "function": function, **({"id": id} if id else {})}


class _Answer:
    def __init__(self, status: int, pieces: list[bytes]) -> None:
        self.status = status
        self._pieces = pieces

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece


class Chat:
    """An engine's own routes, that answer every chat with these chunks."""

    name = "the engine"
    model = None

    def __init__(self, *chunks: Any, status: int = 200) -> None:
        self.chunks: list[Any] = list(chunks)
        self.status = status
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def open(self, path: str, body: bytes, **how: Any) -> AsyncGenerator[_Answer, None]:
        assert path == "/v1/chat/completions"
        self.asked.append(json.loads(body))
        if self.status != 200:
            yield _Answer(self.status, [json.dumps(self.chunks[0]).encode()])
            return
        frames = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in self.chunks]
        yield _Answer(200, [*frames, b"data: [DONE]\n\n"])


def over(chat: Chat, settings: Settings | None = None, **how: Any) -> Gateway:
    return Gateway(StepEngine(), settings, gpt_oss=False, passthrough=chat, **how)


THINKS = (
    delta(role="assistant", content=""),
    delta(reasoning_content="Let me "),
    delta(reasoning_content="see."),
    delta(content="Hello"),
    delta(content=" there."),
    delta("stop"),
    {"choices": [], "usage": USAGE},
)
CALLS = (
    delta(reasoning="Two cities."),
    delta(tool_calls=[call(0, "call_a", "get_weather")]),
    delta(tool_calls=[call(0, text='{"city":')]),
    delta(tool_calls=[call(0, text='"Oslo"}')]),
    delta(tool_calls=[call(1, "call_b", "get_weather", '{"city":"Rome"}')]),
    delta("tool_calls"),
)


def test_reasoning_and_answer_become_items() -> None:
    chat = Chat(*THINKS)
    with over(chat) as gateway:
        whole = created(
            gateway, "Hi", instructions="Be kind.", temperature=0.5, max_output_tokens=9
        )
        events = streamed(gateway)
        kept = stored(gateway, whole["id"]).json
    assert [item["type"] for item in whole["output"]] == ["reasoning", "message"]
    assert whole["output"][0]["content"][0]["text"] == "Let me see."
    assert said(whole) == "Hello there."
    assert whole["usage"]["input_tokens"] == 9
    assert whole["usage"]["input_tokens_details"]["cached_tokens"] == 4
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 2
    assert said(events[-1]["response"]) == "Hello there."
    assert kept == whole
    asked = chat.asked[0]
    assert asked["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]
    assert (asked["temperature"], asked["max_tokens"], asked["stream"]) == (0.5, 9, True)


def test_calls_become_items_and_their_results_go_back() -> None:
    chat = Chat(*CALLS)
    with over(chat) as gateway:
        first = streamed(gateway, tools=[WEATHER])[-1]["response"]
        calls = first["output"][1:]
        chat.chunks = list(THINKS)
        results = [
            {"type": "function_call_output", "call_id": each["call_id"], "output": each["call_id"]}
            for each in calls
        ]
        created(gateway, results, tools=[WEATHER], previous_response_id=first["id"])
    assert [each["arguments"] for each in calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    assert [each["call_id"] for each in calls] == ["call_a", "call_b"]
    _, assistant, one, two = chat.asked[1]["messages"]
    assert assistant["reasoning_content"] == "Two cities."
    assert [each["id"] for each in assistant["tool_calls"]] == ["call_a", "call_b"]
    assert (one["tool_call_id"], one["content"]) == ("call_a", "call_a")
    assert (two["tool_call_id"], two["content"]) == ("call_b", "call_b")


def test_a_call_that_came_whole_and_calls_that_share_a_number_are_told_apart() -> None:
    chat = Chat(
        delta(tool_calls=[call(0, "a", "f", "{}")]),
        delta(tool_calls=[call(0, "b", "f", '{"x":1}')]),
        delta("tool_calls"),
    )
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    with over(chat) as gateway:
        response = created(gateway, tools=[tool])
    assert [item["arguments"] for item in response["output"]] == ["{}", '{"x":1}']


def test_a_custom_tools_input_is_taken_out_of_its_wrapping() -> None:
    chat = Chat(
        delta(tool_calls=[call(0, "a", "apply", '{"input": "*** Begin')]),
        delta(tool_calls=[call(0, text='\\nEnd"}')]),
        delta("tool_calls"),
    )
    with over(chat) as gateway:
        response = streamed(gateway, tools=[{"type": "custom", "name": "apply"}])[-1]["response"]
    (item,) = response["output"]
    assert (item["type"], item["input"]) == ("custom_tool_call", "*** Begin\nEnd")
    assert chat.asked[0]["tools"][0]["function"]["parameters"]["required"] == ["input"]


def test_names_that_engines_do_not_take_are_aliased_there_and_back() -> None:
    chat = Chat(delta(tool_calls=[call(0, "a", "use_my_tool", "{}")]), delta("tool_calls"))
    tool = {"type": "function", "name": "my tool", "parameters": {"type": "object"}}
    with over(chat) as gateway:
        (offered,) = _offered(gateway, chat, tool)
        chat.chunks = [delta(tool_calls=[call(0, "a", offered, "{}")]), delta("tool_calls")]
        response = created(gateway, tools=[tool])
    assert " " not in offered
    assert response["output"][0]["name"] == "my tool"


def _offered(gateway: Gateway, chat: Chat, tool: dict[str, Any]) -> list[str]:
    chat.chunks = list(THINKS)
    created(gateway, tools=[tool])
    return [each["function"]["name"] for each in chat.asked[-1]["tools"]]


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tool_choice": {"type": "function", "name": "get_weather"}},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
        ),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False, "tool_choice": "auto"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        ({"top_p": 0.25}, {"top_p": 0.25}),
    ],
)
def test_parameters_are_handed_on(parameters: dict[str, Any], asked: dict[str, Any]) -> None:
    chat = Chat(*THINKS)
    with over(chat) as gateway:
        assert create(gateway, "Hi, in JSON.", tools=[WEATHER], **parameters).status == 200
    assert {name: chat.asked[0][name] for name in asked} == asked


def test_no_tools_are_offered_where_none_may_be_called() -> None:
    chat = Chat(*THINKS)
    with over(chat) as gateway:
        create(gateway, tools=[WEATHER], tool_choice="none")
    assert "tools" not in chat.asked[0]


def test_an_answer_that_is_cut_off_is_incomplete() -> None:
    with over(Chat(delta(content="Hel"), delta("length"))) as gateway:
        events = streamed(gateway)
    response = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"


def test_what_the_engine_refuses_is_told_in_its_words() -> None:
    error = {"error": {"message": "too long for me", "code": "context_length_exceeded"}}
    with over(Chat(error, status=400)) as gateway:
        whole = create(gateway)
        events = streamed(gateway)
    assert (whole.status, whole.error["code"]) == (400, "context_length_exceeded")
    assert "too long for me" in whole.error["message"]
    assert events[-1]["response"]["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("status", [401, 500, 503])
def test_an_engine_that_fails_is_a_502(status: int) -> None:
    with over(Chat({"error": "secret details"}, status=status)) as gateway:
        answer = create(gateway)
    assert (answer.status, answer.error["type"]) == (502, "engine_error")


@pytest.mark.parametrize(
    "chunks",
    [
        (delta(content="Hel"),),
        (delta(content="Hel"), {"error": {"message": "out of memory"}}),
        (delta(content="Hel"), "nonsense"),
        (delta(content="Hel"), {"choices": [{"delta": {"content": 7}}]}),
    ],
)
def test_a_stream_that_breaks_off_or_makes_no_sense_has_failed(chunks: tuple[Any, ...]) -> None:
    with over(Chat(*chunks)) as gateway:
        events = streamed(gateway)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_background_and_chains_work_as_for_gpt_oss() -> None:
    chat = Chat(*THINKS)
    with over(chat) as gateway:
        first = create(gateway, "One", background=True).json
        while first["status"] in ("queued", "in_progress"):
            first = stored(gateway, first["id"]).json
        second = created(gateway, "Two", previous_response_id=first["id"])
        compacted = gateway.send(
            "POST", f"{PATH}/compact", {"model": "m", "previous_response_id": second["id"]}
        )
    texts = [message["content"] for message in chat.asked[1]["messages"]]
    assert texts == ["One", "Hello there.", "Two"]
    assert compacted.json["output"][0]["type"] == "compaction"


def test_a_real_route_over_a_real_socket() -> None:
    with served(harmony=False) as (gateway, _):
        assert said(created(gateway)) == ANSWER
        assert said(streamed(gateway)[-1]["response"]) == ANSWER


@pytest.mark.parametrize(
    "faults",
    [Faults(die_after=2), Faults(hang=2), Faults(status=500, body="<html>"), Faults(garbage=2)],
)
def test_whatever_the_engine_does_the_client_is_told(faults: Faults) -> None:
    idle = Settings(turn=TurnSettings(idle_seconds=0.6))
    with served(faults, idle, harmony=False) as (gateway, fake):
        events = streamed(gateway)
        fake.faults = Faults()
        again = created(gateway)
    assert events[-1]["type"] == "response.failed"
    assert said(again) == ANSWER
