"""Rate limits: what is counted, what clients are told, when they are served again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.gateway.governing import Clock, add_key, answering, bearer, chat, with_keys

from antiphon.api.errors import ApiError
from antiphon.gateway.ratelimit import Allowance, allowance, take
from antiphon.settings.model import LimitSettings, Settings
from antiphon.store.memory import MemoryStore


def take_once(store: MemoryStore, allowed: Allowance, body_bytes: int | None = 0, who="a"):
    return asyncio.run(take(store, who, allowed, body_bytes=body_bytes))


def test_a_minutes_requests_are_there_at_once_and_come_back_one_by_one() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic)
    allowed = Allowance(requests=3)
    remaining = [
        take_once(store, allowed).headers[b"x-ratelimit-remaining-requests"] for _ in range(3)
    ]
    assert remaining == [b"2", b"1", b"0"]
    with pytest.raises(ApiError) as refused:
        take_once(store, allowed)
    assert refused.value.status == 429
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.retry_after == pytest.approx(20)
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.value.headers["x-ratelimit-reset-requests"] == "1m0s"
    clock.time += 20
    take_once(store, allowed)
    with pytest.raises(ApiError):
        take_once(store, allowed)


def test_who_waits_as_long_as_told_is_served() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic)
    allowed = Allowance(requests=7, tokens=100)
    waits = 0
    for _ in range(20):
        try:
            take_once(store, allowed, 40)
        except ApiError as error:
            waits += 1
            clock.time += (error.retry_after or 0.0) + 1e-6
            take_once(store, allowed, 40)
    assert waits > 5


def test_callers_do_not_share() -> None:
    store = MemoryStore(clock=Clock().monotonic)
    take_once(store, Allowance(requests=1), who="a")
    take_once(store, Allowance(requests=1), who="b")
    with pytest.raises(ApiError):
        take_once(store, Allowance(requests=1), who="a")


def used(store: MemoryStore, allowed: Allowance, body_bytes: int, tokens: int | None) -> None:
    async def run() -> None:
        lease = await take(store, "a", allowed, body_bytes=body_bytes)
        lease.used = tokens
        await lease.settle()
        await lease.settle()

    asyncio.run(run())


def remaining_tokens(store: MemoryStore, allowed: Allowance) -> int:
    lease = take_once(store, allowed)
    return int(lease.headers[b"x-ratelimit-remaining-tokens"])


def test_what_was_used_is_charged_and_not_what_was_expected() -> None:
    store = MemoryStore(clock=Clock().monotonic)
    allowed = Allowance(tokens=1000)
    used(store, allowed, 400, 250)
    assert remaining_tokens(store, allowed) == 749


def test_a_request_that_did_nothing_costs_no_tokens() -> None:
    store = MemoryStore(clock=Clock().monotonic)
    allowed = Allowance(tokens=1000)
    used(store, allowed, 2000, None)
    assert remaining_tokens(store, allowed) == 999


def test_a_long_answer_is_paid_back_by_waiting() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock.monotonic)
    allowed = Allowance(tokens=60)
    used(store, allowed, 0, 180)
    with pytest.raises(ApiError) as refused:
        take_once(store, allowed)
    assert refused.value.retry_after == pytest.approx(121)
    clock.time += 122
    take_once(store, allowed)


def test_a_body_larger_than_the_allowance_can_still_be_sent() -> None:
    store = MemoryStore(clock=Clock().monotonic)
    used(store, Allowance(tokens=10), 1_000_000, 10)


def test_a_keys_own_limits_are_stronger_and_zero_is_none(tmp_path: Path) -> None:
    from antiphon.gateway.keyfile import KeyFile

    path = tmp_path / "keys.toml"
    add_key(path, "silent")
    add_key(path, "free", requests_per_minute=0, tokens_per_minute=0)
    add_key(path, "own", requests_per_minute=5)
    silent, free, own = KeyFile(path).load().keys
    limits = LimitSettings(requests_per_minute=10, tokens_per_minute=20)
    assert allowance(limits, None) == Allowance(requests=10, tokens=20)
    assert allowance(limits, silent) == Allowance(requests=10, tokens=20)
    assert allowance(limits, free) == Allowance(requests=0, tokens=0)
    assert allowance(limits, own) == Allowance(requests=5, tokens=20)


def test_every_answer_says_what_is_left(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    secret = add_key(path, requests_per_minute=3, tokens_per_minute=100_000)
    with answering(settings=with_keys(path), clock=clock) as gateway:
        good = chat(gateway, bearer(secret))
        bad = chat(gateway, bearer(secret), temperature="hot")
        stream = chat(gateway, bearer(secret), stream=True)
        last = chat(gateway, bearer(secret))
        models = gateway.send("GET", "/v1/models", None, bearer(secret))
    assert [a.status for a in (good, bad, stream, last, models)] == [200, 400, 200, 429, 200]
    assert last.error["code"] == "rate_limit_exceeded"
    assert last.error["type"] == "rate_limit_error"
    assert last.headers["retry-after"] == "20"
    left = [a.headers["x-ratelimit-remaining-requests"] for a in (good, bad, stream, last)]
    assert left == ["2", "1", "0", "0"]
    for answer in (good, bad, stream, last):
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-reset-requests"]
    for answer in (good, bad, stream):
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
    assert "x-ratelimit-limit-requests" not in models.headers


def test_the_tokens_of_a_turn_are_charged(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    secret = add_key(path, tokens_per_minute=100_000)
    with answering(settings=with_keys(path), clock=clock) as gateway:
        usage = chat(gateway, bearer(secret)).json["usage"]
        before = 100_000 - usage["total_tokens"]
        answer = chat(gateway, bearer(secret), stream=True)
        # The account is settled when the answer has gone out.
        for _ in range(100):
            after = chat(gateway, bearer(secret), temperature="hot")
            left = int(after.headers["x-ratelimit-remaining-tokens"])
            if left <= before - usage["total_tokens"]:
                break
    estimate = before - int(answer.headers["x-ratelimit-remaining-tokens"])
    assert 0 < estimate < 100
    assert before - usage["total_tokens"] - 100 < left <= before - usage["total_tokens"]


def test_without_keys_the_limits_hold_for_an_address() -> None:
    settings = Settings(limits=LimitSettings(requests_per_minute=1))
    with answering(settings=settings, clock=Clock()) as gateway:
        assert chat(gateway).status == 200
        assert chat(gateway).status == 429
        assert gateway.send("GET", "/health").status == 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0ms"),
        (0.0204, b"20ms"),
        (7.66, b"7.66s"),
        (1, b"1s"),
        (360, b"6m0s"),
        (3661, b"1h1m1s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: bytes) -> None:
    from antiphon.gateway.ratelimit import _duration

    assert _duration(seconds) == text
