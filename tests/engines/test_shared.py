"""Several engines' own routes as one: who is asked, and what happens when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from antiphon.engines.shared import CONVERSATION, SharedMember, SharedPassthrough
from antiphon.errors import EngineError

PATH = "/v1/embeddings"


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}


class Routes:
    """Answers with ``status``, or fails while that is an error."""

    def __init__(self, status: int | EngineError = 200) -> None:
        self.status = status
        self.asked: list[Mapping[str, str]] = []
        self.open_now = 0

    @asynccontextmanager
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Any, None]:
        self.asked.append(headers or {})
        if isinstance(self.status, EngineError):
            raise self.status
        self.open_now += 1
        try:
            yield Answer(self.status)
        finally:
            self.open_now -= 1


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(status: int = 502) -> EngineError:
    error = EngineError("cannot reach it")
    error.status_hint = status
    return error


def shared(*routes: Routes, clock: Callable[[], float] | None = None) -> SharedPassthrough:
    return SharedPassthrough([SharedMember(r) for r in routes], clock=clock or Clock())


async def ask(engines: SharedPassthrough, conversation: str = "") -> int:
    async with engines.open(PATH, b"{}", headers={CONVERSATION: conversation, "a": "b"}) as answer:
        return answer.status


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(timed())


def test_requests_take_turns_and_engines_never_see_our_header() -> None:
    async def work() -> None:
        one, two = Routes(), Routes()
        engines = shared(one, two)
        for _ in range(6):
            assert await ask(engines) == 200
        assert one.asked == two.asked == [{"a": "b"}] * 3

    run(work)


def test_requests_at_a_time_are_shared_by_weight_and_room() -> None:
    async def work() -> None:
        small, large, one = Routes(), Routes(), Routes()
        engines = SharedPassthrough(
            [SharedMember(small), SharedMember(large, weight=3.0), SharedMember(one, 9.0, 1)]
        )
        opened = [engines.open(PATH, b"{}") for _ in range(9)]
        for each in opened:
            await each.__aenter__()
        assert (small.open_now, large.open_now, one.open_now) == (2, 6, 1)
        for each in opened:
            await each.__aexit__(None, None, None)
        assert (small.open_now, large.open_now, one.open_now) == (0, 0, 0)

    run(work)


def test_a_conversation_stays_where_its_prefix_is() -> None:
    async def work() -> None:
        one, two = Routes(), Routes()
        engines = shared(one, two)
        for _ in range(4):
            await ask(engines, "a")
        assert sorted([len(one.asked), len(two.asked)]) == [0, 4]

    run(work)


@pytest.mark.parametrize("failure", [refused(), 503])
def test_a_failure_before_the_answer_is_mended_by_another_engine(
    failure: int | EngineError,
) -> None:
    async def work() -> None:
        bad, good = Routes(failure), Routes()
        engines = shared(bad, good)
        for _ in range(20):
            assert await ask(engines) == 200
        assert len(good.asked) == 20
        assert len(bad.asked) == 3  # then its breaker is open

    run(work)


def test_a_500_may_be_the_requests_own_fault() -> None:
    async def work() -> None:
        bad, good = Routes(500), Routes()
        engines = shared(bad, good)
        for _ in range(20):
            assert await ask(engines) == 200
        assert len(bad.asked) == 20
        assert engines.down(bad) is None

    run(work)


def test_a_refusal_of_the_request_is_not_tried_elsewhere() -> None:
    async def work() -> None:
        one, two = Routes(refused(404)), Routes(refused(404))
        engines = shared(one, two)
        with pytest.raises(EngineError) as error:
            await ask(engines)
        assert error.value.status_hint == 404
        assert len(one.asked) + len(two.asked) == 1
        one.status = two.status = 422
        assert await ask(engines) == 422

    run(work)


def test_when_all_fail_the_client_gets_the_last_ones_answer() -> None:
    async def work() -> None:
        assert await ask(shared(Routes(refused()), Routes(500))) == 500
        with pytest.raises(EngineError, match="cannot reach it"):
            await ask(shared(Routes(refused()), Routes(refused())))

    run(work)


def test_engines_that_keep_failing_are_left_alone_until_their_time_is_up() -> None:
    async def work() -> None:
        clock = Clock()
        one, two = Routes(refused()), Routes(refused())
        engines = shared(one, two, clock=clock)
        for _ in range(3):
            with pytest.raises(EngineError):
                await ask(engines)
        with pytest.raises(EngineError, match="no engine is available") as error:
            await ask(engines)
        assert (error.value.status_hint, error.value.retry_after) == (503, 5.0)
        assert engines.down(one) == engines.down(two) == "cannot reach it"
        assert len(one.asked) == len(two.asked) == 3
        clock.now = 6.0
        one.status = two.status = 200
        assert await ask(engines) == 200
        assert engines.down(one) is None or engines.down(two) is None

    run(work)


def test_who_is_known_to_be_back_is_tried_before_its_time() -> None:
    async def work() -> None:
        one = Routes(refused())
        engines = shared(one)
        for _ in range(3):
            with pytest.raises(EngineError):
                await ask(engines)
        one.status = 200
        engines.try_now(one)
        assert await ask(engines) == 200

    run(work)


def test_what_breaks_off_in_the_middle_is_the_clients_to_see_and_counts() -> None:
    async def work() -> None:
        one, two = Routes(), Routes()
        engines = shared(one, two)
        for _ in range(3):
            with pytest.raises(EngineError, match="broke off"):
                async with engines.open(PATH, b"", headers={CONVERSATION: "a"}):
                    raise EngineError("it broke off")
        assert (len(one.asked), len(two.asked)) == (3, 0)
        await ask(engines, "a")
        assert (len(one.asked), len(two.asked)) == (3, 1)

    run(work)


def test_a_trial_that_is_cancelled_leaves_room_for_another() -> None:
    async def work() -> None:
        clock = Clock()
        one = Routes(refused())
        engines = shared(one, clock=clock)
        for _ in range(3):
            with pytest.raises(EngineError):
                await ask(engines)
        clock.now = 6.0
        one.status = 200
        with pytest.raises(asyncio.CancelledError):
            async with engines.open(PATH, b""):
                raise asyncio.CancelledError
        assert await ask(engines) == 200
        assert one.open_now == 0

    run(work)


def test_routes_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="one member"):
        SharedPassthrough([])
