"""Requests that nobody would send, thousands of them: never a 5xx of ours, never a traceback.

The default run takes a seeded part; ANTIPHON_SOAK=10 (`make soak`) takes ten times as many, and
ANTIPHON_FUZZ_SEED is where the numbers begin. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.robustness.corpus import BODIES, CONTROL_TEXT
from tests.robustness.direct import CHAT, Answer, running
from tests.robustness.judging import judge
from tests.robustness.mutation import mutated

SOAK = int(os.environ.get("ANTIPHON_SOAK", "1"))
SEED = os.environ.get("ANTIPHON_FUZZ_SEED", "1")
MUTATED = 860 * SOAK
GENERATED = 70 * SOAK
"""For each of two routes: what the document allows, and what it does not."""
AT_A_TIME = 8


def ask_all(folder: Path, bodies: Iterable[tuple[str, bytes]], path: str = CHAT) -> dict[int, int]:
    """Send every (name, body), several at a time; how often each status came."""
    statuses: dict[int, int] = {}

    async def run() -> None:
        async with running(folder) as client:
            waiting = iter(bodies)

            async def work() -> None:
                for name, body in waiting:
                    try:
                        answer = await client.post(body, path)
                        judge(answer, path)
                        assert not client.problems, client.problems
                    except Exception as error:
                        raise AssertionError(f"{name}: {body[:2_000]!r}") from error
                    statuses[answer.status] = statuses.get(answer.status, 0) + 1

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_A_TIME):
                    group.create_task(work())

    asyncio.run(run())
    print(f"seed {SEED}: {statuses}")
    return statuses


def test_the_requests_that_fuzzing_begins_with_are_good_ones(tmp_path: Path) -> None:
    bodies = [(str(number), json.dumps(body).encode()) for number, body in enumerate(BODIES)]
    statuses = ask_all(tmp_path, bodies)
    assert statuses == {200: len(BODIES) - 1, 400: 1}  # An image is refused.


@pytest.mark.parametrize("part", range(2))
def test_a_spoiled_request_is_answered_or_refused_in_openais_shape(
    tmp_path: Path, part: int
) -> None:
    numbers = range(part * MUTATED // 2, (part + 1) * MUTATED // 2)
    statuses = ask_all(tmp_path, ((f"{SEED}:{n}", mutated(Random(f"{SEED}:{n}"))) for n in numbers))
    assert set(statuses) >= {200, 400}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_requests_made_from_the_document_are_answered_as_it_says(tmp_path: Path, path: str) -> None:
    """What the document allows is answered; it may be refused for what a schema cannot say."""
    allowed = generated(path, "positive")
    forbidden = generated(path, "negative")
    statuses = ask_all(tmp_path, allowed, path)
    assert statuses[200] > 0  # What is drawn changes with the libraries that draw.
    refused = ask_all(tmp_path, forbidden, path)
    assert refused[400] > len(forbidden) / 4


def generated(path: str, mode: str) -> list[tuple[str, bytes]]:
    """(name, body) of requests that schemathesis makes from our own document."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from antiphon.api.openapi import openapi_document

    schema = schemathesis.openapi.from_dict(openapi_document())
    strategy = schema[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode(mode))
    bodies: list[tuple[str, bytes]] = []

    @seed(int(SEED))
    @settings(
        max_examples=GENERATED,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def collect(case: Any) -> None:
        body = case.body
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if isinstance(body, dict | list | str) else b""
        bodies.append((f"{mode} {SEED}:{len(bodies)}", body))

    collect()
    return bodies


# One by one, what a generator would rarely hit.


def chat(content: Any = "Hi", **parameters: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **parameters}


def raw(text: str) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"Hi"}],%b}' % text.encode()


def tools(*names: str) -> dict[str, Any]:
    return chat(
        tools=[{"type": "function", "function": {"name": n, "parameters": {}}} for n in names]
    )


def answering(schema: Any) -> dict[str, Any]:
    wanted = {"name": "x", "schema": schema, "strict": True}
    return chat(response_format={"type": "json_schema", "json_schema": wanted})


def nested(depth: int) -> Any:
    schema: Any = {}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


LONG = 10**7
HUGE: dict[str, tuple[int, Callable[[], Any]]] = {
    "a user says 10 MB": (400, lambda: chat("x" * LONG)),
    "10 MB of control tokens": (400, lambda: chat(CONTROL_TEXT * (LONG // len(CONTROL_TEXT)))),
    "a model's name": (400, lambda: {**chat(), "model": "x" * LONG}),
    "a role": (400, lambda: chat(messages=[{"role": "x" * LONG, "content": ""}])),
    "a key": (200, lambda: chat(**{"x" * LONG: 1})),
    "a tool's name": (400, lambda: tools("x" * LONG)),
    "a stop string": (400, lambda: chat(stop="x" * LONG)),
    "an enum's value": (400, lambda: answering({"enum": ["x" * LONG]})),
    "100,000 messages": (400, lambda: chat(messages=chat()["messages"] * 10**5)),
    "100,000 unknown parameters": (200, lambda: chat(**{f"k{i}": i for i in range(10**5)})),
    "1,000 tools": (200, lambda: tools(*[f"f{i}" for i in range(1_000)])),
    "10,000 tools": (400, lambda: tools(*[f"f{i}" for i in range(10_000)])),
    "1,000 tools of one name": (200, lambda: tools(*["f"] * 1_000)),
    "a schema 400 deep": (400, lambda: answering(nested(400))),
    "brackets 2,000,000 deep": (400, lambda: raw('"x":' + "[" * 2_000_000)),
    "an integer of 1,000,000 digits": (400, lambda: raw(f'"seed":{"9" * 10**6}')),
    "a number of 1,000,000 digits": (400, lambda: raw(f'"temperature":7.{"1" * 10**6}')),
    "an unknown number of 1,000,000 digits": (200, lambda: raw(f'"x":{"9" * 10**6}')),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_huge_is_answered_or_refused(tmp_path: Path, name: str) -> None:
    status, make = HUGE[name]
    body = make()
    answer = ask(tmp_path, body if isinstance(body, bytes) else json.dumps(body).encode())
    judge(answer)
    assert answer.status == status, answer.body[:300]
    assert len(answer.body) < 20_000


def ask(folder: Path, body: bytes) -> Answer:
    async def run() -> Answer:
        async with running(folder) as client:
            answer = await client.post(body)
            assert not client.problems, client.problems
            return answer

    return asyncio.run(run())
