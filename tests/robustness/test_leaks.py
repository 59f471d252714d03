"""Engines that go wrong and clients that go away, kind by kind, over real sockets.

The client gets a proper end or an error, nothing is left behind (tasks, sockets, places, work at
the engine), and the next request is answered.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.wire import Faults
from tests.gateway.serving import Answer, until
from tests.robustness.faulty import KINDS, Detected, request, served
from tests.robustness.judging import judge_error

from antiphon.engines.breaker import FAILURES
from antiphon.engines.wire import Answer as EngineAnswer
from antiphon.gateway.context import RequestContext

SOAK = int(os.environ.get("ANTIPHON_SOAK", "1"))

FAULTS = {
    "refuses with 500": Faults(status=500, body="<html>no</html>"),
    "is overloaded": Faults(status=503),
    "wants a key": Faults(status=401),
    "dies at once": Faults(die_after=0),
    "dies in the middle": Faults(die_after=7),
    "hangs before its headers": Faults(hang_before_headers=True),
    "hangs at once": Faults(hang=0),
    "hangs in the middle": Faults(hang=7),
    "sends garbage": Faults(garbage=7),
    "sends half a frame": Faults(half_frame=7),
    "sends a line of 50 MB": Faults(huge_line=7),
    "sends an error": Faults(error=7),
    "ends too early": Faults(early_end=7),
}


@pytest.fixture(scope="module", params=KINDS)
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Detected]:
    with served(request.param, tmp_path_factory.mktemp("leaks")) as running:
        yield running


def check_failed(answer: Answer) -> None:
    if answer.headers["content-type"].startswith("text/event-stream"):
        *events, error, done = answer.events
        assert done == "data: [DONE]"
        assert all("error" not in event for event in events)
        judge_error(error)
        assert error["error"]["type"] in ("engine_error", "server_error")
    else:
        assert answer.status in (502, 503, 504)
        judge_error(answer.json)
        assert answer.error["type"] in ("engine_error", "server_error")


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_fails_is_an_error_and_the_next_request_works(
    gateway: Detected, fault: str, stream: bool
) -> None:
    tasks = gateway.tasks
    gateway.fake.faults = FAULTS[fault]
    failed = gateway.ask(stream=stream)
    gateway.fake.faults = Faults()
    again = gateway.ask(stream=stream)
    check_failed(failed)
    assert again.status == 200, again.body
    assert b"error" not in again.body
    until(lambda: gateway.held == (0, 0, 0, 0))
    until(lambda: gateway.tasks <= tasks)


def requests_alive() -> int:
    """What exists of requests, here and to engines, cycles that nobody has found yet too."""
    kinds = (EngineAnswer, RequestContext)
    return sum(issubclass(type(found), kinds) for found in gc.get_objects())


@pytest.mark.parametrize("how", [{"stream": True}, {"stream": False}, {"temperature": 9}], ids=str)
def test_a_request_is_let_go_of_without_a_search_for_cycles(
    gateway: Detected, how: dict[str, object]
) -> None:
    gateway.ask(**how)
    gc.collect()
    gc.disable()
    try:
        before = requests_alive()
        for _ in range(10):
            gateway.ask(**how)
        until(lambda: requests_alive() <= before)
    finally:
        gc.enable()


@pytest.mark.slow
def test_an_engine_that_comes_back_is_used_again(tmp_path: Path) -> None:
    """While it is down, nobody waits for it, and everybody is told when to try again."""
    with served("vllm", tmp_path) as gateway:
        gateway.fake.faults = Faults(die_after=0)
        failed = [gateway.ask(stream=bool(i % 2)) for i in range(3 * FAILURES)]
        gateway.fake.faults = Faults()
        for answer in failed:
            check_failed(answer)
        refused = [answer for answer in failed if answer.status == 503]
        assert len(refused) >= FAILURES
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        until(lambda: gateway.ask().status == 200)


# Clients that go away.


def leave_in_the_body(gateway: Detected, connection: socket.socket) -> None:
    data = request(gateway, stream=True)
    connection.sendall(data[: len(data) // 2])


def leave_before_the_first_byte(gateway: Detected, connection: socket.socket) -> None:
    gateway.fake.faults = Faults(hang_before_headers=True)
    connection.sendall(request(gateway, stream=True))
    until(lambda: gateway.fake.active == 1)


def leave_while_the_prompt_is_read(gateway: Detected, connection: socket.socket) -> None:
    gateway.fake.faults = Faults(hang=0)
    connection.sendall(request(gateway))
    until(lambda: gateway.fake.active == 1)


def leave_in_the_stream(gateway: Detected, connection: socket.socket) -> None:
    gateway.fake.faults = Faults(hang=6)
    connection.sendall(request(gateway, stream=True))
    received = b""
    while b'"delta"' not in received:
        received += connection.recv(65536)


def leave_several_choices(gateway: Detected, connection: socket.socket) -> None:
    gateway.fake.faults = Faults(hang=6)
    connection.sendall(request(gateway, stream=True, n=3))
    until(lambda: gateway.fake.active == 3)
    assert connection.recv(65536)


def reset_in_the_stream(gateway: Detected, connection: socket.socket) -> None:
    leave_in_the_stream(gateway, connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


PHASES: dict[str, Callable[[Detected, socket.socket], None]] = {
    "in the middle of its body": leave_in_the_body,
    "before the engine says anything": leave_before_the_first_byte,
    "while the prompt is read": leave_while_the_prompt_is_read,
    "in the middle of the stream": leave_in_the_stream,
    "in the middle of three choices": leave_several_choices,
    "with a reset": reset_in_the_stream,
}


@pytest.fixture(scope="module", params=KINDS)
def patient(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Detected]:
    """One that waits for its engine longer than a test lasts."""
    with served(request.param, tmp_path_factory.mktemp("gone"), idle_seconds=60.0) as running:
        yield running


@pytest.mark.parametrize("phase", PHASES)
def test_a_client_that_goes_leaves_nothing_behind(patient: Detected, phase: str) -> None:
    tasks = patient.tasks
    try:
        for _ in range(2 * SOAK):
            with patient.socket() as connection:
                PHASES[phase](patient, connection)
            until(lambda: patient.held == (0, 0, 0, 0))
    finally:
        patient.fake.faults = Faults()
    assert patient.ask(stream=True).events[-1] == "data: [DONE]"
    until(lambda: patient.tasks <= tasks)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_goes_while_it_waits_gives_up_its_place_in_the_queue(
    tmp_path: Path, kind: str
) -> None:
    with served(kind, tmp_path, concurrent=1, idle_seconds=60.0) as gateway:
        gateway.fake.faults = Faults(hang=6)
        with gateway.socket() as running:
            running.sendall(request(gateway, stream=True))
            until(lambda: gateway.held == (1, 0, 1, 1))
            waiting = [gateway.socket() for _ in range(4 * SOAK)]
            for number, connection in enumerate(waiting):
                connection.sendall(request(gateway, stream=bool(number % 2)))
            until(lambda: gateway.held == (1, len(waiting), 1 + len(waiting), 1))
            for connection in waiting[1:]:
                connection.close()
            until(lambda: gateway.held == (1, 1, 2, 1))
            gateway.fake.faults = Faults()
        assert b" 200 " in waiting[0].recv(65536)
        waiting[0].close()


def test_an_engine_that_is_never_done_reading_the_prompt_is_left_at_last(tmp_path: Path) -> None:
    """Signs of life are no silence, but a turn has its longest time."""
    with served("llama.cpp", tmp_path, turn_seconds=0.8) as gateway:
        assert isinstance(gateway.fake, FakeLlamaServer)
        gateway.fake.pings = 10**9
        for stream in (False, True):
            answer = gateway.ask(stream=stream)
            assert answer.status in (200, 504), answer.body
            until(lambda: gateway.held == (0, 0, 0, 0))
            if answer.status == 200:
                assert answer.events[-1] == "data: [DONE]"
        gateway.fake.pings = 0
        assert gateway.ask().status == 200
