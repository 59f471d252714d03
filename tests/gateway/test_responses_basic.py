"""``POST /v1/responses``: whole answers and streams, and what is kept of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.api.responses_grammar import read_sse
from tests.gateway.responding import (
    PATH,
    WEATHER,
    answer,
    calling,
    checked_events,
    create,
    created,
    said,
    stored,
    streamed,
    thought,
)
from tests.gateway.serving import Gate, Gateway, StepEngine, quick

from antiphon.api.errors import ApiError
from antiphon.errors import EngineError, StoreError
from antiphon.settings.model import MemorySettings, ResponsesSettings, Settings
from antiphon.store.memory_records import MemoryRecords
from antiphon.store.open import Stores, memory_stores

ENGINE = (thought("Hm."), answer("Hello."))


def test_an_answer_is_a_response_object() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        response = created(gateway, metadata={"a": "b"})
        kept = stored(gateway, response["id"]).json
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert said(response) == "Hello."
    assert response["metadata"] == {"a": "b"}
    assert kept == response


def test_a_stream_ends_with_what_is_kept() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        events = streamed(gateway)
        kept = stored(gateway, events[0]["response"]["id"]).json
    assert events[-1]["response"] == kept
    assert said(kept) == "Hello."


def test_a_stream_and_a_whole_answer_say_the_same() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        whole = created(gateway)
        final = streamed(gateway)[-1]["response"]
    assert [item["content"] for item in whole["output"]] == [
        item["content"] for item in final["output"]
    ]
    assert whole["usage"] == final["usage"]


def test_what_was_streamed_can_be_replayed_from_any_event() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        events = streamed(gateway)
        id_ = events[0]["response"]["id"]
        assert checked_events(stored(gateway, id_, "?stream=true")) == events
        for after in range(len(events)):
            query = f"?stream=true&starting_after={after}"
            assert read_sse(stored(gateway, id_, query).body) == events[after + 1 :]


def test_what_was_not_streamed_can_be_replayed_too() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        response = created(gateway)
        events = checked_events(stored(gateway, response["id"], "?stream=true"))
    assert events[-1]["response"] == response
    assert len(events) < 20


def test_a_call_is_streamed_and_its_result_answered() -> None:
    engine = StepEngine(thought("Look."), calling("get_weather", '{"city":"Oslo"}'))
    with Gateway(engine) as gateway:
        response = streamed(gateway, tools=[WEATHER])[-1]["response"]
        call = response["output"][-1]
        engine.steps = [answer("Rain.")]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        after = created(
            gateway, [result], tools=[WEATHER], previous_response_id=response["id"], stream=False
        )
    assert (call["type"], call["arguments"]) == ("function_call", '{"city":"Oslo"}')
    assert said(after) == "Rain."


def test_a_response_that_is_not_to_be_stored_is_not() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        whole = created(gateway, store=False)
        final = streamed(gateway, store=False)[-1]["response"]
        lost = [stored(gateway, each["id"]) for each in (whole, final)]
    assert [each.status for each in lost] == [404, 404]
    assert lost[0].error["code"] == "not_found"


def test_a_deleted_response_is_gone_with_its_events() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        path = f"{PATH}/{created(gateway)['id']}"
        deleted = gateway.send("DELETE", path).json
        lost = [
            gateway.send("GET", path),
            gateway.send("GET", f"{path}?stream=true"),
            gateway.send("GET", f"{path}/input_items"),
            gateway.send("POST", f"{path}/cancel", {}),
            gateway.send("DELETE", path),
        ]
    assert deleted["deleted"] is True
    assert [each.status for each in lost] == [404] * 5


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "Hi"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": "Hi", "temperature": 9}, "temperature"),
        ({"model": "m", "input": "Hi", "previous_response_id": "a", "conversation": "b"}, None),
        ({"model": "m", "input": "Hi", "background": True, "store": False}, "background"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_a_400_that_names_what_is_wrong(
    body: dict[str, Any], param: str | None, stream: bool
) -> None:
    with Gateway(StepEngine()) as gateway:
        refused = gateway.send("POST", PATH, {**body, "stream": stream})
    assert refused.status == 400
    assert param is None or refused.error["param"] == param


def test_an_unknown_model_is_a_404() -> None:
    with Gateway(StepEngine()) as gateway:
        refused = gateway.send("POST", PATH, {"model": "x", "input": "Hi"})
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")


def test_an_engine_that_fails_is_a_status_without_a_stream_and_a_last_event_with_one() -> None:
    engine = StepEngine(thought("Hm."), EngineError("gone"))
    with Gateway(engine) as gateway:
        whole = create(gateway)
        events = streamed(gateway)
        kept = stored(gateway, events[0]["response"]["id"]).json
        replayed = checked_events(stored(gateway, kept["id"], "?stream=true"))
    assert (whole.status, whole.error["type"]) == (502, "engine_error")
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert kept == events[-1]["response"]
    assert replayed == events


def test_a_prompt_that_is_too_long_is_told_so_that_clients_can_tell() -> None:
    text = "word " * 140_000
    with Gateway(StepEngine(answer("No."))) as gateway:
        whole = create(gateway, text)
        events = streamed(gateway, text)
    assert (whole.status, whole.error["code"]) == (400, "context_length_exceeded")
    assert whole.error["param"] == "input"
    assert events[-1]["response"]["error"]["code"] == "context_length_exceeded"


def test_truncation_drops_the_oldest_turns_instead() -> None:
    long = "word " * 100_000
    items = [{"role": "user", "content": each} for each in (f"first {long}", f"second {long}")]
    items.insert(1, {"role": "assistant", "content": "Yes."})
    engine = StepEngine(answer("Fine."))
    with Gateway(engine) as gateway:
        response = created(gateway, items, truncation="auto")
    assert said(response) == "Fine."
    assert response["truncation"] == "auto"
    assert len(engine.requests[0].prompt) < 120_000


def test_the_dialect_of_reasoning_events_is_a_setting_and_a_header() -> None:
    def kinds(events: list[dict[str, Any]]) -> set[str]:
        return {event["type"] for event in events if "reasoning" in event["type"]}

    theirs = {"response.reasoning.delta", "response.reasoning.done"}
    ours = {"response.reasoning_text.delta", "response.reasoning_text.done"}
    header = "antiphon-reasoning-events"
    with Gateway(StepEngine(*ENGINE)) as gateway:
        assert kinds(streamed(gateway)) == ours
        assert kinds(streamed(gateway, headers={header: "reasoning"})) == theirs
        refused = create(gateway, headers={header: "loud"})
    assert (refused.status, refused.error["param"]) == (400, header)
    settings = Settings(responses=ResponsesSettings(reasoning_events="reasoning"))
    with Gateway(StepEngine(*ENGINE), settings) as gateway:
        assert kinds(streamed(gateway)) == theirs
        assert kinds(streamed(gateway, headers={header: "reasoning_text"})) == ours


def test_silence_is_broken_by_comments() -> None:
    gate = Gate()
    with Gateway(StepEngine(gate, answer("Hi.")), quick(keepalive_seconds=0.02)) as gateway:
        connection = gateway.connect()
        body = b'{"model":"m","input":"Hi","stream":true}'
        connection.request("POST", PATH, body, {"content-type": "application/json"})
        response = connection.getresponse()
        seen = b""
        while b": keep-alive" not in seen:
            seen += response.read1(1000)
        gate.open()
        rest = response.read()
        connection.close()
    assert b"response.completed" in rest


def test_a_client_that_leaves_cancels_its_response() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine) as gateway:
        connection = gateway.connect()
        body = b'{"model":"m","input":"Hi","stream":true}'
        connection.request("POST", PATH, body, {"content-type": "application/json"})
        response = connection.getresponse()
        seen = b""
        while b"response.reasoning_text.delta" not in seen:
            seen += response.read1(1000)
        connection.sock.close()
        response.close()
        connection.close()
        assert engine.ended.acquire(timeout=20)
        id_ = seen.split(b'"id":"', 1)[1].split(b'"', 1)[0].decode()
        kept = wait_for_end(gateway, id_)
        replayed = checked_events(stored(gateway, id_, "?stream=true"))
    assert kept["status"] == "cancelled"
    assert replayed[-1]["response"] == kept


def wait_for_end(gateway: Gateway, id: str) -> dict[str, Any]:
    """The response once it has ended."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        kept: dict[str, Any] = stored(gateway, id).json
        if kept["status"] not in ("queued", "in_progress"):
            return kept
    raise AssertionError("it does not end")


class _Failing(MemoryRecords):
    """Fails after so many writes of records."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    async def put(self, *args: Any, **how: Any) -> bool:
        self.writes -= 1
        if self.writes < 0:
            raise StoreError("the disk is on fire")
        return await super().put(*args, **how)


def _failing(writes: int) -> Stores:
    good = memory_stores(Settings())
    return Stores(good.state, _Failing(writes), good.sealer, keeper=None, ttl_days=0)


def test_a_response_whose_end_cannot_be_stored_has_failed() -> None:
    with Gateway(StepEngine(*ENGINE), stores=_failing(1)) as gateway:
        events = streamed(gateway)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "store_unavailable"
    assert "fire" not in str(events)


def test_a_response_whose_beginning_cannot_be_stored_is_a_503() -> None:
    with Gateway(StepEngine(*ENGINE), stores=_failing(0)) as gateway:
        refused = [create(gateway, stream=stream) for stream in (False, True)]
    assert [(each.status, each.error["code"]) for each in refused] == [
        (503, "store_unavailable")
    ] * 2


def test_input_items_are_listed_with_ids_page_by_page() -> None:
    given = [
        {"role": "user", "content": "One"},
        {"type": "message", "role": "assistant", "content": "Two", "phase": "final_answer"},
        {"role": "user", "content": [{"type": "input_text", "text": "Three"}], "id": "msg_mine"},
    ]
    with Gateway(StepEngine(*ENGINE)) as gateway:
        path = f"{PATH}/{created(gateway, given)['id']}/input_items"
        newest = gateway.send("GET", path).json
        first = gateway.send("GET", f"{path}?order=asc&limit=2").json
        rest = gateway.send("GET", f"{path}?order=asc&after={first['last_id']}").json
        wrong = [gateway.send("GET", f"{path}?{q}") for q in ("limit=0", "order=up", "include=x")]
    texts = [item["content"][0]["text"] for item in newest["data"]]
    assert texts == ["Three", "Two", "One"]
    assert newest["data"][0]["id"] == "msg_mine"
    assert first["has_more"] is True
    assert [item["id"] for item in first["data"] + rest["data"]] == [
        item["id"] for item in reversed(newest["data"])
    ]
    assert [each.status for each in wrong] == [400, 400, 400]


def test_input_tokens_are_counted_without_the_model() -> None:
    engine = StepEngine(*ENGINE)
    with Gateway(engine) as gateway:
        counted = gateway.send("POST", f"{PATH}/input_tokens", {"model": "m", "input": "Hi"}).json
        response = created(gateway)
        more = gateway.send(
            "POST",
            f"{PATH}/input_tokens",
            {"model": "m", "input": "And?", "previous_response_id": response["id"]},
        ).json
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] == response["usage"]["input_tokens"]
    assert more["input_tokens"] > counted["input_tokens"]
    assert len(engine.requests) == 1


def test_reasoning_is_sealed_for_those_who_ask_and_opens_again() -> None:
    engine = StepEngine(thought("The secret is 42."), calling("get_weather", "{}"))
    include = ["reasoning.encrypted_content"]
    settings = Settings(memory=MemorySettings(enabled=False))
    with Gateway(engine, settings) as gateway:
        response = created(gateway, store=False, include=include, tools=[WEATHER])
        reasoning, call = response["output"]
        del reasoning["content"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        history = [{"role": "user", "content": "Hi"}, reasoning, call, result]
        engine.steps = [answer("Rain.")]
        created(gateway, history, store=False, tools=[WEATHER])
        spoilt = {**reasoning, "encrypted_content": "AAAA"}
        history[1] = spoilt
        ignored = create(gateway, history, store=False, tools=[WEATHER])
    from antiphon.vocab.table import token_bytes

    prompt = b"".join(token_bytes(token) or b"" for token in engine.requests[1].prompt).decode()
    assert "The secret is 42." in prompt
    assert "secret" not in reasoning["encrypted_content"]
    assert ignored.headers["antiphon-ignored"] == "input[1].encrypted_content"


def test_sealed_reasoning_can_be_had_later() -> None:
    with Gateway(StepEngine(*ENGINE)) as gateway:
        id_ = created(gateway)["id"]
        plain = stored(gateway, id_).json["output"][0]
        sealed = stored(gateway, id_, "?include[]=reasoning.encrypted_content").json["output"][0]
    assert "encrypted_content" not in plain
    assert sealed["encrypted_content"]


def test_rate_limits_and_refusals_are_those_of_chat() -> None:
    from antiphon.settings.model import LimitSettings

    settings = Settings(limits=LimitSettings(requests_per_minute=1))
    with Gateway(StepEngine(*ENGINE), settings) as gateway:
        first, second = create(gateway), create(gateway)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert (second.status, second.error["code"]) == (429, "rate_limit_exceeded")


def test_an_error_of_a_turn_names_the_parameter_of_this_api() -> None:
    error = ApiError("max_tokens: too few", param="max_tokens")
    with Gateway(StepEngine(error)) as gateway:
        refused = create(gateway)
    assert refused.error["param"] == "max_output_tokens"
