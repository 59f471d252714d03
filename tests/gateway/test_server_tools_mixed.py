"""The server's tools as models really call them, together, and over every way to be answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.api.responses_grammar import check_events
from tests.gateway.responding import PATH, WEATHER, calling, checked, checked_events, said
from tests.gateway.serving import WAIT
from tests.gateway.test_responses_ordinary import Chat, call, delta
from tests.gateway.tooling import (
    CODE,
    SEARCH,
    Site,
    answers,
    browses,
    encode,
    runs,
    thinks,
    types,
)

from antiphon.api.responses.mend import Mended
from antiphon.gateway.servertools import containers as module
from antiphon.settings.tools import PythonSettings
from antiphon.tools.protocol import Emit, ToolFile
from antiphon.tools.python.interpreter import Ran
from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, START

BOTH = ("web_search", "code_interpreter")
OUTPUTS = ["code_interpreter_call.outputs"]


class Echo:
    """An interpreter that tells how often it ran and what it was given; ``plot`` makes a file."""

    notes = "Internet access for this session is disabled."

    def __init__(self, settings: PythonSettings) -> None:
        self.count = 0

    async def check(self) -> str | None:
        return None

    async def run(self, code: str, *, emit: Emit) -> Ran:
        self.count += 1
        files = (ToolFile("plot.png", b"\x89PNG", "image/png"),) if code == "plot" else ()
        return Ran(f"run {self.count}: {code}", failed=code == "raise", files=files)

    async def aclose(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "interpreter", Echo)


# As models write calls.


def header(words: str, body: str) -> list[int]:
    return [CHANNEL, *encode(words), MESSAGE, *encode(body), CALL]


PURR = '{"query": "purr"}'
AS_WRITTEN = {
    "trained": header("analysis to=browser.search code", PURR),
    "json": [
        CHANNEL,
        *encode("analysis to=browser.search "),
        CONSTRAIN,
        *encode("json"),
        MESSAGE,
        *encode(PURR),
        CALL,
    ],
    "commentary": header("commentary to=browser.search json", PURR),
    "functions": header("commentary to=functions.browser.search json", PURR),
    "recipient first": [
        *encode(" to=browser.search"),
        CHANNEL,
        *encode("analysis"),
        MESSAGE,
        *encode(PURR),
        CALL,
    ],
    "repaired": header("analysis to=browser.search code", "{'query': 'purr',}"),
    "ended as a message": [
        CHANNEL,
        *encode("analysis to=browser.search code"),
        MESSAGE,
        *encode(PURR),
        END,
        START,
        *encode("assistant"),
        CHANNEL,
        *encode("analysis"),
        MESSAGE,
        *encode("Now I wait."),
        END,
    ],
}


@pytest.mark.parametrize("how", sorted(AS_WRITTEN))
def test_a_search_is_made_however_the_model_writes_it(tmp_path: Path, how: str) -> None:
    site = Site(tmp_path, AS_WRITTEN[how], answers("Yes【0†L4】."))
    with site.gateway() as gateway:
        events = site.streamed(gateway, tools=[SEARCH])
    response = events[-1]["response"]
    assert types(response)[0] == "web_search_call"
    assert types(response)[-1] == "message"
    assert response["output"][0]["action"]["query"] == "purr"
    assert response["output"][0]["status"] == "completed"
    assert "Keeping cats" in site.engine.text(1)


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        ("search", "{}", "`query` is missing."),
        ("open", '{"id": 99}', "No pages to access!"),
        ("find", '{"pattern": "x"}', "No pages to access!"),
        ("open", '{"cursor": 7}', "No pages to access!"),
    ],
)
def test_what_is_wrong_with_a_call_is_told_to_the_model(
    tmp_path: Path, function: str, arguments: str, says: str
) -> None:
    site = Site(tmp_path, browses(function, arguments), answers("Sorry."))
    with site.gateway() as gateway:
        events = site.streamed(gateway, tools=[SEARCH])
    assert events[-1]["response"]["output"][0]["status"] == "failed"
    assert says in site.engine.text(1)


# Code.


def test_code_comes_as_it_is_written_and_its_outputs_where_they_are_asked_for(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, runs("1 + 1"), answers("Two."), offered=BOTH)
    with site.gateway() as gateway:
        events = site.streamed(gateway, tools=[CODE])
        asked = site.created(gateway, tools=[CODE], include=OUTPUTS)
    kinds = [event["type"] for event in events]
    assert kinds.count("response.code_interpreter_call_code.delta") > 1
    assert events[-1]["response"]["output"][0]["outputs"] is None
    assert said(asked) == "Two."
    assert [item["type"] for item in asked["output"]] == ["message"]  # The last turn again.


def test_a_picture_is_an_output_and_a_download(tmp_path: Path) -> None:
    site = Site(tmp_path, runs("plot"), answers("Here."), offered=BOTH)
    with site.gateway() as gateway:
        response = site.created(gateway, tools=[CODE], include=OUTPUTS)
        logs, image = response["output"][0]["outputs"]
        content = site.kept(gateway, image["url"])
        gone = site.kept(gateway, image["url"].replace("cfile_", "cfile_0"))
    assert logs == {"type": "logs", "logs": "run 1: plot"}
    assert (content.body, content.headers["content-type"]) == (b"\x89PNG", "image/png")
    (note,) = response["output"][1]["content"][0]["annotations"]
    assert (note["start_index"], note["end_index"]) == (5, 5)
    assert (gone.status, gone.error["code"]) == (404, "not_found")


def test_code_that_fails_is_an_item_that_failed(tmp_path: Path) -> None:
    site = Site(tmp_path, runs("raise"), answers("Sorry."), offered=BOTH)
    with site.gateway() as gateway:
        response = site.created(gateway, tools=[CODE])
    assert response["output"][0]["status"] == "failed"


def test_a_container_that_is_gone_is_replaced_and_the_model_told(tmp_path: Path) -> None:
    site = Site(
        tmp_path, runs("x"), answers("1."), runs("y"), answers("2."), runs("z"), offered=BOTH
    )
    with site.gateway() as gateway:
        first = site.created(gateway, tools=[CODE])
        second = site.created(gateway, tools=[CODE], previous_response_id=first["id"])
        now = gateway.services.tools._now
        assert now is not None
        kept: Any = now.kinds["code_interpreter"]
        kept._containers._open.clear()
        site.engine.turns.append(answers("3."))
        third = site.created(gateway, tools=[CODE], previous_response_id=second["id"])
    ids = [response["output"][0]["container_id"] for response in (first, second, third)]
    assert ids[0] == ids[1] != ids[2]
    assert "run 2: y" in site.engine.text(3)
    assert "variables and files of earlier calls are gone]\nrun 1: z" in site.engine.text(5)


@pytest.mark.parametrize(
    ("container", "param", "status"),
    [
        ({"type": "auto", "file_ids": ["file_1"]}, "container.file_ids", 400),
        ({"type": "auto", "memory_limit": "64g"}, "container.memory_limit", 400),
        ({"type": "auto", "memory_limit": "2g"}, "container.memory_limit", 400),
        (
            {"type": "auto", "network_policy": {"type": "allowlist"}},
            "container.network_policy",
            400,
        ),
        ({"type": "manual"}, "container", 400),
        (7, "container", 400),
        ("cntr_1", "container", 404),
    ],
)
def test_a_container_that_cannot_be_had_is_refused_by_its_path(
    tmp_path: Path, container: Any, param: str, status: int
) -> None:
    site = Site(tmp_path, answers("Hello."), offered=BOTH)
    with site.gateway() as gateway:
        got = site.send(gateway, tools=[{"type": "code_interpreter", "container": container}])
    assert (got.status, got.error["param"]) == (status, f"tools[0].{param}")


# Together.


def test_both_tools_and_a_function_work_in_one_turn(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        thinks("Search.", browses("search", PURR)),
        thinks("Compute.", runs("2")),
        thinks("Ask.", calling("get_weather", '{"city":"Oslo"}')),
        answers("All done【0†L4】."),
        offered=BOTH,
    )
    tools = [SEARCH, CODE, WEATHER]
    with site.gateway() as gateway:
        first = site.created(gateway, "Everything!", tools=tools)
        call = first["output"][-1]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        second = site.created(gateway, [result], tools=tools, previous_response_id=first["id"])
    assert [kind for kind in types(first) if kind != "reasoning"] == [
        "web_search_call",
        "code_interpreter_call",
        "function_call",
    ]
    assert said(second).startswith("All done ([docs.example]")
    site.prefixes_hold()


def test_a_broken_stream_of_code_is_brought_to_a_proper_end(tmp_path: Path) -> None:
    site = Site(tmp_path, thinks("Compute.", runs("1 + 1")), answers("Two."), offered=BOTH)
    with site.gateway() as gateway:
        events = site.streamed(gateway, tools=[CODE])
    begun = json.dumps(events[0]["response"]).encode()
    for cut in range(2, len(events) - 1):
        mended = Mended()
        mended.feed([json.dumps(event).encode() for event in events[:cut]])
        _, missing = mended.end(begun)
        check_events([*events[:cut], *missing], terminal=False)


def test_sealed_calls_can_be_had_later(tmp_path: Path) -> None:
    site = Site(tmp_path, browses("search", PURR), answers("Yes."))
    with site.gateway() as gateway:
        response = site.created(gateway, tools=[SEARCH])
        query = "?include[]=reasoning.encrypted_content"
        later = checked(site.kept(gateway, f"{PATH}/{response['id']}{query}").json)
    assert "encrypted_content" not in response["output"][0]
    assert later["output"][0]["encrypted_content"]


def test_on_a_websocket_unstored_responses_go_on_with_what_was_seen(tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    from websockets.sync.client import connect

    site = Site(
        tmp_path,
        browses("search", PURR),
        calling("get_weather", '{"city":"Oslo"}'),
        answers("Rain【0†L4】."),
    )
    with site.gateway() as gateway:
        url = f"ws://127.0.0.1:{gateway.port}{PATH}"
        with connect(url, additional_headers=site.bearer, open_timeout=WAIT) as client:

            def ask(given: Any, **more: Any) -> dict[str, Any]:
                body = {"model": "m", "input": given, "tools": [SEARCH, WEATHER], "store": False}
                client.send(json.dumps({"type": "response.create", **body, **more}))
                events = [json.loads(client.recv(timeout=WAIT))]
                while "response" not in events[-1] or events[-1]["type"] in (
                    "response.created",
                    "response.in_progress",
                ):
                    events.append(json.loads(client.recv(timeout=WAIT)))
                return check_events(events)

            first = ask("Cats and weather?")
            call = first["output"][-1]
            result = {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
            second = ask([result], previous_response_id=first["id"])
    assert said(second).startswith("Rain ([docs.example]")
    site.prefixes_hold()


def test_events_of_the_background_are_those_of_a_stream(tmp_path: Path) -> None:
    site = Site(tmp_path, browses("search", PURR), answers("Yes."))
    with site.gateway() as gateway:
        begun = site.send(gateway, tools=[SEARCH], background=True).json
        events = checked_events(site.kept(gateway, f"{PATH}/{begun['id']}?stream=true"))
    assert types(events[-1]["response"]) == ["web_search_call", "message"]


# Ordinary models.


class Turns(Chat):
    """Answers each chat with the next list of chunks."""

    @property
    def chunks(self) -> list[Any]:
        turn: list[Any] = self._turns[min(len(self.asked), len(self._turns)) - 1]
        return turn

    @chunks.setter
    def chunks(self, turns: list[Any]) -> None:
        self._turns = turns


def test_a_model_that_is_not_gpt_oss_calls_the_same_tools_as_functions(tmp_path: Path) -> None:
    chat = Turns(
        (
            delta(tool_calls=[call(0, "call_a", "browser_search", PURR)]),
            delta("tool_calls"),
        ),
        (
            delta(tool_calls=[call(0, "call_b", "use_python", '{"code": "1 + 1"}')]),
            delta("tool_calls"),
        ),
        (delta(content="Yes【0†L4】."), delta("stop")),
    )
    site = Site(tmp_path, answers("Never."), offered=BOTH)
    with site.gateway(gpt_oss=False, passthrough=chat) as gateway:
        events = site.streamed(gateway, tools=[SEARCH, CODE], include=OUTPUTS)
    response = events[-1]["response"]
    assert types(response) == ["web_search_call", "code_interpreter_call", "message"]
    assert response["output"][0]["action"]["query"] == "purr"
    code = response["output"][1]
    assert (code["code"], code["outputs"][0]["logs"]) == ("1 + 1", "run 1: 1 + 1")
    assert said(response).startswith("Yes ([docs.example]")
    names = [tool["function"]["name"] for tool in chat.asked[0]["tools"]]
    assert names == ["browser_search", "browser_open", "browser_find", "use_python"]
    roles = [message["role"] for message in chat.asked[2]["messages"]]
    assert roles[-4:] == ["assistant", "tool", "assistant", "tool"]
    assert "Keeping cats" in chat.asked[1]["messages"][-1]["content"]
