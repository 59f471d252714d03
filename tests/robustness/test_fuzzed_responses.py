"""Spoiled requests of the Responses API: each is answered, or refused in OpenAI's shape.

The gateway runs whole over the scripted engine; with ``ANTIPHON_SOAK`` it is asked more often.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.api.test_responses_fuzz import WHOLE
from tests.robustness.direct import Answer, running
from tests.robustness.mutation import mutated

SEED = os.environ.get("ANTIPHON_FUZZ_SEED", "1")
SOAK = int(os.environ.get("ANTIPHON_SOAK", "1"))
ROUTES = {
    "/v1/responses": 900,
    "/v1/responses/input_tokens": 100,
    "/v1/responses/compact": 100,
    "/v1/conversations": 100,
}
AT_A_TIME = 8

_TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
_CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
_LOOP = [
    {"role": "user", "content": "Weather?"},
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    _CALL,
    {"type": "function_call_output", "call_id": "c1", "output": "rain"},
]
_FREE = {name: value for name, value in WHOLE.items() if name != "conversation"}
BODIES: list[Any] = [
    {"model": "m", "input": "Hi"},
    {"model": "m", "input": "Hi", "stream": True, "instructions": "Be kind.", "store": False},
    {"model": "m", "input": "Weather in Oslo?", "tools": [_TOOL], "stream": True},
    {"model": "m", "input": _LOOP, "tools": [_TOOL], "tool_choice": "auto"},
    {"model": "m", "input": "Hi", "background": True, "metadata": {"a": "b"}},
    {
        "model": "m",
        "input": "As JSON.",
        "text": {
            "format": {
                "type": "json_schema",
                "name": "x",
                "strict": True,
                "schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
            }
        },
        "max_output_tokens": 60,
        "truncation": "auto",
    },
    {"model": "m", "input": "Hi", "previous_response_id": "resp_1", "top_logprobs": 2},
    {"model": "m", "items": _LOOP, "metadata": {"a": "b"}},
    _FREE,
    {**_FREE, "input": _FREE["input"][:8], "stream": True},
    WHOLE,
]


def judge(answer: Answer, path: str) -> None:
    """Raises AssertionError for what no client should get."""
    assert b"Traceback" not in answer.body
    if answer.streamed:
        check_events(read_sse(answer.body))
        return
    body = json.loads(answer.body)
    if answer.status != 200:
        assert 400 <= answer.status < 500 or body["error"]["type"] == "engine_error", body
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
    elif path == "/v1/responses":
        check_response(body)


@pytest.mark.parametrize("path", ROUTES)
def test_a_spoiled_request_is_answered_or_refused(tmp_path: Path, path: str) -> None:
    statuses: dict[int, int] = {}
    numbers = iter(range(ROUTES[path] * SOAK))

    async def run() -> None:
        async with running(tmp_path) as client:

            async def work() -> None:
                for number in numbers:
                    body = mutated(Random(f"{SEED}:{path}:{number}"), BODIES)
                    try:
                        answer = await client.post(body, path)
                        judge(answer, path)
                        assert not client.problems, client.problems
                    except Exception as error:
                        raise AssertionError(f"{number}: {body[:2_000]!r}") from error
                    statuses[answer.status] = statuses.get(answer.status, 0) + 1

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_A_TIME):
                    group.create_task(work())

    asyncio.run(run())
    print(f"seed {SEED}: {statuses}")
    assert set(statuses) >= {200, 400}
