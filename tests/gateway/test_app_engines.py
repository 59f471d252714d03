"""A real engine's protocol behind the gateway, and everything that can go wrong with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.wire import HELLO, Faults
from tests.gateway.serving import WAIT, Gateway, OneModel, StepEngine

from antiphon.engines.llama_server.client import LlamaServerEngine
from antiphon.engines.passthrough import Passthrough
from antiphon.settings.model import Settings, TurnSettings

IDLE = Settings(turn=TurnSettings(idle_seconds=0.6))
"""For an engine that hangs; one that works is never silent for so long."""


class OverLlama(Gateway):
    """A gateway over a fake llama-server. Its clients are made and closed in the gateway's loop."""

    def __init__(self, fake: FakeLlamaServer, settings: Settings | None = None, **how: Any) -> None:
        self._fake = fake
        self._harmony: bool = how.pop("harmony", True)
        super().__init__(None, settings, catalog=object(), **how)

    async def _serve(self) -> None:
        engine = LlamaServerEngine(self._fake.url)
        passthrough = Passthrough(self._fake.url)
        self.catalog = OneModel(engine, gpt_oss=self._harmony, passthrough=passthrough)
        try:
            await super()._serve()
        finally:
            await engine.aclose()
            await passthrough.aclose()


@contextmanager
def served(
    faults: Faults | None = None, settings: Settings | None = None, **how: Any
) -> Iterator[tuple[OverLlama, FakeLlamaServer]]:
    with FakeLlamaServer(HELLO, faults=faults or Faults()) as fake:
        with OverLlama(fake, settings, **how) as gateway:
            yield gateway, fake
        assert fake.active == 0


FAULTS = {
    "500": Faults(status=500, body="<html>no</html>"),
    "dies at once": Faults(die_after=0),
    "dies": Faults(die_after=7),
    "hangs at once": Faults(hang=0),
    "hangs": Faults(hang=7),
    "hangs before headers": Faults(hang_before_headers=True),
    "garbage": Faults(garbage=7),
    "half a frame": Faults(half_frame=7),
    "a line of 50 MB": Faults(huge_line=7),
    "an error event": Faults(error=7),
    "ends early": Faults(early_end=7),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_engine_does_the_client_gets_an_error_and_the_next_request_works(
    fault: str, stream: bool
) -> None:
    with served(FAULTS[fault], IDLE if "hangs" in fault else None) as (gateway, fake):
        answer = gateway.chat(stream=stream)
        fake.faults = Faults()
        again = gateway.chat(stream=stream)
    if answer.headers["content-type"].startswith("text/event-stream"):
        *_, error, done = answer.events
        assert done == "data: [DONE]"
        assert error["error"]["type"] in ("engine_error", "server_error")
    else:
        assert answer.status in (502, 504)
        assert answer.error["type"] in ("engine_error", "server_error")
    assert again.status == 200
    assert b"Traceback" not in answer.body


def test_an_engine_that_is_not_there_is_a_502() -> None:
    with FakeLlamaServer(HELLO) as fake:
        pass
    with OverLlama(fake) as gateway:
        answer = gateway.chat(stream=True)
    assert answer.status == 502
    assert answer.error["type"] == "engine_error"


def test_a_client_that_goes_frees_the_engines_slot() -> None:
    with served(Faults(hang=5)) as (gateway, fake):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        connection = gateway.connect()
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        assert response.read1()
        assert fake.active == 1
        response.close()
        connection.close()
        fake.faults = Faults()
        assert gateway.chat().status == 200


# Passing through


def test_an_ordinary_model_is_passed_through_untouched() -> None:
    with served(harmony=False) as (gateway, fake):
        answer = gateway.chat("Hi", temperature=0.3, anything={"goes": [1]})
        sent = fake.requests[-1]
    assert answer.status == 200
    assert answer.headers["antiphon-mode"] == "standard"
    assert sent.path == "/v1/chat/completions"
    assert sent.body["anything"] == {"goes": [1]}
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert headers["x-request-id"] == answer.headers["x-request-id"]
    assert answer.json["choices"]


def test_a_stream_is_passed_through_as_it_comes() -> None:
    with served(harmony=False) as (gateway, _):
        answer = gateway.chat("Hi", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.events[-1] == "data: [DONE]"


def test_a_stream_that_breaks_off_on_its_way_through_ends_with_an_error() -> None:
    with served(Faults(die_after=3), harmony=False) as (gateway, fake):
        answer = gateway.chat("Hi", stream=True)
        fake.faults = Faults()
        assert gateway.chat().status == 200
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"type":"engine_error"' in answer.body


def test_an_engines_refusal_is_passed_through() -> None:
    with served(Faults(status=400, body='{"error": {"message": "odd"}}'), harmony=False) as (
        gateway,
        _,
    ):
        answer = gateway.chat()
    assert answer.status == 400
    assert answer.json == {"error": {"message": "odd"}}


def test_a_raw_completion_is_the_engines_own_if_it_has_one() -> None:
    with served() as (gateway, fake):
        answer = gateway.send("POST", "/v1/completions", {"model": "m", "prompt": "Hi"})
        assert fake.requests[-1].path == "/v1/completions"
    assert answer.status == 200


def test_embeddings_are_passed_on_where_there_is_an_engine_route() -> None:
    body = {"model": "m", "input": "Hi"}
    with served() as (gateway, _):
        passed = gateway.send("POST", "/v1/embeddings", body)
    with Gateway(StepEngine()) as other:
        impossible = other.send("POST", "/v1/embeddings", body)
    assert passed.status == 200
    assert passed.json["data"]
    assert impossible.status == 400
    assert impossible.error["code"] == "unsupported_route"


def test_requests_at_the_same_time_do_not_mix() -> None:
    with served() as (gateway, _):
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(gateway.chat(stream=True).text))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert len(answers) == 12
    assert len(set(answers)) == 1
