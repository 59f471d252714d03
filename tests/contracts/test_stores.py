"""The contract of every state store: `StateStore` as a test suite."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.store.opening import KINDS, SHARED, Open, Opener, opener

pytest.importorskip("cryptography")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener(request, tmp_path)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener(request, tmp_path)


def test_a_value_is_read_until_it_ends(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        assert await s.state.get("a", "k") is None
        await s.state.put("a", "k", b"one", ttl=10)
        await s.state.put("b", "k", b"", ttl=10)
        assert await s.state.get("a", "k") == b"one"
        assert await s.state.get("b", "k") == b""
        store.clock.now += 9
        await s.state.put("a", "k", b"two", ttl=10)
        store.clock.now += 2
        assert await s.state.get("a", "k") == b"two"
        assert await s.state.get("b", "k") is None
        await s.state.delete("a", "k")
        await s.state.delete("a", "k")
        assert await s.state.get("a", "k") is None

    store.run(scenario)


def test_any_text_is_a_key(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        keys = ["", "a\x00b", "\ud800", "\x01", "\x02", "k" * 100_000, "k" * 99_999, "é" * 399]
        for n, key in enumerate(keys):
            await s.state.put("a", key, b"%d" % n, ttl=10)
            assert await s.state.claim("a", key, ttl=10) is True
            assert (await s.state.take("a", key, 1, capacity=1, per_second=1)).granted
        for n, key in enumerate(keys):
            assert await s.state.get("a", key) == b"%d" % n
            assert await s.state.claim("a", key, ttl=10) is False
            assert not (await s.state.take("a", key, 1, capacity=1, per_second=1)).granted

    store.run(scenario)


def test_old_values_make_room_for_new_ones(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for n in range(200):
            await s.state.put("a", f"k{n}", bytes(1_000), ttl=1_000)
            store.clock.now += 1
        assert await s.state.get("a", "k0") is None
        assert await s.state.get("a", "k199") == bytes(1_000)
        kept = [n for n in range(200) if await s.state.get("a", f"k{n}") is not None]
        assert kept == list(range(200 - len(kept), 200))
        assert 40 <= len(kept) <= 50
        await s.state.put("a", "k199", bytes(100_000), ttl=1_000)
        assert await s.state.get("a", "k199") is None

    store.run(scenario, state_bytes=60_000)


def test_a_key_is_claimed_once_until_its_claim_ends(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        assert await s.state.claim("nonce", "n", ttl=10) is True
        assert await s.state.claim("nonce", "n", ttl=10) is False
        assert await s.state.claim("other", "n", ttl=10) is True
        assert await s.state.get("nonce", "n") is None
        await s.state.put("nonce", "m", b"", ttl=10)
        assert await s.state.claim("nonce", "m", ttl=10) is True
        store.clock.now += 9.5
        assert await s.state.claim("nonce", "n", ttl=10) is False
        store.clock.now += 1
        assert await s.state.claim("nonce", "n", ttl=10) is True
        assert await s.state.claim("nonce", "n", ttl=10) is False

    store.run(scenario)


def test_of_many_who_claim_at_once_one_gets_it(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for key in ("a", "b", "c"):
            claims = await asyncio.gather(*(s.state.claim("n", key, ttl=9) for _ in range(20)))
            assert claims.count(True) == 1

    store.run(scenario)


def test_claims_are_not_dropped_for_room(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.state.claim("nonce", "n", ttl=1_000)
        for n in range(100):
            await s.state.put("a", f"k{n}", bytes(1_000), ttl=10)
        assert await s.state.claim("nonce", "n", ttl=1_000) is False

    store.run(scenario, state_bytes=20_000)


def test_a_bucket_gives_what_it_has_and_refills(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        async def take(amount: float, **more):
            return await s.state.take("r", "k", amount, capacity=10, per_second=2, **more)

        first = await take(4)
        assert (first.granted, first.remaining, first.retry_after) == (True, 6, 0)
        assert first.reset_after == pytest.approx(2)
        refused = await take(7)
        assert (refused.granted, refused.remaining) == (False, 6)
        assert refused.retry_after == pytest.approx(0.5)
        store.clock.now += 0.5
        assert (await take(7)).granted
        assert (await take(1)).retry_after == pytest.approx(0.5)
        store.clock.now += 1_000
        assert (await take(0)).remaining == 10
        assert (await take(10)).granted
        assert not (await take(0.5)).granted

    store.run(scenario)


def test_a_bucket_takes_back_and_runs_into_debt(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        async def take(amount: float, **more):
            return await s.state.take("r", "k", amount, capacity=10, per_second=1, **more)

        owed = await take(25, debt=True)
        assert (owed.granted, owed.remaining, owed.reset_after) == (True, -15, 25)
        assert (await take(1)).retry_after == pytest.approx(16)
        assert (await take(-14)).granted is True
        assert (await take(1)).retry_after == pytest.approx(2)
        assert (await take(-100)).remaining == 10
        assert (await take(3, debt=True)).remaining == 7

    store.run(scenario)


def test_the_first_take_of_a_bucket_may_be_refused_or_given_back(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        async def take(key: str, amount: float, **more):
            return await s.state.take("r", key, amount, capacity=10, per_second=1, **more)

        refused = await take("much", 11)
        assert (refused.granted, refused.remaining, refused.retry_after) == (False, 10, 1)
        assert (await take("much", 10)).granted
        assert (await take("back", -5)).remaining == 10
        assert (await take("debt", 11, debt=True)).remaining == -1

    store.run(scenario)


def test_takes_at_once_never_give_more_than_there_is(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        buckets = await asyncio.gather(
            *(s.state.take("r", "k", 1, capacity=7, per_second=0.001) for _ in range(40))
        )
        assert sum(bucket.granted for bucket in buckets) == 7

    store.run(scenario)


def test_a_clock_that_is_set_back_refills_nothing(shared: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.state.take("r", "k", 10, capacity=10, per_second=1)
        shared.clock.now -= 3_600
        assert not (await s.state.take("r", "k", 1, capacity=10, per_second=1)).granted
        shared.clock.now += 3_605
        assert (await s.state.take("r", "k", 0, capacity=10, per_second=1)).remaining == 5

    shared.run(scenario)


def test_what_has_ended_is_swept_out(shared: Opener) -> None:
    async def scenario(s: Open) -> None:
        for n in range(300):
            await s.state.claim("n", f"{n}", ttl=1)
            await s.state.take("r", f"{n}", 1, capacity=10, per_second=1)
        shared.clock.now += 100
        # Enough writes for a sweep to come by; what is left must work as before.
        for n in range(501):
            await s.state.claim("later", f"{n}", ttl=1_000)
        assert await s.state.claim("later", "500", ttl=1) is False
        assert await s.state.claim("n", "5", ttl=1) is True

    shared.run(scenario)


def test_state_is_shared_by_all_who_open_the_store(shared: Opener) -> None:
    async def scenario() -> None:
        async with shared.open() as one, shared.open() as two:
            await one.state.put("a", "k", b"v", ttl=10)
            assert await two.state.get("a", "k") == b"v"
            assert await one.state.claim("n", "k", ttl=10)
            assert not await two.state.claim("n", "k", ttl=10)
            taken = await asyncio.gather(
                *(
                    each.state.take("r", "k", 1, capacity=5, per_second=0.001)
                    for each in [one, two] * 10
                )
            )
            assert sum(bucket.granted for bucket in taken) == 5

    asyncio.run(scenario())
