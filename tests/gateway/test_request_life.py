"""What runs ends with whoever waits for it, and says why: whichever way the client's leaving is
told.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from starlette.types import Message

from antiphon.api.errors import ApiError
from antiphon.gateway.errors import ClientGoneError
from antiphon.gateway.lifecycle import Lifecycle

_T = TypeVar("_T")


class Client:
    """A client that can leave, and the server that tells of it: by calls, or by messages."""

    def __init__(self, *, calls: bool) -> None:
        self.gone = False
        self.calls = calls
        self.watching: list[Callable[[], None]] = []
        self._left = asyncio.Event()

    def watch(self, left: Callable[[], None]) -> None:
        self.watching.append(left)

    def unwatch(self, left: Callable[[], None]) -> None:
        self.watching = [each for each in self.watching if each != left]

    def leave(self) -> None:
        self.gone = True
        self._left.set()
        for left in self.watching:
            left()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def run(self, lifecycle: Lifecycle, work: Coroutine[Any, Any, _T]) -> _T:
        return await lifecycle.run(self.receive, work, self if self.calls else None)


Case = Callable[[Lifecycle, Client], Awaitable[None]]


def run(case: Case, *, calls: bool) -> None:
    """``case``; afterwards nothing runs, and nobody is watched."""

    async def all_of_it() -> None:
        lifecycle, client = Lifecycle(), Client(calls=calls)
        await asyncio.wait_for(case(lifecycle, client), 10)
        assert lifecycle.active == 0
        assert client.watching == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(all_of_it())


told = pytest.mark.parametrize("calls", [True, False], ids=["calls", "messages"])


class Work:
    """Waits until it is cancelled, and notes that it has ended."""

    def __init__(self, *, ends_with: Exception | str | None = None) -> None:
        self.begun = asyncio.Event()
        self.ended = False
        self._ends_with = ends_with

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if isinstance(self._ends_with, Exception):
                raise self._ends_with from None
            if self._ends_with is not None:
                return self._ends_with
            raise
        finally:
            await asyncio.sleep(0)
            self.ended = True
        return "never"


@told
def test_what_work_returns_and_raises_is_passed_on(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        async def fails() -> None:
            raise KeyError("mine")

        assert await client.run(lifecycle, asyncio.sleep(0, "done")) == "done"
        with pytest.raises(KeyError, match="mine"):
            await client.run(lifecycle, fails())

    run(case, calls=calls)


@told
@pytest.mark.parametrize("ends_with", [None, KeyError("late"), "late"], ids=str)
def test_work_ends_before_its_clients_leaving_is_told(
    calls: bool, ends_with: Exception | str | None
) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        work = Work(ends_with=ends_with)
        asyncio.get_running_loop().call_later(0.01, client.leave)
        with pytest.raises(ClientGoneError):
            await client.run(lifecycle, work())
        assert work.ended
        # The cancellation was for the work alone.
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(case, calls=calls)


@told
def test_a_client_that_has_left_before(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        work = Work()
        client.leave()
        with pytest.raises(ClientGoneError):
            await client.run(lifecycle, work())

    run(case, calls=calls)


@told
def test_the_servers_end_is_told_as_an_error(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        work = Work()
        lifecycle.drain(0.02)
        assert not lifecycle.closed
        with pytest.raises(ApiError, match="shutting down"):
            await client.run(lifecycle, work())  # Nothing new begins.
        assert not work.begun.is_set()

        lifecycle = Lifecycle()
        running = asyncio.ensure_future(client.run(lifecycle, work()))
        await work.begun.wait()
        lifecycle.drain(0.02)
        assert lifecycle.active == 1
        with pytest.raises(ApiError, match="shutting down"):
            await running
        assert lifecycle.closed
        assert work.ended

    run(case, calls=calls)


@told
@pytest.mark.parametrize("leaves", [True, False], ids=["client leaves too", "client stays"])
def test_a_cancellation_from_elsewhere_stays_one(calls: bool, leaves: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        work = Work()
        running = asyncio.ensure_future(client.run(lifecycle, work()))
        await work.begun.wait()
        if leaves:
            client.leave()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert work.ended

    run(case, calls=calls)


@told
def test_a_client_that_leaves_while_a_timeout_is_dealt_with(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        cleaned = asyncio.Event()

        async def work() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    try:
                        await asyncio.sleep(3600)
                    finally:
                        client.leave()
                        await asyncio.sleep(0.01)
                        cleaned.set()
            await asyncio.sleep(3600)

        with pytest.raises(ClientGoneError):
            await client.run(lifecycle, work())
        assert cleaned.is_set()  # Which was not cut short.

    run(case, calls=calls)


@told
def test_the_server_ends_while_a_timeout_is_dealt_with_that_ends_the_work(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        async def work() -> None:
            async with asyncio.timeout(0.01):
                try:
                    await asyncio.sleep(3600)
                finally:
                    lifecycle.close()
                    await asyncio.sleep(0.001)

        with pytest.raises(TimeoutError):
            await client.run(lifecycle, work())
        await asyncio.sleep(0.05)  # It is not told to end later.

    run(case, calls=calls)


def test_nothing_begins_for_a_client_that_has_left() -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        async def refused() -> None:
            raise KeyError("no place")

        client.leave()
        with pytest.raises(ClientGoneError):
            await client.run(lifecycle, refused())
        await asyncio.sleep(0)  # No cancellation is left over.

    run(case, calls=True)


@told
def test_work_that_is_over_is_not_cancelled_any_more(calls: bool) -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        await client.run(lifecycle, asyncio.sleep(0))
        client.leave()
        lifecycle.close()
        await asyncio.sleep(0.01)

    run(case, calls=calls)


def test_only_the_work_that_was_left_ends() -> None:
    async def case(lifecycle: Lifecycle, client: Client) -> None:
        other = Client(calls=True)
        left, stays = Work(), Work()
        runs = [
            asyncio.ensure_future(who.run(lifecycle, work()))
            for who, work in ((client, left), (other, stays))
        ]
        await stays.begun.wait()
        client.leave()
        with pytest.raises(ClientGoneError):
            await runs[0]
        assert not stays.ended
        assert lifecycle.active == 1
        lifecycle.close()
        with pytest.raises(ApiError):
            await runs[1]

    run(case, calls=True)


@told
def test_what_was_run_is_let_go_of(calls: bool) -> None:
    class Held:
        """Something that only the work knows."""

    async def case(lifecycle: Lifecycle, client: Client) -> None:
        known: list[weakref.ref[Held]] = []

        async def waits() -> None:
            held = Held()
            known.append(weakref.ref(held))
            await asyncio.sleep(3600)
            del held

        asyncio.get_running_loop().call_later(0.01, client.leave)
        with pytest.raises(ClientGoneError) as caught:
            await client.run(lifecycle, waits())
        del caught
        await asyncio.sleep(0)  # The loop itself holds what it throws until then.
        assert [each() for each in known] == [None]

    gc.disable()
    try:
        run(case, calls=calls)
    finally:
        gc.enable()
