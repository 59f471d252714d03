"""Models that are started when they are needed, restarted when they die, unloaded and swapped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from antiphon.engines.group import Group
from antiphon.engines.lazy import LazyEngine
from antiphon.engines.lifecycle import Unit
from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Engine
from antiphon.errors import EngineError

T = TypeVar("T")
REQUEST = CompletionRequest(prompt=[1])
PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


class FakeServer:
    """A server that starts when it is let, and dies when it is told."""

    def __init__(self, world: World, number: int, on_exit: Callable[[], None]) -> None:
        self.world = world
        self.url = f"http://server-{number}"
        self.pid = number
        self.running = False
        self._on_exit = on_exit
        self._stopped = threading.Event()

    def start(self) -> object:
        while not self.world.gate.wait(0.01) and not self._stopped.is_set():
            pass
        if self._stopped.is_set():
            raise EngineError("stopped while loading")
        if self.world.failures:
            raise EngineError(self.world.failures.pop(0))
        self.running = True
        return self

    def stop(self) -> None:
        self._stopped.set()
        if self.running:
            self.running = False
            self._on_exit()

    def die(self) -> None:
        """As a process does: from a thread."""
        self.running = False
        thread = threading.Thread(target=self._on_exit)
        thread.start()
        thread.join()

    def exit_cause(self) -> str | None:
        return None if self.running else "it was killed"


class FakeEngine:
    capabilities = Capabilities()

    def __init__(self, url: str) -> None:
        self.name = url
        self.closed = False
        self.go = asyncio.Event()
        self.go.set()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        yield (Chunk((), self.name),)
        await self.go.wait()

    async def aclose(self) -> None:
        self.closed = True


class World:
    """What units start, and a clock that only moves when it is told."""

    def __init__(self) -> None:
        self.servers: list[FakeServer] = []
        self.engines: list[FakeEngine] = []
        self.failures: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.now = 1000.0
        self.units: list[Unit] = []
        self._changed = asyncio.Event()

    def unit(self, name: str = "m", **how: Any) -> Unit:
        def start(on_exit: Callable[[], None]) -> FakeServer:
            self.servers.append(FakeServer(self, len(self.servers) + 1, on_exit))
            return self.servers[-1]

        def connect(url: str) -> Engine:
            self.engines.append(FakeEngine(url))
            return self.engines[-1]

        how = {"backoff": (0.0,), "clock": lambda: self.now, "changed": self._changed.set, **how}
        self.units.append(Unit(name, start, connect, **how))
        return self.units[-1]

    @property
    def running(self) -> list[int]:
        return [server.pid for server in self.servers if server.running]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                # Not everything that is waited for changes a state.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.01)


def play(story: Callable[[World], Awaitable[T]]) -> T:
    async def run() -> T:
        world = World()
        try:
            async with asyncio.timeout(PATIENCE):
                return await story(world)
        finally:
            world.gate.set()
            for unit in world.units:
                await unit.aclose()
            assert world.running == []
            assert all(engine.closed for engine in world.engines)
            assert [unit.busy for unit in world.units] == [0] * len(world.units)

    return asyncio.run(run())


async def texts(engine: Engine) -> list[str]:
    """What it said, without the signs of life."""
    return [
        "".join([chunk.text for chunk in chunks])
        async for chunks in engine.complete(REQUEST)
        if chunks
    ]


def lazy(unit: Unit) -> LazyEngine:
    return LazyEngine(unit, Capabilities(context_length=7), alive_seconds=0.01)


def test_nothing_runs_before_the_first_request() -> None:
    async def story(world: World) -> None:
        engine = lazy(world.unit())
        assert engine.capabilities.context_length == 7
        assert world.servers == []
        assert [unit.status.state for unit in world.units] == ["idle"]
        assert await texts(engine) == ["http://server-1"]
        assert world.units[0].status.state == "up"
        assert await texts(engine) == ["http://server-1"]

    play(story)


def test_requests_that_wait_for_the_model_are_kept_alive() -> None:
    async def story(world: World) -> None:
        world.gate.clear()
        completion = lazy(world.unit()).complete(REQUEST)
        assert [await anext(completion) for _ in range(3)] == [(), (), ()]
        assert world.units[0].status.state == "starting"
        assert world.units[0].status.waiting == 1
        world.gate.set()
        async for chunks in completion:
            if chunks:
                assert chunks[0].text == "http://server-1"

    play(story)


def test_many_first_requests_start_one_server() -> None:
    async def story(world: World) -> None:
        engine = lazy(world.unit())
        answers = await asyncio.gather(*[texts(engine) for _ in range(20)])
        assert {text for answer in answers for text in answer if text} == {"http://server-1"}
        assert len(world.servers) == 1

    play(story)


def test_a_client_that_leaves_while_the_model_loads_does_not_stop_it_for_others() -> None:
    async def story(world: World) -> None:
        world.gate.clear()
        engine = lazy(world.unit())
        leaving = engine.complete(REQUEST)
        await anext(leaving)
        staying = asyncio.create_task(texts(engine))
        await world.until(lambda: world.units[0].busy == 2)
        await leaving.aclose()
        assert world.units[0].busy == 1
        world.gate.set()
        assert (await staying)[-1] == "http://server-1"

    play(story)


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def story(world: World) -> None:
        world.gate.clear()
        task = asyncio.create_task(texts(lazy(world.unit())))
        await world.until(lambda: world.units[0].state == "starting")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.units[0].busy == 0

    play(story)


def test_a_model_that_does_not_start_says_why_and_is_not_tried_again_at_once() -> None:
    async def story(world: World) -> None:
        engine = lazy(world.unit())
        world.failures = ["no memory", "still none"]
        with pytest.raises(EngineError, match="no memory"):
            await texts(engine)
        with pytest.raises(EngineError, match="no memory"):
            await texts(engine)
        assert len(world.servers) == 1
        world.now += 100
        with pytest.raises(EngineError, match="still none"):
            await texts(engine)
        world.now += 100
        assert await texts(engine) == ["http://server-3"]

    play(story)


def test_a_model_that_dies_is_started_again() -> None:
    async def story(world: World) -> None:
        engine = lazy(world.unit())
        await texts(engine)
        world.servers[0].die()
        await world.until(lambda: world.units[0].state == "up" and len(world.servers) == 2)
        assert await texts(engine) == ["http://server-2"]
        assert world.units[0].status.restarts == 1
        assert world.engines[0].closed

    play(story)


def test_requests_wait_while_it_is_started_again() -> None:
    async def story(world: World) -> None:
        engine = lazy(world.unit())
        await texts(engine)
        world.gate.clear()
        world.servers[0].die()
        await world.until(lambda: world.units[0].state == "starting")
        waiting = asyncio.create_task(texts(engine))
        await world.until(lambda: world.units[0].busy == 1)
        world.gate.set()
        assert (await waiting)[-1] == "http://server-2"

    play(story)


def test_a_model_that_keeps_dying_is_given_up_until_somebody_loads_it() -> None:
    async def story(world: World) -> None:
        unit = world.unit(restarts=2)
        engine = lazy(unit)
        await texts(engine)
        for number in range(3):
            await world.until(lambda n=number: len(world.servers) == n + 1 and unit.state == "up")  # type: ignore[misc]
            world.servers[-1].die()
        await world.until(lambda: unit.state == "failed")
        with pytest.raises(EngineError, match=r"given up: it died 3 times.*it was killed") as gone:
            await texts(engine)
        assert gone.value.status_hint == 503
        await unit.load()
        assert await texts(engine) == ["http://server-4"]

    play(story)


def test_restarts_that_fail_count_as_well() -> None:
    async def story(world: World) -> None:
        unit = world.unit(restarts=3)
        await texts(lazy(unit))
        world.failures = ["a", "b", "c"]
        world.servers[0].die()
        await world.until(lambda: unit.state == "failed")
        assert len(world.servers) == 4
        assert unit.status.detail == "c"

    play(story)


def test_a_long_life_earns_new_restarts() -> None:
    async def story(world: World) -> None:
        unit = world.unit(restarts=1)
        await texts(lazy(unit))
        for number in (2, 3, 4):
            world.now += 1000
            world.servers[-1].die()
            await world.until(lambda n=number: len(world.servers) == n and unit.state == "up")  # type: ignore[misc]
        assert unit.status.restarts == 1

    play(story)


def test_an_idle_model_is_unloaded_after_its_time_and_loaded_again() -> None:
    async def story(world: World) -> None:
        unit = world.unit(ttl=0.02)
        engine = lazy(unit)
        await texts(engine)
        await world.until(lambda: unit.state == "idle")
        assert world.running == []
        assert await texts(engine) == ["http://server-2"]

    play(story)


def test_a_model_that_was_started_again_for_nobody_is_unloaded_too() -> None:
    async def story(world: World) -> None:
        unit = world.unit()
        await texts(lazy(unit))
        unit.ttl = 0.02
        world.servers[0].die()
        await world.until(lambda: len(world.servers) == 2 and unit.state == "idle")
        assert world.running == []

    play(story)


def test_a_busy_model_is_not_unloaded() -> None:
    async def story(world: World) -> None:
        unit = world.unit(ttl=0.01)
        engine = lazy(unit)
        await texts(engine)
        world.engines[0].go.clear()
        completion = engine.complete(REQUEST)
        await anext(completion)
        assert unit._timer is None
        world.engines[0].go.set()
        await completion.aclose()
        await world.until(lambda: unit.state == "idle")

    play(story)


def test_a_retired_model_ends_with_its_last_request() -> None:
    async def story(world: World) -> None:
        unit = world.unit()
        engine = lazy(unit)
        await texts(engine)
        world.engines[0].go.clear()
        running = engine.complete(REQUEST)
        await anext(running)
        unit.retire()
        assert world.running == [1]
        world.engines[0].go.set()
        await running.aclose()
        await world.until(lambda: unit.state == "idle")
        assert world.running == []

    play(story)


def test_unloading_while_it_starts_tells_those_who_wait() -> None:
    async def story(world: World) -> None:
        world.gate.clear()
        unit = world.unit()
        waiting = asyncio.create_task(texts(lazy(unit)))
        await world.until(lambda: unit.state == "starting" and len(world.servers) == 1)
        await unit.unload()
        with pytest.raises(EngineError, match="unloaded while it was starting"):
            await waiting
        assert unit.state == "idle"

    play(story)


# Exclusive groups


def test_of_a_group_one_is_loaded_at_a_time() -> None:
    async def story(world: World) -> None:
        group = Group("gpu")
        a, b = (lazy(world.unit(name, group=group)) for name in "ab")
        await texts(a)
        assert (await texts(b))[-1] == "http://server-2"
        assert world.running == [2]
        assert (await texts(a))[-1] == "http://server-3"
        assert world.running == [3]

    play(story)


def test_a_swap_waits_for_running_requests_and_keeps_the_waiting_alive() -> None:
    async def story(world: World) -> None:
        group = Group("gpu")
        a, b = (lazy(world.unit(name, group=group)) for name in "ab")
        await texts(a)
        world.engines[0].go.clear()
        running = a.complete(REQUEST)
        await anext(running)
        waiting = b.complete(REQUEST)
        assert [await anext(waiting) for _ in range(3)] == [(), (), ()]
        assert world.running == [1]
        assert world.units[1].status.waiting == 1
        world.engines[0].go.set()
        await running.aclose()
        async for chunks in waiting:
            if chunks:
                assert chunks[0].text == "http://server-2"
        assert world.running == [2]

    play(story)


def test_nobody_overtakes_those_who_wait_for_another_model() -> None:
    async def story(world: World) -> None:
        group = Group("gpu")
        a, b = (lazy(world.unit(name, group=group)) for name in "ab")
        order: list[str] = []

        async def ask(engine: LazyEngine, name: str) -> None:
            await texts(engine)
            order.append(name)

        await texts(a)
        world.engines[0].go.clear()
        running = a.complete(REQUEST)
        await anext(running)
        for_b = asyncio.create_task(ask(b, "b"))
        await world.until(lambda: group.waiting(world.units[1]) == 1)
        late = asyncio.create_task(ask(a, "late a"))
        await world.until(lambda: group.waiting(world.units[0]) == 1)
        world.engines[0].go.set()
        await running.aclose()
        await asyncio.gather(for_b, late)
        assert order == ["b", "late a"]

    play(story)


def test_who_leaves_the_line_does_not_hold_up_the_others() -> None:
    async def story(world: World) -> None:
        group = Group("gpu")
        a, b = (lazy(world.unit(name, group=group)) for name in "ab")
        await texts(a)
        world.engines[0].go.clear()
        running = a.complete(REQUEST)
        await anext(running)
        leaving = b.complete(REQUEST)
        await anext(leaving)
        staying = asyncio.create_task(texts(a))
        await world.until(lambda: group.waiting(world.units[0]) == 1)
        await leaving.aclose()
        world.engines[0].go.set()
        await staying
        await running.aclose()
        assert len(world.servers) == 1

    play(story)


def test_a_member_that_cannot_start_does_not_block_its_group() -> None:
    async def story(world: World) -> None:
        group = Group("gpu")
        a, b = (lazy(world.unit(name, group=group)) for name in "ab")
        world.failures = ["broken"]
        with pytest.raises(EngineError, match="broken"):
            await texts(a)
        assert (await texts(b))[-1] == "http://server-2"

    play(story)


@pytest.mark.parametrize("seed", range(5))
def test_under_any_mix_of_requests_at_most_one_of_a_group_runs(seed: int) -> None:
    import random

    async def story(world: World) -> None:
        chance = random.Random(seed)
        group = Group("gpu")
        engines = [lazy(world.unit(name, group=group)) for name in "abc"]
        most = 0

        async def client() -> None:
            nonlocal most
            for _ in range(5):
                completion = chance.choice(engines).complete(REQUEST)
                async for chunks in completion:
                    most = max(most, len(world.running))
                    if not chunks and chance.random() < 0.2:
                        break
                await completion.aclose()

        await asyncio.gather(*[client() for _ in range(8)])
        assert most == 1

    play(story)
