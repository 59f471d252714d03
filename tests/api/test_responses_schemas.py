"""What we answer, against OpenAI's own schemas and the types of its Python client."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import ValidationError
from tests.api.chat_events import turns
from tests.api.responses_grammar import check_events
from tests.api.responses_schemas import GOLDEN, OUR_CODES, check_schema_of_event

from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.api.responses.body import KNOWN
from antiphon.api.responses.choice import HOSTED
from antiphon.api.responses.items import KINDS, LEFT_OUT, TOLD
from antiphon.api.responses.request import INCLUDE, ResponsesRequest, decode_response_request
from antiphon.api.responses.stream import ResponseStream

TOOLS: list[Any] = [
    {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
    {"type": "function", "name": "g"},
    {"type": "custom", "name": "c", "format": {"type": "text"}},
    {
        "type": "namespace",
        "name": "n",
        "description": "d",
        "tools": [{"type": "function", "name": "f"}],
    },
    {"type": "web_search"},
]
BODIES: list[dict[str, Any]] = [
    {},
    {"tools": TOOLS, "tool_choice": {"type": "function", "name": "f"}},
    {
        "instructions": "x",
        "metadata": {"a": "b"},
        "conversation": "conv_1",
        "reasoning": {"effort": "low", "summary": "detailed"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "max_output_tokens": 9,
        "max_tool_calls": 1,
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "background": True,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}},
    },
    {"previous_response_id": "resp_0", "text": {"format": {"type": "json_object"}}},
]
REQUESTS = [
    decode_response_request(
        json.dumps({"model": "gpt-oss-20b", "input": "hi", **body}).encode(), policy=PromptPolicy()
    )
    for body in BODIES
]
DIALECTS = st.sampled_from(["reasoning_text", "reasoning"])


def stream(request: ResponsesRequest, dialect: Any = "reasoning_text") -> ResponseStream:
    numbers = itertools.count()
    return ResponseStream.for_request(
        request,
        id="resp_1",
        created=5,
        new_id=lambda: str(next(numbers)),
        dialect=dialect,
        seal=bytes.hex,
        summaries=True,
    )


def test_the_schemas_refuse_what_is_wrong():
    with pytest.raises(ValidationError):
        check_schema_of_event({"type": "response.created", "response": {}})
    with pytest.raises(KeyError):
        check_schema_of_event({"type": "response.unheard_of"})


@settings(deadline=None, max_examples=25)
@given(turns(), st.sampled_from(REQUESTS), DIALECTS)
def test_every_event_has_openais_schema(events, request, dialect):
    writer = stream(request, dialect)
    sent = [*writer.enqueue(), *writer.begin(), *writer.feed(events), *writer.finish(now=9)]
    check_events(sent)
    for event in sent:
        check_schema_of_event(json.loads(event))


@settings(deadline=None, max_examples=20)
@given(turns(), st.sampled_from(REQUESTS), st.data())
def test_events_of_a_response_that_breaks_off_have_openais_schema(events, request, data):
    writer = stream(request)
    sent = writer.begin() + writer.feed(events[: data.draw(st.integers(0, len(events)))])
    if data.draw(st.booleans()):
        sent += writer.cancel()
    else:
        code = data.draw(st.sampled_from([*OUR_CODES, "other"]))
        sent += writer.fail(ApiError("x", status=503, code=code))
    for event in sent:
        check_schema_of_event(json.loads(event))


@settings(deadline=None, max_examples=20)
@given(turns(), st.sampled_from(REQUESTS))
def test_openais_client_reads_every_event_strictly(events, request):
    types = pytest.importorskip("openai.types.responses")
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(types.ResponseStreamEvent)
    writer = stream(request)
    sent = [*writer.enqueue(), *writer.begin(), *writer.feed(events), *writer.finish(now=9)]
    for event in sent:
        read = adapter.validate_json(event)
        assert read.type == json.loads(event)["type"]
        # What the types have no field for would be kept aside.
        assert not (read.model_extra or {}).keys() - {"logprobs", "name"}
    types.Response.model_validate_json(writer.response)


@settings(deadline=None, max_examples=20)
@given(turns(), st.sampled_from(REQUESTS[:2]))
def test_openais_client_puts_the_stream_together_to_the_whole_response(events, request):
    streaming = pytest.importorskip("openai.lib.streaming.responses._responses")
    types = pytest.importorskip("openai.types.responses")
    pydantic = pytest.importorskip("pydantic")
    adapter = pydantic.TypeAdapter(types.ResponseStreamEvent)
    from openai import NOT_GIVEN

    state = streaming.ResponseStreamState(input_tools=[], text_format=NOT_GIVEN)
    writer = stream(request)
    made = None
    for event in [*writer.begin(), *writer.feed(events), *writer.finish(now=9)]:
        for seen in state.handle_event(adapter.validate_json(event)):
            if seen.type in ("response.completed", "response.incomplete"):
                made = seen.response
    assert made is not None
    whole = json.loads(writer.response)
    assert [item.id for item in made.output] == [item["id"] for item in whole["output"]]
    said = [
        part["text"]
        for item in whole["output"]
        if item["type"] == "message"
        for part in item["content"]
    ]
    assert made.output_text == "".join(said)


def test_every_parameter_item_and_tool_that_openai_has_is_known():
    assert set(GOLDEN["request_parameters"]) <= KNOWN
    assert set(GOLDEN["input_item_types"]) <= KINDS.keys() | TOLD.keys() | LEFT_OUT
    assert set(GOLDEN["tool_types"]) <= HOSTED | {"function", "custom", "namespace"}
    assert set(GOLDEN["include"]) <= INCLUDE
