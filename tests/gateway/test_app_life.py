"""Streams in time: clients that go, that wait, that do not read; and the server's end."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from tests.gateway.serving import WAIT, Answer, Gate, Gateway, StepEngine, final, quick

from antiphon.settings.model import LimitSettings, ServerSettings, Settings

CHAT = "/v1/chat/completions"


def request(*, stream: bool) -> bytes:
    body = json.dumps(
        {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    ).encode()
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return head % CHAT.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


class Client(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, gateway: Gateway, **parameters: object) -> None:
        super().__init__()
        self._gateway = gateway
        self._parameters = parameters
        self._answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self._answer = self._gateway.chat(**self._parameters)

    @property
    def answer(self) -> Answer:
        self.join(WAIT)
        assert self._answer is not None
        return self._answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_goes_stops_the_engine(stream: bool, begun: bool) -> None:
    never = Gate()
    engine = StepEngine(*([final("One two")[:5]] if begun else []), never)
    with Gateway(engine) as gateway:
        with gateway.socket() as connection:
            connection.sendall(request(stream=stream))
            assert engine.began.acquire(timeout=WAIT)
            if stream and begun:
                assert connection.recv(65536)
        assert engine.ended.acquire(timeout=WAIT)
        engine.steps = [final("Next.")]
        assert gateway.chat().status == 200
        assert engine.running == 0


def test_a_client_that_only_closes_its_side_is_gone_too() -> None:
    engine = StepEngine(Gate())
    with Gateway(engine) as gateway, gateway.socket() as connection:
        connection.sendall(request(stream=True))
        assert engine.began.acquire(timeout=WAIT)
        connection.shutdown(socket.SHUT_WR)
        assert engine.ended.acquire(timeout=WAIT)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_with_a_second_request_behind_the_first(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    engine = StepEngine(Gate())
    with Gateway(engine) as gateway, caplog.at_level("ERROR"):
        with gateway.socket() as connection:
            connection.sendall(request(stream=stream) + request(stream=stream))
            assert engine.began.acquire(timeout=WAIT)
        # What waits behind keeps the connection from being read to its end: it is cut.
        gateway.loop.call_soon_threadsafe(cut, gateway)
        assert engine.ended.acquire(timeout=WAIT)
        assert not engine.began.acquire(timeout=0.05)
    assert caplog.text == ""


def cut(gateway: Gateway) -> None:
    for connection in gateway.server.server_state.connections:
        connection.transport.abort()


def test_many_clients_that_go_leave_nothing_behind() -> None:
    engine = StepEngine(final("One")[:4], Gate())
    with Gateway(engine) as gateway:
        connections = [gateway.socket() for _ in range(30)]
        for connection in connections:
            connection.sendall(request(stream=True))
        for _ in connections:
            assert engine.began.acquire(timeout=WAIT)
        for connection in connections:
            connection.close()
        for _ in connections:
            assert engine.ended.acquire(timeout=WAIT)


def test_a_silent_stream_is_kept_alive_with_comments() -> None:
    gate = Gate()
    with Gateway(StepEngine(gate, final("At last.")), quick(keepalive_seconds=0.02)) as gateway:
        connection = gateway.socket()
        connection.sendall(request(stream=True))
        received = b""
        while received.count(b": keep-alive\n\n") < 3:
            piece = connection.recv(65536)
            assert piece
            received += piece
        assert b"data: " not in received
        gate.open()
        while b"[DONE]" not in received:
            received += connection.recv(65536)
        connection.close()
    assert received.startswith(b"HTTP/1.1 200 ")


def test_a_stream_that_waits_for_its_place_is_kept_alive_too() -> None:
    gate = Gate()
    engine = StepEngine(gate, final("Mine."))
    settings = Settings(
        server=ServerSettings(keepalive_seconds=0.02), limits=LimitSettings(concurrent=1)
    )
    with Gateway(engine, settings) as gateway:
        first = Client(gateway)
        assert engine.began.acquire(timeout=WAIT)
        with gateway.socket() as connection:
            connection.sendall(request(stream=True))
            received = b""
            while received.count(b": keep-alive\n\n") < 3:
                received += connection.recv(65536)
            assert len(engine.requests) == 1
            gate.open()
            while b"[DONE]" not in received:
                received += connection.recv(65536)
        assert first.answer.status == 200
    assert b"data: " in received
    assert b"error" not in received


def test_a_stream_that_waited_in_vain_ends_with_an_error_event() -> None:
    gate = Gate()
    engine = StepEngine(gate, final("Mine."))
    settings = Settings(
        server=ServerSettings(keepalive_seconds=0.02),
        limits=LimitSettings(concurrent=1, queue_seconds=0.5),
    )
    with Gateway(engine, settings) as gateway:
        first = Client(gateway)
        assert engine.began.acquire(timeout=WAIT)
        late = gateway.chat(stream=True)
        gate.open()
        assert first.answer.status == 200
    assert late.status == 200
    error, done = late.events
    assert error["error"]["code"] == "overloaded"
    assert done == "data: [DONE]"


def test_an_engine_that_fails_after_a_comment_ends_the_stream_properly() -> None:
    gate = Gate()
    engine = StepEngine(gate, ZeroDivisionError())
    settings = quick(keepalive_seconds=0.02)
    with Gateway(engine, settings) as gateway, gateway.socket() as connection:
        connection.sendall(request(stream=True))
        received = b""
        while b": keep-alive\n\n" not in received:
            received += connection.recv(65536)
        gate.open()
        while b"[DONE]" not in received:
            received += connection.recv(65536)
    assert b'data: {"error":{' in received


def test_a_client_that_does_not_read_stops_the_engine_from_going_on() -> None:
    """What is sent is bounded by the sockets' buffers, not by what the engine has to say."""
    sent: list[int] = []
    piece = final("x " * 2_000)
    steps: list[object] = [piece[:3]]
    for number in range(2_000):
        steps += [piece[3:-1], lambda number=number: sent.append(number)]
    engine = StepEngine(*steps)  # type: ignore[arg-type]
    with Gateway(engine) as gateway:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(request(stream=True))
        assert engine.began.acquire(timeout=WAIT)
        # A second stream is served while the first one is stuck.
        engine.steps = [final("Quick.")]
        for _ in range(5):
            assert gateway.chat(stream=True).text == "Quick."
        assert len(sent) < 200
        connection.close()
        for _ in range(6):
            assert engine.ended.acquire(timeout=WAIT)


def test_a_client_that_has_stopped_reading_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.gateway.sse.STALL_SECONDS", 0.1)
    piece = final("x " * 2_000)
    engine = StepEngine(*[piece[:-1]] * 2_000)
    with Gateway(engine, quick(keepalive_seconds=0.02)) as gateway:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(request(stream=True))
        assert engine.ended.acquire(timeout=WAIT)
        connection.close()


# The end


def test_the_end_waits_for_streams_to_finish() -> None:
    gate = Gate()
    engine = StepEngine(final("Whole answer.")[:4], gate, final("Whole answer.")[4:])
    with Gateway(engine) as gateway:
        streamed, whole = Client(gateway, stream=True), Client(gateway)
        for _ in range(2):
            assert engine.began.acquire(timeout=WAIT)
        gateway.stop()
        gate.open()
        assert streamed.answer.text == "Whole answer."
        assert whole.answer.json["choices"][0]["message"]["content"] == "Whole answer."
        gateway.join()


@pytest.mark.parametrize("how", ["time is up", "asked again"])
def test_streams_that_outlast_the_end_get_a_proper_error(how: str) -> None:
    told = threading.Semaphore(0)
    engine = StepEngine(final("Half an answer")[:5], told.release, Gate())
    seconds = 0.1 if how == "time is up" else 60.0
    with Gateway(engine, quick(shutdown_seconds=seconds)) as gateway:
        streamed, whole = Client(gateway, stream=True), Client(gateway)
        for _ in range(2):
            assert told.acquire(timeout=WAIT)
        gateway.stop()
        if how == "asked again":
            gateway.stop()
        assert streamed.answer.events[-1] == "data: [DONE]"
        assert streamed.answer.events[-2]["error"]["code"] == "shutting_down"
        assert whole.answer.status == 503
        assert whole.answer.error["code"] == "shutting_down"
        assert whole.answer.headers["retry-after"] == "5"
        gateway.join()


def test_nothing_new_begins_once_the_end_has_begun() -> None:
    engine = StepEngine(final("Hi."))
    with Gateway(engine) as gateway:
        gateway.loop.call_soon_threadsafe(gateway.services.lifecycle.drain, 60.0)
        ready, answer = gateway.send("GET", "/ready"), gateway.chat()
        assert gateway.send("GET", "/health").status == 200
    assert ready.status == 503
    assert answer.status == 503
    assert engine.requests == []


def test_a_client_that_goes_while_it_still_sends_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Gateway(StepEngine(final("Hi."))) as gateway:
        with gateway.socket() as connection:
            connection.sendall(request(stream=False)[:-5])
        assert gateway.chat().status == 200
    assert "ERROR" not in caplog.text
    assert "Traceback" not in caplog.text


def test_requests_sent_ahead_are_answered_in_order() -> None:
    with Gateway(StepEngine(final("Hi."))) as gateway, gateway.socket() as connection:
        connection.sendall(request(stream=True) + request(stream=False) + request(stream=True))
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 3 or received.count(b"[DONE]") < 2:
            piece = connection.recv(65536)
            assert piece
            received += piece
    assert received.index(b"[DONE]") < received.index(b'"usage"') < received.rindex(b"[DONE]")
