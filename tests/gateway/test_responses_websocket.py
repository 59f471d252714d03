"""WebSocket on ``/v1/responses``: sequential, with a memory of its own, by the rules of POST."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets")

from tests.api.responses_grammar import check_events
from tests.api.responses_schemas import check_schema_of_event
from tests.gateway.governing import Clock, LogLines, add_key, bearer, with_keys
from tests.gateway.responding import answer, calling, created, said, stored, thought
from tests.gateway.serving import Gate, Gateway, StepEngine, quick
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from antiphon.gateway import wsproto
from antiphon.gateway.responses import websocket as module
from antiphon.settings.model import LimitSettings, ResponsesSettings, Settings

WAIT = 20.0
UPGRADE = (
    b"GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@contextmanager
def connected(gateway: Gateway, path: str = "/v1/responses", **how: Any) -> Iterator[Any]:
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    with connect(url, open_timeout=WAIT, close_timeout=WAIT, compression=None, **how) as client:
        yield client


def ask(client: ClientConnection, text: Any = "Hi", **parameters: Any) -> None:
    message = {"type": "response.create", "model": "m", "input": text, **parameters}
    client.send(json.dumps(message))


def read(client: ClientConnection) -> list[dict[str, Any]]:
    """Events up to a terminal one, or to an error that is no response's."""
    events = []
    while True:
        event = json.loads(client.recv(timeout=WAIT))
        events.append(event)
        if event["type"] == "error":
            return events
        check_schema_of_event(event)
        if event["type"] in ("response.completed", "response.failed", "response.incomplete"):
            if events[0]["sequence_number"] == 0:
                check_events(events)
            return events


def turn(client: ClientConnection, text: Any = "Hi", **parameters: Any) -> dict[str, Any]:
    """One response, or one error."""
    ask(client, text, **parameters)
    last = read(client)[-1]
    return last if last["type"] == "error" else last["response"]


def test_a_response_is_streamed_as_messages() -> None:
    with Gateway(StepEngine(thought("Hm."), answer("Hello."))) as gateway:
        with connected(gateway) as client:
            ask(client)
            events = read(client)
        kept = stored(gateway, events[0]["response"]["id"]).json
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["response"] == kept
    assert said(kept) == "Hello."


def test_one_connection_serves_one_response_after_the_other() -> None:
    engine = StepEngine(answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        for _ in range(3):
            ask(client)
        ids = [read(client)[-1]["response"]["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert engine.running == 0


def test_the_next_waits_until_the_one_before_has_ended() -> None:
    gate = Gate()
    engine = StepEngine(gate, answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        ask(client)
        ask(client)
        assert engine.began.acquire(timeout=WAIT)
        assert json.loads(client.recv(timeout=WAIT))["type"] == "response.created"
        assert not engine.began.acquire(timeout=0.05)
        gate.open()
        while json.loads(client.recv(timeout=WAIT))["type"] != "response.completed":
            pass
        assert read(client)[-1]["type"] == "response.completed"


def test_a_chain_that_is_not_stored_goes_on_within_a_connection_and_not_beyond() -> None:
    engine = StepEngine(answer("Hello."))
    with Gateway(engine) as gateway:
        with connected(gateway) as client:
            first = turn(client, "One", store=False)
            second = turn(client, "Two", store=False, previous_response_id=first["id"])
            assert second["status"] == "completed"
            assert second["previous_response_id"] == first["id"]
        with connected(gateway) as client:
            lost = turn(client, "Three", store=False, previous_response_id=second["id"])
            again = turn(client, "One, two, three", store=False)
    assert lost["error"]["code"] == "previous_response_not_found"
    assert lost["error"]["param"] == "previous_response_id"
    assert lost["status"] == 404
    assert again["status"] == "completed"
    assert engine.requests[1].prompt[: len(engine.requests[0].prompt)] == list(
        engine.requests[0].prompt
    )


def test_a_stored_chain_goes_on_in_another_connection_and_over_post() -> None:
    with Gateway(StepEngine(answer("Hello."))) as gateway:
        with connected(gateway) as client:
            first = turn(client)
        with connected(gateway) as client:
            second = turn(client, "And?", previous_response_id=first["id"])
        third = created(gateway, "So?", previous_response_id=second["id"])
    assert third["status"] == "completed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 17},
        {"model": "nobody"},
        {"input": [{"type": "function_call_output", "call_id": "call_no", "output": "x"}]},
    ],
)
def test_a_continuation_that_fails_forgets_what_it_continued(wrong: dict[str, Any]) -> None:
    with Gateway(StepEngine(answer("Hello."))) as gateway, connected(gateway) as client:
        first = turn(client, store=False)
        failed = turn(client, store=False, previous_response_id=first["id"], **wrong)
        lost = turn(client, store=False, previous_response_id=first["id"])
        fresh = turn(client, store=False)
    assert failed["status"] in (400, 404)
    assert lost["error"]["code"] == "previous_response_not_found"
    assert fresh["status"] == "completed"


def test_a_continuation_that_fails_in_the_middle_forgets_it_too() -> None:
    engine = StepEngine(answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        first = turn(client, store=False)
        engine.steps = [thought("Hm."), RuntimeError("boom")]
        failed = turn(client, store=False, previous_response_id=first["id"])
        engine.steps = [answer("Hello.")]
        lost = turn(client, store=False, previous_response_id=first["id"])
    assert failed["status"] == "failed"
    assert lost["error"]["code"] == "previous_response_not_found"


def test_a_tool_loop_that_is_not_stored_keeps_its_reasoning() -> None:
    engine = StepEngine(thought("I must look."), calling("f", "{}"))
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    with Gateway(engine) as gateway, connected(gateway) as client:
        first = turn(client, store=False, tools=tools)
        call = first["output"][-1]
        engine.steps = [answer("Found.")]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
        turn(client, [result], store=False, tools=tools, previous_response_id=first["id"])
    before = [*engine.requests[0].prompt, *thought("I must look."), *calling("f", "{}")]
    assert engine.requests[1].prompt[: len(before)] == before


def test_a_request_that_generates_nothing_prepares_a_chain() -> None:
    engine = StepEngine(answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        prepared = turn(client, "Remember: 42.", store=False, generate=False)
        turn(client, "What was it?", store=False, previous_response_id=prepared["id"])
    assert (prepared["status"], prepared["output"]) == ("completed", [])
    assert len(engine.requests) == 1
    assert len(engine.requests[0].prompt) > 70


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"type":"response.steer"}', "invalid_value"),
        ("{}", "invalid_value"),
        (b"\x00", "invalid_json"),
        ('{"type":"response.create","model":"m","input":"x","background":true}', None),
        ('{"type":"response.create","model":"m","input":"x","stream_id":"a"}', None),
        ('{"type":"response.create","input":"x"}', "missing_required_parameter"),
    ],
)
def test_a_wrong_message_is_an_error_and_the_connection_goes_on(
    message: Any, code: str | None
) -> None:
    with Gateway(StepEngine(answer("Hello."))) as gateway, connected(gateway) as client:
        client.send(message)
        error = json.loads(client.recv(timeout=WAIT))
        fine = turn(client, stream=True, stream_options={"include_obfuscation": False})
    assert (error["type"], error["status"]) == ("error", 400)
    assert set(error["error"]) == {"type", "code", "message", "param"}
    assert error["error"]["code"] == (code or "unsupported_parameter")
    assert fine["status"] == "completed"


def test_the_queue_of_a_connection_is_bounded() -> None:
    gate = Gate()
    engine = StepEngine(gate, answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        for _ in range(module.MAX_WAITING + 2):
            ask(client)
        while (event := json.loads(client.recv(timeout=WAIT)))["type"] != "error":
            pass
        gate.open()
    assert (event["status"], event["error"]["code"]) == (429, "websocket_queue_full")


def test_rate_limits_count_each_message() -> None:
    settings = Settings(limits=LimitSettings(requests_per_minute=2))
    clock = Clock()
    with (
        Gateway(StepEngine(answer("Hello.")), settings, clock=clock) as gateway,
        connected(gateway) as client,
    ):
        fine = [turn(client)["status"] for _ in range(2)]
        refused = turn(client)
    assert fine == ["completed", "completed"]
    assert (refused["status"], refused["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused["error"]["headers"]["retry-after"]) > 0


def test_each_message_is_logged_and_counted_as_a_request() -> None:
    lines = LogLines()
    with Gateway(StepEngine(answer("Hello.")), log=lines.log) as gateway:
        with connected(gateway) as client:
            turn(client)
            turn(client, temperature=17)
        metrics = gateway.send("GET", "/metrics").body.decode()
    logged = [line for line in lines.lines("request") if line["route"] == "/v1/responses"]
    assert [line["status"] for line in logged] == [200, 400, 101]
    assert logged[0]["completion_tokens"] > 0
    assert 'antiphon_turns_total{finish="stop"' in metrics


def refused(gateway: Gateway, **how: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as caught, connected(gateway, **how):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"")["error"]


def test_web_pages_and_foreign_names_are_turned_away_as_from_post() -> None:
    with Gateway(StepEngine()) as gateway:
        page = refused(gateway, origin="https://evil.example")
        name = gateway.raw(UPGRADE.replace(b"localhost", b"evil.example"))
    assert (page[0], page[1]["code"]) == (403, "origin_not_allowed")
    assert name.startswith(b"HTTP/1.1 403")
    assert b"host_not_allowed" in name


def test_a_key_is_needed_once_there_are_any_and_is_looked_at_for_each_message(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys.toml"
    secret = add_key(file, models=("other",))
    good = add_key(file, "good")
    with Gateway(StepEngine(answer("Hello.")), with_keys(file)) as gateway:
        nobody = refused(gateway)
        wrong = refused(gateway, additional_headers=bearer("sk-wrong"))
        with connected(gateway, additional_headers=bearer(secret)) as client:
            forbidden = turn(client)
        with connected(gateway, additional_headers=bearer(good)) as client:
            mine = turn(client)
        with connected(gateway, additional_headers=bearer(secret)) as client:
            theirs = turn(client, previous_response_id=mine["id"])
    assert (nobody[0], wrong[0]) == (401, 401)
    assert forbidden["error"]["code"] == "model_not_allowed"
    assert theirs["error"]["code"] in ("model_not_allowed", "previous_response_not_found")


def test_a_key_that_is_taken_away_ends_the_use_of_open_connections(tmp_path: Path) -> None:
    from antiphon.gateway.keyfile import KeyFile

    file = tmp_path / "keys.toml"
    secret = add_key(file, "gone")
    add_key(file, "other")
    clock = Clock()
    with (
        Gateway(StepEngine(answer("Hello.")), with_keys(file), clock=clock) as gateway,
        connected(gateway, additional_headers=bearer(secret)) as client,
    ):
        assert turn(client)["status"] == "completed"
        KeyFile(file).revoke("gone")
        clock.time += 10
        error = turn(client)
    assert (error["status"], error["error"]["code"]) == (401, "invalid_api_key")


def test_only_one_path_speaks_websocket() -> None:
    with Gateway(StepEngine()) as gateway, gateway.socket() as connection:
        connection.sendall(UPGRADE.replace(b"responses", b"models"))
        got = connection.recv(65536)
    assert got.startswith(b"HTTP/1.1 200")


def test_connections_are_bounded() -> None:
    settings = Settings(responses=ResponsesSettings(sockets=1))
    with Gateway(StepEngine(), settings) as gateway:
        with connected(gateway):
            assert refused(gateway)[0] == 503
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            try:
                with connected(gateway):
                    break
            except InvalidStatus:
                pass


def test_a_connection_lasts_for_an_hour() -> None:
    clock = Clock()
    with (
        Gateway(StepEngine(answer("Hello.")), clock=clock) as gateway,
        connected(gateway) as client,
    ):
        assert turn(client)["status"] == "completed"
        clock.time += module.CONNECTION_SECONDS
        error = turn(client)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=WAIT)
    assert error["error"]["code"] == "websocket_connection_limit_reached"


def test_pings_are_answered_while_the_model_works() -> None:
    gate = Gate()
    with Gateway(StepEngine(gate, answer("Hello."))) as gateway, connected(gateway) as client:
        ask(client)
        assert client.ping().wait(WAIT)
        gate.open()
        assert read(client)[-1]["type"] == "response.completed"


def test_a_client_that_leaves_ends_the_work() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine) as gateway:
        with connected(gateway) as client:
            ask(client)
            assert engine.began.acquire(timeout=WAIT)
        assert engine.ended.acquire(timeout=WAIT)


def test_half_a_connection_is_noticed_and_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's machine is gone: nothing is answered, and no end is told."""
    monkeypatch.setattr("antiphon.gateway.server.PING_SECONDS", 0.1)
    monkeypatch.setattr("antiphon.gateway.server.PONG_SECONDS", 0.1)
    engine = StepEngine(thought("Hm."), Gate())
    with Gateway(engine) as gateway:
        raw = socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT)
        raw.sendall(UPGRADE)
        assert raw.recv(4096).startswith(b"HTTP/1.1 101")
        message = b'{"type":"response.create","model":"m","input":"Hi"}'
        mask = b"\0\0\0\0"
        raw.sendall(bytes([0x81, 0x80 | len(message)]) + mask + message)
        assert engine.began.acquire(timeout=WAIT)
        assert engine.ended.acquire(timeout=WAIT)
        raw.close()


def test_a_server_that_stops_lets_a_response_finish_and_says_goodbye() -> None:
    gate = Gate()
    engine = StepEngine(gate, answer("Hello."))
    with Gateway(engine) as gateway, connected(gateway) as client:
        ask(client)
        assert engine.began.acquire(timeout=WAIT)
        gateway.stop()
        gate.open()
        assert read(client)[-1]["type"] == "response.completed"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=WAIT)
        gateway.join()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_a_server_that_stops_now_fails_the_response() -> None:
    engine = StepEngine(thought("Hm."), Gate())
    with (
        Gateway(engine, quick(shutdown_seconds=0.1)) as gateway,
        connected(gateway) as client,
    ):
        ask(client)
        assert engine.began.acquire(timeout=WAIT)
        gateway.stop()
        last = json.loads(client.recv(timeout=WAIT))
        events = [last, *read(client)]
        gateway.join()
    check_events(events)
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"


def test_the_limits_of_a_silent_client_are_bearable() -> None:
    assert wsproto.PING_SECONDS + wsproto.PONG_SECONDS <= 60
