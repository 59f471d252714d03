"""What stays of a conversation that is made short, and what the model is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.api.responses.compaction import SUMMARY_TASK, Compaction, plan_compaction
from antiphon.api.responses.conversation import COMPACTED
from antiphon.api.responses.request import Past, decode_response_request, references
from antiphon.codec.grammar.plan import NONE

INSTRUCTION = {"role": "developer", "content": "Be kind."}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "phase": "final_answer"}


def plan(*items: dict[str, Any], past: Past | None = None, **fields: Any) -> Compaction:
    body = {"model": "m", "input": list(items), **fields}
    return plan_compaction(
        references(json.dumps(body).encode()), policy=PromptPolicy(), past=past or Past()
    )


def read(items: tuple[bytes, ...]) -> list[Any]:
    return [json.loads(item) for item in items]


LONG = [INSTRUCTION, user("x is 7"), answer("I see"), user("go"), CALL, RESULT]


def test_instructions_and_the_last_turn_with_its_open_loop_stay():
    made = plan(*LONG)
    assert read(made.before) == [INSTRUCTION]
    assert read(made.after) == [user("go"), CALL, RESULT]


def test_the_model_is_told_the_rest_and_asked_to_sum_it_up():
    turn = plan(*LONG, instructions="First.").turn
    assert turn is not None
    texts = [message.text for message in turn.conversation.messages]
    assert texts[2:] == ["x is 7", "I see", SUMMARY_TASK]
    (developer,) = turn.conversation.messages[1].content
    assert developer.instructions == "First.\n\nBe kind."  # type: ignore[union-attr]
    assert turn.choice == NONE
    assert turn.tools == {}


@pytest.mark.parametrize("items", [[user("x")], [INSTRUCTION], [INSTRUCTION, user("x"), CALL]])
def test_where_nothing_is_left_to_sum_up_the_model_is_not_asked(items):
    made = plan(*items)
    assert made.turn is None
    assert read((*made.before, *made.after)) == items


def test_what_came_before_the_request_counts():
    past = Past(items=[json.dumps(item).encode() for item in LONG[:3]])
    made = plan(user("go"), past=past)
    assert read(made.after) == [user("go")]
    assert made.turn is not None


def test_the_output_stands_for_the_conversation_in_the_next_request():
    numbers = iter(range(9))
    output = plan(*LONG).output("x is 7", new_id=lambda: str(next(numbers)), seal=bytes.hex)
    items = [json.loads(item.body) for item in output]
    assert [item["type"] for item in items] == [
        "message",
        "compaction",
        "message",
        "function_call",
        "function_call_output",
    ]
    assert items[1]["id"].startswith("cmp_")
    body = json.dumps({"model": "m", "input": items}).encode()
    request = decode_response_request(body, policy=PromptPolicy(), unseal=bytes.fromhex)
    texts = [message.text for message in request.turn.conversation.messages[2:]]
    assert texts == [COMPACTED.format("x is 7"), "go", "{}", "x"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"model": None}, "model"), ({"input": None}, "input"), ({"input": []}, "input")],
)
def test_a_model_and_something_to_shorten_are_needed(fields, param):
    with pytest.raises(ApiError) as caught:
        plan(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)
