"""Items as they are kept and listed, conversations, and the other small bodies."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from tests.api.responses_schemas import validator

from antiphon.api.errors import ApiError
from antiphon.api.responses.conversations import (
    compaction_body,
    conversation_body,
    deleted_body,
    input_tokens_body,
    list_body,
    read_conversation,
    read_items,
    read_metadata,
)
from antiphon.api.responses.stored import stored_items
from antiphon.api.turn import TurnUsage

USER = {"role": "user", "content": "hi"}


def stored(*items: dict[str, Any]) -> list[Any]:
    numbers = itertools.count(1)
    made = stored_items([json.dumps(item).encode() for item in items], lambda: str(next(numbers)))
    for item in made:
        assert json.loads(item.body)["id"] == item.id
    return [json.loads(item.body) for item in made]


def test_text_becomes_a_message_with_parts_an_id_and_a_status():
    assert stored(
        USER, {"type": "message", "role": "assistant", "content": "4", "phase": None}
    ) == [
        {
            "id": "msg_1",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "hi"}],
        },
        {
            "id": "msg_2",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "4", "annotations": [], "logprobs": []}],
        },
    ]


def test_ids_of_clients_stay_unless_two_items_have_one():
    items = stored({**USER, "id": "msg_x"}, {**USER, "id": "msg_x"}, {**USER, "id": "y" * 999})
    assert [item["id"] for item in items] == ["msg_x", "msg_1", "msg_2"]


def test_nulls_go_and_what_clients_need_is_added():
    call, result, custom, output, thought = stored(
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}, "id": None},
        {"type": "function_call_output", "call_id": "c", "output": {"b": 2}, "status": None},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": None},
        {
            "type": "custom_tool_call_output",
            "call_id": "d",
            "output": [{"type": "text", "text": "x"}],
        },
        {"type": "reasoning", "summary": None, "content": None, "encrypted_content": "s"},
    )
    assert call == {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
    }
    assert (result["output"], result["status"]) == ('{"b":2}', "completed")
    assert custom["input"] == ""
    assert output["output"] == [{"type": "input_text", "text": "x"}]
    assert thought == {
        "id": "rs_5",
        "type": "reasoning",
        "summary": [],
        "encrypted_content": "s",
    }


ITEMS: list[dict[str, Any]] = [
    USER,
    {"role": "developer", "content": [{"type": "input_text", "text": "x"}]},
    {
        "role": "user",
        "content": [
            {"type": "input_image", "image_url": "data:x", "detail": None},
            {"type": "input_file", "file_id": "file_1"},
        ],
    },
    {"role": "assistant", "content": "4", "phase": "final_answer"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "x"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "x"},
    {
        "type": "function_call_output",
        "call_id": "c",
        "output": [{"type": "input_text", "text": "x"}],
    },
    {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
    {"type": "custom_tool_call_output", "call_id": "c", "output": "x"},
    {"type": "compaction_summary", "encrypted_content": "x"},
]


@pytest.mark.parametrize("item", ITEMS, ids=[str(i) for i in range(len(ITEMS))])
@pytest.mark.parametrize("kind", ["ResponseItemList", "ConversationItemList"])
def test_lists_of_items_have_openais_schema(item, kind):
    page = list_body(stored_items([json.dumps(item).encode()], lambda: "1"), has_more=False)
    validator(kind).validate(json.loads(page))


def test_openais_client_reads_lists_strictly():
    responses = pytest.importorskip("openai.types.responses")
    conversations = pytest.importorskip("openai.types.conversations")
    made = stored_items([json.dumps(item).encode() for item in ITEMS], lambda: "1")
    page = list_body(made, has_more=True)
    conversations.ConversationItemList.model_validate_json(page)
    responses.ResponseItemList.model_validate_json(page)


def test_a_page_names_its_ends():
    page = json.loads(list_body(stored_items([b'{"role":"user"}'], lambda: "1"), has_more=True))
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("msg_1", "msg_1", True)
    empty = json.loads(list_body([], has_more=False))
    assert (empty["data"], empty["first_id"], empty["last_id"]) == ([], "", "")


def test_small_bodies():
    made = json.loads(conversation_body("conv_1", 5, {"a": "b"}))
    assert made == {
        "id": "conv_1",
        "object": "conversation",
        "created_at": 5,
        "metadata": {"a": "b"},
    }
    validator("ConversationResource").validate(made)
    assert json.loads(deleted_body("conv_1", "conversation.deleted")) == {
        "id": "conv_1",
        "object": "conversation.deleted",
        "deleted": True,
    }
    assert json.loads(input_tokens_body(7)) == {
        "object": "response.input_tokens",
        "input_tokens": 7,
    }


def test_a_compaction_has_openais_schema():
    items = stored_items([json.dumps(item).encode() for item in ITEMS], lambda: "1")
    body = json.loads(compaction_body("resp_1", 5, items, TurnUsage(prompt_tokens=3)))
    validator("CompactResource").validate(body)
    assert (body["object"], body["usage"]["total_tokens"]) == ("response.compaction", 3)


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"items":null,"metadata":null}'])
def test_a_conversation_may_begin_with_nothing(body):
    made = read_conversation(body)
    assert (made.metadata, made.items) == ({}, ())


def test_a_conversation_begins_with_what_it_is_given():
    body = json.dumps({"metadata": {"a": "b"}, "items": [USER]}).encode()
    made = read_conversation(body)
    assert made.metadata == {"a": "b"}
    assert [json.loads(item) for item in made.items] == [USER]
    assert read_metadata(b'{"metadata":{"c":"d"}}') == {"c": "d"}
    assert read_metadata(b'{"metadata":null}') == {}
    assert len(read_items(json.dumps({"items": [USER] * 20}).encode())) == 20


@pytest.mark.parametrize(
    ("read", "body", "param"),
    [
        (read_conversation, {"metadata": {"x" * 65: ""}}, "metadata"),
        (read_conversation, {"items": [{"type": "telepathy"}]}, "items[0].type"),
        (read_conversation, {"items": [{"id": "x"}]}, "items[0].type"),
        (read_items, {"items": [USER] * 21}, "items"),
        (read_items, {"items": []}, "items"),
        (read_items, {}, "items"),
        (read_items, {"items": [USER, {"role": "user", "content": 7}]}, "items[1].content"),
        (read_metadata, {}, "metadata"),
        (read_metadata, {"metadata": {"a": 7}}, "metadata[...]"),
    ],
)
def test_errors_name_what_is_wrong(read, body, param):
    with pytest.raises(ApiError) as caught:
        read(json.dumps(body).encode())
    assert (caught.value.status, caught.value.param) == (400, param)
