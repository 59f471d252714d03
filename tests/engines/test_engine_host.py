"""Servers that one process starts for several: once each, as long as somebody holds them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from antiphon.engines.group import Group
from antiphon.engines.launch.host import EngineHost, Order, decode_order, encode_order
from antiphon.engines.launch.plan import LaunchPlan
from antiphon.engines.lifecycle import Unit
from antiphon.errors import EngineError


def order(name: str, group: str | None = None) -> Order:
    plan = LaunchPlan(
        name=name, model=Path("/models") / name, gpt_oss=True, architecture="gpt-oss",
        server="auto", context=4096, parallel=2, gpu_layers=-1, threads=0, extra_args=(),
        start_seconds=60.0,
    )  # fmt: skip
    return Order(plan=plan, group=group)


class Fake:
    """A server that does nothing. `gate` holds up its start."""

    def __init__(self, name: str, log: list[str], on_exit: Callable[[], None], fails: bool) -> None:
        self.name = name
        self.url = f"http://{name}"
        self.pid: int | None = 1
        self.gate = threading.Event()
        self.gate.set()
        self._log = log
        self._fails = fails
        self.die = on_exit

    def start(self) -> None:
        self._log.append(f"start {self.name}")
        self.gate.wait(60)
        if self._fails:
            raise EngineError(f"no {self.name}")

    def stop(self) -> None:
        self.gate.set()
        self._log.append(f"stop {self.name}")

    def exit_cause(self) -> str | None:
        return "it fell over"


class Worker:
    """A holder that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard = asyncio.Event()

    def gone(self, cause: str) -> None:
        self.told.append(f"gone: {cause}")
        self.heard.set()

    def asked(self, *, now: bool) -> None:
        self.told.append("now" if now else "when idle")
        self.heard.set()


class Host:
    def __init__(self, *, fails: bool = False) -> None:
        self.log: list[str] = []
        self.made: list[Fake] = []
        self._fails = fails
        self.host = EngineHost(self._make)

    def _make(self, wanted: Order, on_exit: Callable[[], None]) -> Any:
        self.made.append(Fake(wanted.name, self.log, on_exit, self._fails))
        return self.made[-1]


def run(scenario: Callable[[Host], Awaitable[None]], *, fails: bool = False) -> None:
    async def scene() -> None:
        async with asyncio.timeout(60):
            host = Host(fails=fails)
            await scenario(host)
            await host.host.aclose()

    asyncio.run(scene())


def test_one_server_is_started_for_all_and_ends_with_the_last() -> None:
    async def scenario(h: Host) -> None:
        a, b = Worker(), Worker()
        first, second = await asyncio.gather(h.host.hold(order("m"), a), h.host.hold(order("m"), b))
        assert first is second
        assert [(o.name, s.url) for o, s in h.host.running()] == [("m", "http://m")]
        h.host.release(order("m"), a)
        h.host.release(order("m"), a)
        assert h.log == ["start m"]
        h.host.release(order("m"), b)
        await h.host.hold(order("m"), a)  # Which waits until the old one has ended.
        assert h.log == ["start m", "stop m", "start m"]

    run(scenario)


def test_all_holders_hear_that_a_server_died_and_the_next_one_is_new() -> None:
    async def scenario(h: Host) -> None:
        a, b = Worker(), Worker()
        await h.host.hold(order("m"), a)
        await h.host.hold(order("m"), b)
        h.made[0].die()
        await a.heard.wait()
        assert a.told == b.told == ["gone: it fell over"]
        again = await h.host.hold(order("m"), a)
        assert again is h.made[1]

    run(scenario)


def test_a_server_that_cannot_start_is_told_to_all_who_wait() -> None:
    async def scenario(h: Host) -> None:
        for worker in (Worker(), Worker()):
            with pytest.raises(EngineError, match="no m"):
                await h.host.hold(order("m"), worker)
        assert h.host.running() == []

    run(scenario, fails=True)


def test_who_leaves_while_a_server_starts_does_not_stop_it_for_others() -> None:
    async def scenario(h: Host) -> None:
        a, b = Worker(), Worker()
        waiting = asyncio.ensure_future(h.host.hold(order("m"), a))
        staying = asyncio.ensure_future(h.host.hold(order("m"), b))
        await asyncio.sleep(0)
        waiting.cancel()
        assert (await staying).url == "http://m"
        assert h.log == ["start m"]

    run(scenario)


def test_models_of_a_group_take_turns_over_all_processes() -> None:
    async def scenario(h: Host) -> None:
        a, b = Worker(), Worker()
        await h.host.hold(order("x", "gpu"), a)
        other = asyncio.ensure_future(h.host.hold(order("y", "gpu"), b))
        await a.heard.wait()
        assert a.told == ["when idle"]
        assert h.log == ["start x"]
        back = asyncio.ensure_future(h.host.hold(order("x", "gpu"), a))  # It has to queue again.
        h.host.release(order("x", "gpu"), a)
        await other
        assert h.log == ["start x", "stop x", "start y"]
        await b.heard.wait()
        h.host.release(order("y", "gpu"), b)
        await back
        assert h.log == ["start x", "stop x", "start y", "stop y", "start x"]

    run(scenario)


def test_unloading_tells_every_holder_and_waits_for_the_end() -> None:
    async def scenario(h: Host) -> None:
        a, b = Worker(), Worker()
        await h.host.hold(order("m"), a)
        await h.host.hold(order("m"), b)
        unloading = asyncio.ensure_future(h.host.unload(order("m")))
        await b.heard.wait()
        assert a.told == b.told == ["now"]
        for worker in (a, b):
            h.host.release(order("m"), worker)
        await unloading
        assert h.log == ["start m", "stop m"]
        await h.host.unload(order("m"))

    run(scenario)


@pytest.mark.parametrize("one", [Order(), order("m"), order("m", "gpu")])
def test_an_order_can_be_told_to_another_process(one: Order) -> None:
    assert decode_order(encode_order(one)) == one


def test_a_unit_that_gives_way_ends_when_its_requests_have() -> None:
    async def scenario(h: Host) -> None:
        class Engine:
            name = "e"

            async def aclose(self) -> None: ...

        def start(on_exit: Callable[[], None]) -> Any:
            return Fake("m", h.log, on_exit, False)

        unit = Unit("m", start, lambda url: Engine(), group=Group("gpu"))  # type: ignore[arg-type,return-value]
        await unit.acquire()
        going = asyncio.ensure_future(unit.give_way())
        again = asyncio.ensure_future(unit.acquire())  # Comes later, so it waits.
        done, _ = await asyncio.wait((going, again), timeout=0.05)
        assert not done
        assert h.log == ["start m"]
        unit.release()
        await going
        await again
        assert h.log == ["start m", "stop m", "start m"]
        unit.release()
        await unit.aclose()

    run(scenario)
