"""Responses in the background: they run on by themselves, are followed, cancelled, and found."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from typing import Any

import pytest
from tests.api.responses_grammar import check_events, read_sse
from tests.gateway.governing import Clock, add_key, bearer, with_keys
from tests.gateway.responding import (
    PATH,
    answer,
    checked,
    checked_events,
    create,
    said,
    stored,
    thought,
)
from tests.gateway.serving import Gate, Gateway, StepEngine, quick

from antiphon.gateway.responses import caretaker
from antiphon.gateway.responses.caretaker import Caretaker
from antiphon.gateway.responses.live import Running
from antiphon.settings.model import LimitSettings, ResponsesSettings, Settings
from antiphon.store.open import memory_stores
from antiphon.store.records import Record

WAIT = 20.0


def until_ended(gateway: Gateway, id: str, **how: Any) -> dict[str, Any]:
    """The response once it has ended."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        kept: dict[str, Any] = stored(gateway, id, **how).json
        if kept["status"] not in ("queued", "in_progress"):
            return checked(kept)
    raise AssertionError("it does not end")


def begin(gateway: Gateway, **how: Any) -> dict[str, Any]:
    got = create(gateway, background=True, **how)
    assert got.status == 200, got.body
    response = checked(got.json)
    assert response["status"] == "queued"
    return response


def test_it_is_queued_then_in_progress_then_done() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate, answer("Done."))
    with Gateway(engine) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        while stored(gateway, id_).json["status"] == "queued":
            pass
        running = checked(stored(gateway, id_).json)
        gate.open()
        done = until_ended(gateway, id_)
        events = checked_events(stored(gateway, id_, "?stream=true"))
    assert running["status"] == "in_progress"
    assert (done["status"], said(done)) == ("completed", "Done.")
    assert done["background"] is True
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    assert events[-1]["response"] == done


def test_it_runs_on_when_its_client_goes_and_its_stream_is_taken_up_again() -> None:
    gate = Gate()
    engine = StepEngine(thought("One two three four."), gate, answer("Done."))
    with Gateway(engine) as gateway:
        connection = gateway.connect()
        body = {"model": "m", "input": "Hi", "background": True, "stream": True}
        connection.request(
            "POST", PATH, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        seen = b""
        while b"response.reasoning_text.delta" not in seen:
            seen += response.read1(1000)
        assert connection.sock is not None
        connection.sock.close()
        response.close()
        connection.close()
        whole = seen[: seen.rindex(b"\n\n") + 2]
        first = read_sse(whole + b"data: [DONE]\n\n")
        id_, last = first[0]["response"]["id"], first[-1]["sequence_number"]
        threading.Timer(0.05, gate.open).start()
        rest = read_sse(stored(gateway, id_, f"?stream=true&starting_after={last}").body)
    check_events(first + rest)
    assert rest[0]["sequence_number"] == last + 1
    assert rest[-1]["type"] == "response.completed"


def test_a_follower_that_goes_is_noticed_with_a_body_that_nobody_reads() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        with gateway.socket() as connection:
            head = f"GET {PATH}/{id_}?stream=true HTTP/1.1\r\nhost: localhost\r\n"
            connection.sendall(f"{head}content-length: 400000\r\n\r\n".encode())
            assert connection.recv(65536)
            connection.sendall(b"x" * 400_000)
        until = time.monotonic() + 5.0  # Before the next comment that keeps the connection alive.
        while gateway.server.server_state.tasks and time.monotonic() < until:
            time.sleep(0.01)
        assert not gateway.server.server_state.tasks
        gate.open()


def test_several_clients_can_follow_one_response() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate, answer("Done."))
    with Gateway(engine) as gateway:
        id_ = begin(gateway)["id"]
        bodies: list[bytes] = []
        threads = [
            threading.Thread(
                target=lambda: bodies.append(stored(gateway, id_, "?stream=true").body)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        gate.open()
        for thread in threads:
            thread.join(WAIT)
    streams = [read_sse(body) for body in bodies]
    assert len(streams) == 4
    assert all(stream == streams[0] for stream in streams)
    check_events(streams[0])


def test_it_can_be_cancelled_at_any_time_and_again() -> None:
    gate = Gate()
    engine = StepEngine(thought("One two three."), gate)
    with Gateway(engine) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        cancelled = gateway.send("POST", f"{PATH}/{id_}/cancel", {})
        again = gateway.send("POST", f"{PATH}/{id_}/cancel", {})
        assert engine.ended.acquire(timeout=WAIT)
        events = checked_events(stored(gateway, id_, "?stream=true"))
    assert checked(cancelled.json)["status"] == "cancelled"
    assert again.json == cancelled.json
    assert events[-1]["response"] == cancelled.json


def test_one_that_waits_for_its_place_can_be_cancelled() -> None:
    gate = Gate()
    engine = StepEngine(gate, answer("Done."))
    settings = Settings(limits=LimitSettings(concurrent=1))
    with Gateway(engine, settings) as gateway:
        first = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        second = begin(gateway)["id"]
        cancelled = gateway.send("POST", f"{PATH}/{second}/cancel", {}).json
        gate.open()
        assert until_ended(gateway, first)["status"] == "completed"
        events = checked_events(stored(gateway, second, "?stream=true"))
    assert cancelled["status"] == "cancelled"
    assert events[-1]["response"] == cancelled
    assert len(engine.requests) == 1


def test_only_what_runs_in_the_background_can_be_cancelled() -> None:
    with Gateway(StepEngine(answer("Hi."))) as gateway:
        id_ = create(gateway).json["id"]
        refused = gateway.send("POST", f"{PATH}/{id_}/cancel", {})
    assert (refused.status, refused.error["code"]) == (400, "not_cancellable")


def test_deleting_it_ends_it_and_nothing_comes_back() -> None:
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        assert gateway.send("DELETE", f"{PATH}/{id_}").json["deleted"] is True
        assert engine.ended.acquire(timeout=WAIT)
        lost = stored(gateway, id_)
    assert lost.status == 404


def test_an_engine_that_fails_is_told_in_the_response() -> None:
    with Gateway(StepEngine(thought("Hm."), RuntimeError("boom"))) as gateway:
        failed = until_ended(gateway, begin(gateway)["id"])
    assert failed["status"] == "failed"
    assert "boom" not in json.dumps(failed)


def test_their_number_is_bounded_in_all_and_for_each_key(tmp_path: Any) -> None:
    gate = Gate()
    one, two = (add_key(tmp_path / "keys.toml", name) for name in "ab")
    settings = with_keys(
        tmp_path / "keys.toml", responses=ResponsesSettings(background=2, background_per_key=1)
    )
    with Gateway(StepEngine(gate, answer("Hi.")), settings) as gateway:
        first = create(gateway, background=True, headers=bearer(one)).json["id"]
        mine = create(gateway, background=True, headers=bearer(one))
        create(gateway, background=True, headers=bearer(two))
        everyone = create(gateway, background=True, headers=bearer(two))
        gate.open()
        until_ended(gateway, first, headers=bearer(one))
    assert (mine.status, mine.error["code"]) == (429, "rate_limit_exceeded")
    assert everyone.status == 503
    assert int(mine.headers["retry-after"]) > 0


def test_those_that_run_when_the_server_stops_are_marked_as_failed() -> None:
    stores = memory_stores(Settings())
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine, quick(shutdown_seconds=0.1), stores=stores) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
    with Gateway(StepEngine(), stores=stores) as gateway:
        failed = checked(stored(gateway, id_).json)
        checked_events(stored(gateway, id_, "?stream=true"))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")


def test_those_that_can_finish_while_the_server_stops_do() -> None:
    stores = memory_stores(Settings())
    gate = Gate()
    engine = StepEngine(gate, answer("Done."))
    with Gateway(engine, stores=stores) as gateway:
        id_ = begin(gateway)["id"]
        assert engine.began.acquire(timeout=WAIT)
        gateway.stop()
        gate.open()
        gateway.join()
    with Gateway(StepEngine(), stores=stores) as gateway:
        assert stored(gateway, id_).json["status"] == "completed"


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14])
def test_what_a_server_that_was_killed_left_is_found_and_ended(kept: int) -> None:
    """The stored events stop anywhere, as they do when a process is killed between two writes."""
    stores = memory_stores(Settings())
    with Gateway(StepEngine(thought("A b."), answer("C d.")), stores=stores) as gateway:
        events = read_sse(create(gateway, stream=True).body)
        id_ = events[0]["response"]["id"]
    kept = min(kept, len(events) - 1)

    async def kill() -> None:
        records = stores.records
        record = await records.get("", "response", id_)
        assert record is not None
        await records.delete("", "response", id_)
        body = json.dumps(events[1]["response"]).encode()
        left = Record(
            kind="response",
            id=id_,
            created=record.created,
            status="in_progress",
            owner="another-machine/7/0",
            body=body,
            extra=record.extra,
        )
        await records.put("", left)
        raw = [json.dumps(event, separators=(",", ":")).encode() for event in events[:kept]]
        await records.add_events("", id_, 0, raw)

    asyncio.run(kill())
    with Gateway(StepEngine(), stores=stores) as gateway:
        failed = checked(stored(gateway, id_).json)
        stream = read_sse(stored(gateway, id_, "?stream=true").body)
        last = stream[-1]["sequence_number"]
        rest = [
            read_sse(stored(gateway, id_, f"?stream=true&starting_after={last + more}").body)
            for more in (-1, 0, 1, 9)
        ]
    assert rest[:2] == [stream[-1:], []]
    assert [[event["response"] for event in each] for each in rest[2:]] == [[failed], [failed]]
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert stream[-1]["response"] == failed
    assert stream[:kept] == events[:kept]
    check_events(stream)


def test_the_responses_of_a_process_that_lives_are_left_alone() -> None:
    stores = memory_stores(Settings())

    async def run() -> tuple[int, int]:
        record = Record(
            kind="response",
            id="resp_1",
            created=1,
            status="queued",
            owner="b/1/1",
            body=b'{"status":"queued"}',
        )
        await stores.records.put("", record)
        other = Caretaker(stores.records, stores.state, Running(), "b/1/1")
        await other._beat()
        one = Caretaker(stores.records, stores.state, Running(), "a/1/1")
        while_alive = await one.sweep()
        await other.aclose()
        return while_alive, await one.sweep()

    assert asyncio.run(run()) == (0, 1)


def test_another_server_over_the_same_store_follows_and_cancels_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caretaker, "LOOK_SECONDS", 0.02)
    stores = memory_stores(Settings())
    gate = Gate()
    engine = StepEngine(thought("One two three."), gate)
    with Gateway(engine, stores=stores) as maker, Gateway(StepEngine(), stores=stores) as other:
        id_ = begin(maker)["id"]
        assert engine.began.acquire(timeout=WAIT)
        bodies: list[bytes] = []
        follower = threading.Thread(
            target=lambda: bodies.append(stored(other, id_, "?stream=true").body)
        )
        follower.start()
        cancelled = other.send("POST", f"{PATH}/{id_}/cancel", {}).json
        follower.join(WAIT)
        assert engine.ended.acquire(timeout=WAIT)
        events = checked_events(stored(maker, id_, "?stream=true"))
    assert cancelled["status"] == "cancelled"
    assert read_sse(bodies[0]) == events


def test_another_server_over_the_same_store_deletes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caretaker, "LOOK_SECONDS", 0.02)
    stores = memory_stores(Settings())
    gate = Gate()
    engine = StepEngine(thought("Hm."), gate)
    with Gateway(engine, stores=stores) as maker, Gateway(StepEngine(), stores=stores) as other:
        id_ = begin(maker)["id"]
        assert engine.began.acquire(timeout=WAIT)
        assert other.send("DELETE", f"{PATH}/{id_}").status == 200
        assert engine.ended.acquire(timeout=WAIT)
        assert stored(maker, id_).status == 404


def test_background_responses_count_as_one_request_and_their_tokens_are_charged() -> None:
    clock = Clock()
    settings = Settings(limits=LimitSettings(tokens_per_minute=1000))
    with Gateway(StepEngine(answer("Hi.")), settings, clock=clock) as gateway:
        response = begin(gateway)
        done = until_ended(gateway, response["id"])
        left = int(create(gateway).headers["x-ratelimit-remaining-tokens"])
    assert left <= 1000 - done["usage"]["total_tokens"]


def test_cancelling_deleting_and_reading_may_race_with_the_stream() -> None:
    engine = StepEngine(thought("One two three four."), answer("Five six seven eight."))
    chosen = random.Random(7)
    odd: list[Any] = []
    settings = Settings(responses=ResponsesSettings(background_per_key=0))
    with Gateway(engine, settings) as gateway:

        def one(action: str, delay: float) -> None:
            id_ = begin(gateway)["id"]
            time.sleep(delay)
            path = f"{PATH}/{id_}"
            if action == "cancel":
                answered = gateway.send("POST", f"{path}/cancel", {})
            elif action == "delete":
                answered = gateway.send("DELETE", path)
            else:
                answered = gateway.send("GET", f"{path}?stream=true")
            if answered.status != 200:
                odd.append((action, answered))
            if action == "delete":
                if gateway.send("GET", path).status != 404:
                    odd.append((action, "is back"))
                return
            kept = until_ended(gateway, id_)
            events = checked_events(stored(gateway, id_, "?stream=true"))
            if events[-1]["response"] != kept:
                odd.append((action, events[-1], kept))

        threads = [
            threading.Thread(
                target=one,
                args=(chosen.choice(["cancel", "delete", "read"]), chosen.uniform(0, 0.02)),
            )
            for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert odd == []
