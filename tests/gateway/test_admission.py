"""Who runs, who waits, who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.governing import LogLines, add_key, answering, bearer, chat, with_keys
from tests.gateway.serving import Gate, Gateway, StepEngine, final

from antiphon.api.errors import ApiError
from antiphon.gateway.admission import Admission, Ticket
from antiphon.settings.model import LimitSettings, Settings


def admission(**limits: Any) -> Admission:
    settings = LimitSettings(**{"concurrent": 2, "queued": 4, **limits})
    return Admission(lambda: settings)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def admitted(tickets: list[Ticket]) -> list[str]:
    return [ticket.who for ticket in tickets if ticket.admitted]


def test_places_are_given_at_once_while_there_are_any() -> None:
    places = admission()
    first, second, third = [places.ask("a") for _ in range(3)]
    assert first.admitted
    assert second.admitted
    assert not third.admitted
    assert (places.running, places.waiting) == (2, 1)
    first.leave()
    assert third.admitted
    assert (places.running, places.waiting) == (2, 0)


def test_one_callers_requests_are_served_in_order() -> None:
    places = admission(concurrent=1)
    running = places.ask("a")
    waiting = [places.ask("a") for _ in range(4)]
    for ticket in waiting:
        running.leave()
        assert ticket.admitted
        running = ticket


def test_callers_are_served_in_turn() -> None:
    places = admission(concurrent=1, queued=100)
    order = [places.ask("flood")]
    tickets = [places.ask("flood") for _ in range(20)] + [places.ask("b"), places.ask("c")]
    for _ in tickets:
        order[-1].leave()
        order.append(next(t for t in tickets if t.admitted and t not in order))
    assert [t.who for t in order[:6]] == ["flood", "flood", "b", "c", "flood", "flood"]


def test_a_full_queue_sends_away_who_fills_it() -> None:
    places = admission(concurrent=1, queued=3)
    for _ in range(4):
        places.ask("a")
    with pytest.raises(ApiError) as refused:
        places.ask("a")
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1


def test_a_flood_keeps_nobody_else_out() -> None:
    async def go() -> None:
        places = admission(concurrent=1, queued=3)
        flood = [places.ask("flood") for _ in range(4)]
        other = places.ask("b")
        assert places.waiting == 3
        with pytest.raises(ApiError) as lost:
            await flood[-1].wait()
        assert lost.value.status == 429
        flood[0].leave()
        flood[1].leave()
        assert other.admitted
        for ticket in (*flood, other):
            ticket.leave()
        assert (places.running, places.waiting) == (0, 0)

    run(go())


def test_a_ticket_that_is_waited_for_hears_at_once_that_it_lost_its_place() -> None:
    async def go() -> None:
        places = admission(concurrent=1, queued=2)
        flood = [places.ask("flood") for _ in range(3)]
        waits = asyncio.ensure_future(flood[-1].wait())
        await asyncio.sleep(0)
        places.ask("b")
        with pytest.raises(ApiError):
            await asyncio.wait_for(waits, 5)

    run(go())


def test_when_many_callers_fill_the_queue_the_next_one_is_told_that_it_is_busy() -> None:
    places = admission(concurrent=1, queued=3)
    for who in "abcd":
        places.ask(who)
    with pytest.raises(ApiError) as refused:
        places.ask("e")
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    assert refused.value.retry_after is not None


def test_without_a_queue_nobody_waits() -> None:
    places = admission(concurrent=1, queued=0)
    ticket = places.ask("a")
    with pytest.raises(ApiError):
        places.ask("b")
    ticket.leave()
    assert places.ask("b").admitted


def test_a_callers_own_limit_holds_while_others_go_on() -> None:
    places = admission(concurrent=3, queued=10)
    first, second = places.ask("a", limit=1), places.ask("a", limit=1)
    others = [places.ask("b"), places.ask("b")]
    assert admitted([first, second, *others]) == ["a", "b", "b"]
    third = places.ask("c")
    others[0].leave()
    assert third.admitted
    others[1].leave()
    assert not second.admitted
    first.leave()
    assert second.admitted


def test_the_servers_limit_per_caller_holds_where_the_key_has_none() -> None:
    places = admission(concurrent=5, per_key_concurrent=2)
    tickets = [places.ask("a") for _ in range(3)]
    assert len(admitted(tickets)) == 2
    assert len(admitted([places.ask("b", limit=0) for _ in range(3)])) == 3


def test_who_leaves_while_waiting_gives_its_place_in_the_queue_up() -> None:
    async def go() -> None:
        places = admission(concurrent=1, queued=2)
        running = places.ask("a")
        task = asyncio.create_task(hold(places, "b"))
        await asyncio.sleep(0)
        assert places.waiting == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert places.waiting == 0
        last = places.ask("c")
        running.leave()
        assert last.admitted

    run(go())


async def hold(places: Admission, who: str) -> None:
    async with places.place(who):
        await asyncio.sleep(60)


def test_a_cancelled_turn_and_a_failed_one_give_their_places_back() -> None:
    async def go() -> None:
        places = admission(concurrent=1)
        task = asyncio.create_task(hold(places, "a"))
        await asyncio.sleep(0)
        assert places.running == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(RuntimeError):
            async with places.place("b"):
                raise RuntimeError
        assert (places.running, places.waiting) == (0, 0)

    run(go())


def test_a_wait_can_be_taken_in_pieces_and_ends_when_its_time_is_over() -> None:
    async def go() -> None:
        places = admission(concurrent=1, queue_seconds=0.05)
        running = places.ask("a")
        ticket = places.ask("b")
        assert not await ticket.wait(0.001)
        with pytest.raises(ApiError) as refused:
            await ticket.wait()
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        ticket.leave()
        running.leave()
        assert (places.running, places.waiting) == (0, 0)
        assert await places.ask("c").wait(0)

    run(go())


def test_leaving_twice_counts_once() -> None:
    places = admission()
    first = places.ask("a")
    places.ask("a")
    first.leave()
    first.leave()
    assert places.running == 1


def test_a_raised_limit_lets_those_in_who_wait() -> None:
    limits = LimitSettings(concurrent=1, queued=10)
    places = Admission(lambda: limits)
    tickets = [places.ask("a") for _ in range(4)]
    limits = LimitSettings(concurrent=3, queued=10)
    places.wake()
    assert len(admitted(tickets)) == 3


def test_nothing_is_remembered_of_callers_that_left() -> None:
    places = admission(concurrent=1, queued=1)
    for n in range(1000):
        first, second = places.ask(f"a{n}", limit=1), places.ask(f"a{n}", limit=1)
        second.leave()
        first.leave()
    assert places._places == {}
    assert not places._ready
    assert not places._held


def test_over_the_wire_a_full_server_says_when_to_come_again() -> None:
    gate = Gate()
    settings = Settings(limits=LimitSettings(concurrent=1, queued=0))
    engine = StepEngine(gate, final("Hi."))
    with Gateway(engine, settings, log=LogLines().log) as gateway:
        import threading

        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(chat(gateway, stream=True)))
        thread.start()
        assert engine.began.acquire(timeout=20)
        refused = chat(gateway)
        gate.open()
        thread.join(20)
        assert chat(gateway).status == 200
    assert refused.status == 503
    assert refused.error["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert answers[0].text == "Hi."


def test_a_keys_own_concurrency_is_honoured(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    secret = add_key(path, concurrent=1)
    settings = with_keys(path, limits=LimitSettings(concurrent=8, queued=0))
    gate = Gate()
    engine = StepEngine(gate, final("Hi."))
    with Gateway(engine, settings, log=LogLines().log) as gateway:
        import threading

        thread = threading.Thread(target=lambda: chat(gateway, bearer(secret)))
        thread.start()
        assert engine.began.acquire(timeout=20)
        refused = chat(gateway, bearer(secret))
        gate.open()
        thread.join(20)
    assert refused.status in (429, 503)
    assert "retry-after" in refused.headers


def test_admission_is_counted() -> None:
    with answering() as gateway:
        chat(gateway)
        text = gateway.send("GET", "/metrics").body.decode()
    assert "antiphon_running_turns 0.0" in text
    assert "antiphon_waiting_turns 0.0" in text
    assert "antiphon_queue_seconds_count 1.0" in text
