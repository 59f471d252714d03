"""Spoiled requests: each is read or refused, and what is read can be rendered and kept."""

from __future__ import annotations

import copy
import itertools
import json
import random
from typing import Any

import pytest
from tests.api.responses_grammar import check_response

from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.policy import PromptPolicy
from antiphon.api.responses.compaction import plan_compaction
from antiphon.api.responses.conversations import list_body
from antiphon.api.responses.request import Past, decode_response_request, references
from antiphon.api.responses.stored import stored_items
from antiphon.api.responses.stream import ResponseStream
from antiphon.errors import AntiphonError

PARTS: list[Any] = [
    {"type": "input_text", "text": "a"},
    {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
    {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
    {"type": "refusal", "refusal": "no"},
]
WHOLE: dict[str, Any] = {
    "model": "m",
    "instructions": "Reasoning: high",
    "input": [
        {"role": "developer", "content": "x"},
        {"type": "message", "role": "user", "content": PARTS, "id": "msg_1", "status": "completed"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "t"}],
            "encrypted_content": "726561736f6e696e670a78",
        },
        {"role": "assistant", "content": "<think>a</think>b", "phase": "commentary"},
        {
            "type": "function_call",
            "call_id": "c",
            "name": "look up",
            "arguments": '{"a":1}',
            "namespace": "n",
        },
        {"type": "function_call_output", "call_id": "c", "output": PARTS},
        {"type": "custom_tool_call", "call_id": "d", "name": "python", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "y"},
        {"type": "item_reference", "id": "msg_9"},
        {"type": "compaction", "encrypted_content": "636f6d70616374696f6e0a78"},
        {
            "type": "mcp_call",
            "id": "m",
            "name": "f",
            "server_label": "l",
            "arguments": "{}",
            "output": "x",
        },
        {"type": "code_interpreter_call", "id": "ci", "code": "1", "outputs": [{"type": "logs"}]},
        {"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "s", "output": [{"stdout": "x"}]},
        {"type": "computer_call_output", "call_id": "k", "output": {"type": "computer_screenshot"}},
        {"type": "web_search_call", "id": "ws_1"},
        {"role": "assistant", "content": "<|channel|>final<|message|>x", "phase": None},
        {"role": "user", "content": "go"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
        {
            "type": "custom",
            "name": "c",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        },
        {
            "type": "namespace",
            "name": "n",
            "description": "d",
            "tools": [{"type": "function", "name": "f"}],
        },
        {"type": "web_search"},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}],
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "stream_options": {"include_obfuscation": True},
    "logit_bias": {"5": 1},
    "stop": ["x"],
    "conversation": {"id": "conv_1"},
}
JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    2**70,
    "",
    "x",
    "\x00",
    "\ud800",
    "<|start|>",
    "é" * 300,
    [],
    {},
    [[]],
    [None],
    {"type": "function"},
    {"type": None},
    {"": ""},
    "item_reference",
    "message",
    "assistant",
    "function_call_output",
    "functions.f",
    "namespace",
]
PAST = Past(referenced={"msg_9": b'{"role":"assistant","content":"9"}'})


def unseal(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        keys = (
            here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        )
        for key in keys:
            found.append((here, key))
            waiting.append(here[key])
    return found


def spoiled(rng: random.Random) -> bytes:
    body = copy.deepcopy(WHOLE)
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice(places(body))
        what = rng.randrange(4)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), container[key])
        elif what == 2:
            other, name = rng.choice(places(WHOLE))
            container[key] = copy.deepcopy(other[name])
        else:
            container[key] = copy.deepcopy(rng.choice(JUNK))
    data = json.dumps(body).encode()
    if rng.random() < 0.05:
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.randrange(256)]) + data[at + rng.randrange(3) :]
    return data


def attempt(body: bytes, policy: PromptPolicy) -> bool:
    """Whether the request was taken. Anything but a refusal of ours is raised."""
    from antiphon.turn.prompt import renderer

    try:
        first = references(body)
        request = decode_response_request(first, policy=policy, past=PAST, unseal=unseal)
        renderer().for_completion(request.turn.conversation)
        plan = plan_compaction(first, policy=policy, past=PAST, unseal=unseal)
    except AntiphonError as error:
        answer = as_api_error(error)
        assert 400 <= answer.status < 500
        json.loads(answer.body())
        return False
    numbers = itertools.count()
    for items in (request.items, plan.before, plan.after):
        made = stored_items(items, lambda: str(next(numbers)))
        again = json.loads(list_body(made, has_more=False))["data"]
        decode_response_request(
            json.dumps(
                {"model": "m", "input": [*again, {"role": "user", "content": "x"}]}
            ).encode(),
            policy=policy,
            past=PAST,
            unseal=unseal,
        )
    writer = ResponseStream.for_request(request, id="resp_1", created=5, new_id=lambda: "1")
    check_response(json.loads(writer.response))
    return True


def play(seeds: range) -> None:
    taken = 0
    for seed in seeds:
        rng = random.Random(seed)
        policy = PromptPolicy(
            responses_on_media=rng.choice(["refuse", "placeholder"]),
            strict_parameters=rng.random() < 0.2,
        )
        body = spoiled(rng)
        try:
            taken += attempt(body, policy)
        except ApiError:
            raise
        except Exception as error:
            raise AssertionError(f"seed {seed}: {body!r}") from error
    assert len(seeds) // 20 < taken < len(seeds)


def test_the_whole_request_is_good():
    assert attempt(json.dumps(WHOLE).encode(), PromptPolicy())


def test_a_spoiled_request_is_read_or_refused():
    play(range(1500))


@pytest.mark.slow
def test_ten_thousand_spoiled_requests_are_read_or_refused():
    play(range(1500, 11500))
