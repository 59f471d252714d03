"""What we answer, against OpenAI's own schemas and the types of its Python client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.api.chat_events import frames, turns

from antiphon.api.chat.body import KNOWN
from antiphon.api.chat.models import model_body, models_body, served_model
from antiphon.api.chat.response import ChatFold
from antiphon.api.chat.stream import ChatStream

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/openai_chat.json").read_text("utf-8"))
HEAD: dict[str, Any] = {
    "id": "chatcmpl-1",
    "created": 5,
    "model": "gpt-oss-20b",
    "system_fingerprint": "fp_1",
}


def nullable(schema: Any) -> Any:
    """The same with OpenAPI 3.0's ``nullable`` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: nullable(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


def validator(name: str) -> Draft202012Validator:
    components = nullable(GOLDEN["components"])
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})


WHOLE = validator("CreateChatCompletionResponse")
CHUNK = validator("CreateChatCompletionStreamResponse")


def both(choices: list[Any], **how: Any) -> tuple[Any, list[Any]]:
    fold = ChatFold(**HEAD, n=len(choices), **how)
    stream = ChatStream(**HEAD, n=len(choices), include_usage=True, **how)
    sent = b""
    for index, events in enumerate(choices):
        fold.feed(index, events)
        sent += stream.feed(index, events)
    return json.loads(fold.body()), frames(sent + stream.finish())


def test_the_schemas_refuse_what_is_wrong():
    assert not WHOLE.is_valid({"id": "x"})
    assert not CHUNK.is_valid({"id": "x", "choices": [{}]})


@settings(deadline=None, max_examples=25)
@given(st.lists(turns(), min_size=1, max_size=2), st.booleans(), st.booleans())
def test_whole_answers_have_openais_schema(choices, logprobs, deprecated):
    whole, _ = both(choices, logprobs=logprobs, deprecated_functions=deprecated)
    WHOLE.validate(whole)


@settings(deadline=None, max_examples=25)
@given(
    # The schema of chunks has no custom calls.
    st.lists(turns(structured_parts=False), min_size=1, max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_chunks_have_openais_schema(choices, logprobs, deprecated):
    for chunk in both(choices, logprobs=logprobs, deprecated_functions=deprecated)[1]:
        CHUNK.validate(chunk)


@settings(deadline=None, max_examples=25)
@given(st.lists(turns(structured_parts=False), min_size=1, max_size=2), st.booleans())
def test_openais_client_reads_answers_and_chunks_strictly(choices, logprobs):
    types = pytest.importorskip("openai.types.chat")
    whole, chunks = both(choices, logprobs=logprobs)
    types.ChatCompletion.model_validate(whole, strict=True)
    for chunk in chunks:
        types.ChatCompletionChunk.model_validate(chunk, strict=True)


@settings(deadline=None, max_examples=25)
@given(st.lists(turns(structured_parts=False), min_size=1, max_size=2))
def test_openais_client_puts_the_stream_together_to_the_whole_answer(choices):
    streaming = pytest.importorskip("openai.lib.streaming.chat")
    types = pytest.importorskip("openai.types.chat")
    whole, chunks = both(choices)
    state = streaming.ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(types.ChatCompletionChunk.model_validate(chunk))
    made = state.current_completion_snapshot.model_dump()
    assert made["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    for got, expected in zip(made["choices"], whole["choices"], strict=True):
        assert got["finish_reason"] == expected["finish_reason"]
        said, message = got["message"], expected["message"]
        assert said["content"] == (message["content"] or "")
        assert said.get("reasoning") == message.get("reasoning")
        calls = [(c["id"], c["function"]["name"], c["function"]["arguments"])
                 for c in said["tool_calls"] or ()]  # fmt: skip
        assert calls == [
            (c["id"], c["function"]["name"], c["function"]["arguments"])
            for c in message.get("tool_calls", ())
        ]


def test_every_parameter_that_openai_has_is_known():
    assert set(GOLDEN["request_parameters"]) <= KNOWN


def test_models_have_the_form_that_clients_read():
    first = served_model("gpt-oss-20b", created=5, context_length=131072)
    second = served_model("other", created=6)
    assert json.loads(models_body([first, second])) == {
        "object": "list",
        "data": [json.loads(model_body(first)), json.loads(model_body(second))],
    }
    assert json.loads(model_body(first)) == {
        "id": "gpt-oss-20b",
        "object": "model",
        "created": 5,
        "owned_by": "antiphon",
        "context_length": 131072,
        "max_model_len": 131072,
    }
    types = pytest.importorskip("openai.types")
    for model in (first, second):
        types.Model.model_validate_json(model_body(model), strict=True)
