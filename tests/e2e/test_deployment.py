"""Two gateways behind nginx with one PostgreSQL are one server: docs/deployment.md, run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("cryptography")

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.e2e.deployment import EXAMPLE, WAIT, Deployment, deployed

from antiphon.vocab.table import token_bytes

pytestmark = pytest.mark.slow

LINES: list[dict[str, Any]] = [
    {
        "when": {"user": "slowly"},
        "emit": "<|channel|>analysis<|message|>" + "One two three four. " * 25 + "<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Done.<|return|>",
        "delay_ms": 30,
    },
    {
        "when": {"user": "weather", "step": 0},
        "emit": "<|channel|>analysis<|message|>The tool knows: zebra.<|end|><|start|>assistant"
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city":"Oslo"}<|call|>',
    },
    {},
]
"""The last line has the built-in rules answer everything else."""
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
RESPONSES = "/v1/responses"


@pytest.fixture(scope="module")
def deployment(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    trace = folder / "engine.jsonl"
    trace.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    with deployed(folder, postgres.new_database(), f"scripted:{trace}") as running:
        yield running


def make(client: Any, text: Any, **more: Any) -> Any:
    response = client.ask("POST", RESPONSES, {"model": "m", "input": text, **more})
    assert client.status == 200, response
    return response


def wait_for(client: Any, id: str) -> Any:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = client.ask("GET", f"{RESPONSES}/{id}")
        if found["status"] not in ("queued", "in_progress"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{id} did not end")


def text_of(prompt: list[int]) -> str:
    """The words of a prompt's ids."""
    return b"".join([token_bytes(id_) or b"" for id_ in prompt]).decode()


def test_what_one_gateway_stored_the_other_reads_chains_and_deletes(
    deployment: Deployment,
) -> None:
    a, b = deployment.client("a"), deployment.client("b")
    first = make(a, "My code word is quartz.")
    assert b.ask("GET", f"{RESPONSES}/{first['id']}") == first
    check_response(first)
    items = b.ask("GET", f"{RESPONSES}/{first['id']}/input_items")
    assert items["data"][0]["content"][0]["text"] == "My code word is quartz."
    second = make(b, "What was the code word?", previous_response_id=first["id"])
    assert "quartz" in second["output"][-1]["content"][0]["text"]
    third = make(a, "Say it again: what was the code word?", previous_response_id=second["id"])
    assert "quartz" in third["output"][-1]["content"][0]["text"]
    assert b.ask("DELETE", f"{RESPONSES}/{first['id']}")["deleted"] is True
    a.ask("GET", f"{RESPONSES}/{first['id']}")
    assert a.status == 404


def test_a_stream_that_breaks_off_is_resumed_at_the_other_gateway(deployment: Deployment) -> None:
    a, b = deployment.client("a"), deployment.client("b")
    body = {"model": "m", "input": "Think slowly.", "background": True, "stream": True}
    with a.open("POST", RESPONSES, body) as answer:
        events: list[Any] = []
        while len(events) < 10:
            line = answer.readline()
            assert line, "the stream ended too early"
            if line.startswith(b"data: "):
                events.append(json.loads(line.removeprefix(b"data: ")))
    id_, last = events[0]["response"]["id"], events[-1]["sequence_number"]
    rest = read_sse(b.ask("GET", f"{RESPONSES}/{id_}?stream=true&starting_after={last}").encode())
    assert rest[0]["sequence_number"] == last + 1
    check_events([*events, *rest])
    assert rest[-1]["type"] == "response.completed"
    whole = read_sse(a.ask("GET", f"{RESPONSES}/{id_}?stream=true").encode())
    assert whole == [*events, *rest]


def test_a_background_response_is_cancelled_through_the_other_gateway(
    deployment: Deployment,
) -> None:
    a, b = deployment.client("a"), deployment.client("b")
    made = make(a, "Think slowly.", background=True)
    cancelled = b.ask("POST", f"{RESPONSES}/{made['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    assert wait_for(a, made["id"])["status"] == "cancelled"


def test_a_tool_result_gives_the_same_prompt_at_either_gateway(deployment: Deployment) -> None:
    a, b = deployment.client("a"), deployment.client("b")
    chat = "/v1/chat/completions"
    question = [{"role": "user", "content": "How is the weather?"}]
    first = a.ask("POST", chat, {"model": "m", "messages": question, "tools": [WEATHER]})
    call = first["choices"][0]["message"]["tool_calls"][0]
    # As most clients do: reasoning is not sent back.
    messages = [
        *question,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"temp_c": 4}'},
    ]
    body = {"model": "m", "messages": messages, "tools": [WEATHER]}
    before = [len(machine.prompts()) for machine in deployment.machines]
    b.ask("POST", chat, body)
    a.ask("POST", chat, body)
    prompts = [
        machine.prompts()[count] for machine, count in zip(deployment.machines, before, strict=True)
    ]
    assert prompts[0] == prompts[1]
    assert "zebra" in text_of(prompts[1])


def test_rate_limits_are_counted_together(deployment: Deployment) -> None:
    a, b = deployment.client("a", "few"), deployment.client("b", "few")
    left, statuses = [], []
    for client in (a, b, a, b, a, b, a, b):
        client.ask("POST", RESPONSES, {"model": "m", "input": "Hi", "store": False})
        statuses.append(client.status)
        left.append(int(client.headers["x-ratelimit-remaining-requests"]))
    assert statuses[:6] == [200] * 6
    assert 429 in statuses[6:]
    assert left[:6] == [5, 4, 3, 2, 1, 0]


def test_sealed_reasoning_of_one_gateway_opens_at_the_other(deployment: Deployment) -> None:
    a, b = deployment.client("a"), deployment.client("b")
    tool = {"type": "function", **WEATHER["function"]}
    asked = [{"role": "user", "content": "How is the weather?"}]
    sealed = {"include": ["reasoning.encrypted_content"], "store": False, "tools": [tool]}
    first = make(a, asked, **sealed)
    thought, call = first["output"]
    assert thought["encrypted_content"]
    thought.pop("content", None)  # So that only what is sealed can tell.
    told = {"type": "function_call_output", "call_id": call["call_id"], "output": "4 degrees"}
    count = len(deployment.machines[1].prompts())
    make(b, [*asked, thought, call, told], **sealed)
    prompt = deployment.machines[1].prompts()[count]
    assert "zebra" in text_of(prompt)


def test_streams_come_through_nginx_as_they_are_made(deployment: Deployment) -> None:
    front = deployment.client("front")
    body = {"model": "m", "input": "Think slowly.", "stream": True}
    with front.open("POST", RESPONSES, body) as answer:
        began = time.monotonic()
        first = answer.readline()
        early = time.monotonic() - began
        rest = first + answer.read()
        whole = time.monotonic() - began
    events = read_sse(rest)
    check_events(events)
    # It is paced by its engine, so what is held back until the end cannot be there at its start.
    assert early < whole / 2


def test_websockets_come_through_nginx(deployment: Deployment) -> None:
    pytest.importorskip("websockets")
    from websockets.sync.client import connect

    front = deployment.client("front")
    url = front.url.replace("https", "wss") + RESPONSES
    bearer = {"Authorization": f"Bearer {front.key}"}
    context = deployment.nginx.trust()
    with connect(url, additional_headers=bearer, ssl=context, open_timeout=WAIT) as client:
        create = {"type": "response.create", "model": "m", "input": "What is 2+2?"}
        client.send(json.dumps(create))
        events: list[Any] = []
        while not events or events[-1]["type"] != "response.completed":
            events.append(json.loads(client.recv(timeout=WAIT)))
    check_events(events)
    found = deployment.client("b").ask("GET", f"{RESPONSES}/{events[-1]['response']['id']}")
    assert found == events[-1]["response"]


def test_metrics_are_asked_of_each_gateway_and_not_through_nginx(deployment: Deployment) -> None:
    for where in "ab":
        metrics = deployment.client(where, "ops").ask("GET", "/metrics")
        assert "antiphon_workers 2.0" in metrics
    front = deployment.client("front", "ops")
    front.ask("GET", "/metrics")
    assert front.status == 404


def test_the_balancer_goes_on_when_a_gateway_is_killed(deployment: Deployment) -> None:
    """The last test of this file: gateway A is killed, and started again."""
    a, b, front = (deployment.client(where) for where in ("a", "b", "front"))
    lost = make(a, "Think slowly.", background=True)
    deployment.machines[0].kill()
    kept = []
    for number in range(20):
        assert front.ask("GET", "/ready")["status"] == "ready"
        kept.append(make(front, f"Say number {number}"))
    assert all(b.ask("GET", f"{RESPONSES}/{one['id']}") == one for one in kept)
    ended = wait_for(b, lost["id"])
    assert ended["status"] == "failed"
    events = read_sse(b.ask("GET", f"{RESPONSES}/{lost['id']}?stream=true").encode())
    check_events(events)
    deployment.machines[0].start()
    assert a.ask("GET", f"{RESPONSES}/{lost['id']}") == ended


def test_the_page_shows_the_files_that_are_run_here() -> None:
    page = (EXAMPLE.parents[1] / "docs" / "deployment.md").read_text(encoding="utf-8")
    for file in sorted(EXAMPLE.iterdir()):
        assert f"(../examples/deployment/{file.name})" in page, file.name
