from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from tests.api.chat_events import turns

from antiphon.api.chat.body import KNOWN
from antiphon.api.chat.request import decode_chat
from antiphon.api.chat.response import ChatFold
from antiphon.api.errors import ApiError
from antiphon.api.openapi import openapi_document
from antiphon.api.policy import PromptPolicy

DOCUMENT = json.loads(json.dumps(openapi_document("1.2.3")))


def validator(name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    return Draft202012Validator(schema)


BODY = validator("ChatBody")


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}


def test_the_routes_are_those_of_the_gateway():
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert {(path, method) for path, item in DOCUMENT["paths"].items() for method in item} == {
        ("/v1/chat/completions", "get"),
        ("/v1/chat/completions", "post"),
        ("/v1/chat/completions/{id}", "delete"),
        ("/v1/chat/completions/{id}", "get"),
        ("/v1/chat/completions/{id}", "post"),
        ("/v1/chat/completions/{id}/messages", "get"),
        ("/v1/completions", "post"),
        ("/v1/containers/{id}/files/{file_id}", "get"),
        ("/v1/containers/{id}/files/{file_id}/content", "get"),
        ("/v1/conversations", "post"),
        ("/v1/conversations/{id}", "delete"),
        ("/v1/conversations/{id}", "get"),
        ("/v1/conversations/{id}", "post"),
        ("/v1/conversations/{id}/items", "get"),
        ("/v1/conversations/{id}/items", "post"),
        ("/v1/conversations/{id}/items/{item_id}", "delete"),
        ("/v1/conversations/{id}/items/{item_id}", "get"),
        ("/v1/responses", "post"),
        ("/v1/responses/compact", "post"),
        ("/v1/responses/input_tokens", "post"),
        ("/v1/responses/{id}", "delete"),
        ("/v1/responses/{id}", "get"),
        ("/v1/responses/{id}/cancel", "post"),
        ("/v1/responses/{id}/input_items", "get"),
        ("/v1/models", "get"),
        ("/v1/models/{id}", "get"),
        ("/health", "get"),
        ("/ready", "get"),
    }


def test_every_reference_leads_somewhere():
    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(references, value))
        if not isinstance(value, dict):
            return set()
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))

    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references(DOCUMENT) <= known


def test_every_parameter_that_is_read_is_described():
    properties = DOCUMENT["components"]["schemas"]["ChatBody"]["properties"]
    assert set(properties) == KNOWN
    anything = {name for name, schema in properties.items() if schema.keys() <= {"default"}}
    assert anything == {"web_search_options"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 2, "stop": ["a"], "n": 2, "unknown": 1},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
        {
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    ],
)
def test_what_the_document_allows_is_read(fields):
    BODY.validate(body(**fields))
    assert decode_chat(json.dumps(body(**fields)).encode(), policy=PromptPolicy()).model == "m"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"temperature": 3},
        {"tool_choice": "sometimes"},
        {"reasoning_effort": "huge"},
        {"modalities": ["audio"]},
        {"audio": {}},
        {"tools": 3},
    ],
)
def test_what_the_document_forbids_is_refused(fields):
    assert not BODY.is_valid(body(**fields))
    with pytest.raises(ApiError):
        decode_chat(json.dumps(body(**fields)).encode(), policy=PromptPolicy())


@settings(deadline=None, max_examples=30)
@given(turns())
def test_answers_are_as_described(events):
    fold = ChatFold(id="chatcmpl-1", created=5, model="m", logprobs=True)
    fold.feed(0, events)
    validator("ChatCompletion").validate(json.loads(fold.body()))


def test_errors_are_as_described():
    error = ApiError("x", param="y", code="z")
    validator("ErrorBody").validate(json.loads(error.body()))
