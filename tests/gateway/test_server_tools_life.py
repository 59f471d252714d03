"""How calls of the server's tools end: with their client and their time; what outlives them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import OpenAI
from tests.api.responses_grammar import check_events
from tests.gateway.governing import Clock
from tests.gateway.responding import PATH, checked, checked_events, said
from tests.gateway.serving import WAIT, Gateway
from tests.gateway.tooling import (
    SEARCH,
    Site,
    answers,
    browses,
    encode,
    thinks,
    types,
)

from antiphon.api.responses.mend import Mended
from antiphon.gateway.servertools import containers as module
from antiphon.gateway.servertools.containers import Containers, find_file
from antiphon.settings.tools import BrowserSettings, PythonSettings, ServerToolSettings
from antiphon.store.memory import MemoryStore
from antiphon.tools.protocol import Emit, ToolFile
from antiphon.tools.python.interpreter import Ran
from antiphon.vocab.control import CHANNEL, END, MESSAGE, START

FOUND = browses("search", '{"query": "purr"}')


class Silence:
    """A search service that takes connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT)
        self.settings = BrowserSettings(
            backend="searxng", url=f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        )

    @contextmanager
    def asked(self) -> Iterator[socket.socket]:
        """The connection of one search."""
        connection, _ = self._listener.accept()
        connection.settimeout(WAIT)
        try:
            assert connection.recv(65536).startswith(b"GET ")
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def silence() -> Iterator[Silence]:
    service = Silence()
    yield service
    service.close()


def silent(site: Site, service: Silence) -> Site:
    site.settings = msgspec.structs.replace(site.settings, browser=service.settings)
    return site


def test_a_call_ends_with_the_client_that_waits_for_it(tmp_path: Path, silence: Silence) -> None:
    site = silent(Site(tmp_path, FOUND, answers("Yes.")), silence)
    body = {"model": "m", "input": "Hi", "tools": [SEARCH], "stream": True}
    with site.gateway() as gateway:
        client = gateway.connect()
        headers = {"content-type": "application/json", **site.bearer}
        client.request("POST", PATH, json.dumps(body), headers)
        response = client.getresponse()
        with silence.asked() as search:
            response.close()
            client.close()
            assert search.recv(65536) == b""  # It was given up.
    assert len(site.engine.requests) == 1


def test_a_response_in_the_background_is_cancelled_inside_a_call(
    tmp_path: Path, silence: Silence
) -> None:
    site = silent(Site(tmp_path, FOUND, answers("Yes.")), silence)
    with site.gateway() as gateway:
        begun = site.send(gateway, tools=[SEARCH], background=True).json
        with silence.asked() as search:
            path = f"{PATH}/{begun['id']}/cancel"
            ended = checked(gateway.send("POST", path, {}, site.bearer).json)
            assert search.recv(65536) == b""
        events = checked_events(site.kept(gateway, f"{PATH}/{begun['id']}?stream=true"))
    assert ended["status"] == "cancelled"
    assert ended["output"][-1]["status"] == "failed"
    assert events[-1]["response"] == ended


def test_a_call_without_end_is_ended_and_the_model_answers(
    tmp_path: Path, silence: Silence
) -> None:
    site = silent(Site(tmp_path, FOUND, answers("No luck."), seconds=0.2), silence)
    with site.gateway() as gateway:
        response = site.created(gateway, tools=[SEARCH])
    assert response["output"][0]["status"] == "failed"
    assert said(response) == "No luck."


def test_calls_of_one_turn_run_side_by_side_and_are_told_in_their_order(
    tmp_path: Path, silence: Silence
) -> None:
    one = [CHANNEL, *encode("analysis to=browser.search code"), MESSAGE]
    both = [*one, *encode('{"query": "a"}'), END, START, *encode("assistant"), *FOUND]
    site = silent(Site(tmp_path, both, answers("Yes.")), silence)
    with site.gateway() as gateway:
        client = gateway.connect()
        body = json.dumps({"model": "m", "input": "Hi", "tools": [SEARCH]})
        headers = {"content-type": "application/json", **site.bearer}
        client.request("POST", PATH, body, headers)
        with silence.asked() as first, silence.asked() as second:
            for search in (second, first):
                answer = b'{"results": []}'
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                search.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(answer), answer))
            response = checked(json.loads(client.getresponse().read()))
        client.close()
    queries = [item["action"]["query"] for item in response["output"][:2]]
    assert queries == ["a", "purr"]
    text = site.engine.text(1)
    assert text.index("No results for: `a`") < text.index("No results for: `purr`")


def test_openai_python_reads_the_stream(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        thinks("I look.", FOUND),
        browses("open", '{"id": 0}'),
        answers("Content【1†L4】."),
    )
    secret = site.bearer["authorization"].removeprefix("Bearer ")
    with site.gateway() as gateway:
        url = f"http://127.0.0.1:{gateway.port}/v1"
        with (
            OpenAI(base_url=url, api_key=secret, _strict_response_validation=True) as client,
            client.responses.stream(
                model="m", input="Why?", tools=[{"type": "web_search"}]
            ) as stream,
        ):
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
    assert kinds.count("response.web_search_call.searching") == 2
    assert "response.output_text.annotation.added" in kinds
    message: Any = final.output[-1]
    part = message.content[0]
    assert part.annotations[0].url == "https://docs.example/cats.md"


def test_a_stream_that_broke_off_anywhere_is_brought_to_a_proper_end(tmp_path: Path) -> None:
    site = Site(
        tmp_path, thinks("I look.", FOUND), browses("open", '{"id": 0}'), answers("Yes【1†L4】.")
    )
    with site.gateway() as gateway:
        events = site.streamed(gateway, "Why?", tools=[SEARCH])
    begun = json.dumps(events[0]["response"]).encode()
    for cut in range(2, len(events) - 1):
        mended = Mended()
        mended.feed([json.dumps(event).encode() for event in events[:cut]])
        _, missing = mended.end(begun)
        check_events([*events[:cut], *missing], terminal=False)


def test_a_reload_turns_tools_on_and_off(tmp_path: Path) -> None:
    site = Site(tmp_path, answers("Hello."), offered=())
    now = [site.settings]
    with site.gateway(read=lambda: now[0]) as gateway:

        def reload(offered: tuple[Any, ...], **browser: Any) -> bool:
            settings = msgspec.structs.replace(
                site.settings,
                server_tools=ServerToolSettings(offered=offered),
                browser=msgspec.structs.replace(site.settings.browser, **browser),
            )
            now[0] = settings
            work = gateway.services.reload()
            return asyncio.run_coroutine_threadsafe(work, gateway.loop).result(WAIT)

        assert offers(site, gateway) is False
        assert reload(("web_search",)) is True
        assert offers(site, gateway) is True
        assert reload(("web_search",), folder="/nowhere") is False
        assert offers(site, gateway) is True
        assert reload(()) is True
        assert offers(site, gateway) is False


def offers(site: Site, gateway: Gateway) -> bool:
    got = site.send(gateway, tools=[SEARCH])
    assert types(got.json) == ["message"]
    return "antiphon-ignored" not in got.headers


# Containers.


class FakeInterpreter:
    """Counts how many of its kind there are."""

    open = 0
    notes = ""

    def __init__(self, settings: PythonSettings) -> None:
        type(self).open += 1

    async def check(self) -> str | None:
        return None

    async def run(self, code: str, *, emit: Emit) -> Ran:
        return Ran(code)

    async def aclose(self) -> None:
        type(self).open -= 1


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[FakeInterpreter]:
    class Fake(FakeInterpreter):
        open = 0

    monkeypatch.setattr(module, "interpreter", Fake)
    return Fake


def containers(clock: Clock, **settings: Any) -> tuple[Containers, MemoryStore]:
    store = MemoryStore(clock=clock.monotonic)
    made = Containers(
        PythonSettings(**settings),
        store,
        clock=clock.monotonic,
        now=lambda: 7,
        new_id=iter("abcdefgh").__next__,
    )
    return made, store


def test_one_container_too_many_waits_and_the_oldest_idle_one_goes(
    made: type[FakeInterpreter],
) -> None:
    async def main() -> None:
        clock = Clock()
        here, _ = containers(clock, sessions=2)
        first, new = await here.hold("k", "one")
        second, _ = await here.hold("k", "two")
        assert new
        waiting = asyncio.ensure_future(here.hold("k", "three"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await here.release(second)
        await waiting
        assert here.find("k", "two") is None
        assert here.find("k", "one") is first
        assert made.open == 2
        again, new = await here.hold("k", "one")
        assert again is first
        assert not new
        await here.aclose()
        assert made.open == 0

    asyncio.run(main())


def test_a_container_belongs_to_its_key_and_ends_when_it_was_idle_for_long(
    made: type[FakeInterpreter],
) -> None:
    async def main() -> None:
        clock = Clock()
        here, _ = containers(clock, idle_seconds=0.001)
        held, _ = await here.hold("k", "one")
        assert here.find("other", "one") is None
        await here.release(held)
        clock.time += 1
        while here.find("k", "one") is not None or made.open:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await here.aclose()

    asyncio.run(main())


def test_files_of_a_container_are_bounded_and_another_keys_are_not_there(
    made: type[FakeInterpreter], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        here, store = containers(Clock())
        held, _ = await here.hold("k", "one")
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)
        id_ = await here.keep(held, ToolFile("a.txt", b"12345678"))
        assert id_ is not None
        assert await here.keep(held, ToolFile("b.txt", b"123")) is None
        found = await find_file(store, "k", "one", id_)
        assert found is not None
        assert found.data == b"12345678"
        assert await find_file(store, "other", "one", id_) is None
        await here.release(held)
        await here.aclose()

    asyncio.run(main())
