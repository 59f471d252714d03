from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.api.chat.body import KNOWN, NO_EFFECT
from antiphon.api.chat.output import JSON_INSTRUCTION
from antiphon.api.chat.request import VERBOSITY, ChatRequest, decode_chat
from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.turn import Sampling, StructuredOutput
from antiphon.model.content import DeveloperContent, ReasoningEffort, ResponseFormat, SystemContent

DEFAULT = PromptPolicy()
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def read(policy: PromptPolicy = DEFAULT, /, **fields: Any) -> ChatRequest:
    body = {"model": "gpt-oss-20b", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return decode_chat(json.dumps(body).encode(), policy=policy, date="2026-01-31", tenant="t")


def refused(policy: PromptPolicy = DEFAULT, /, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(policy, **fields)
    assert caught.value.status == 400
    return caught.value


def system(request: ChatRequest) -> SystemContent:
    content = request.turn.conversation.messages[0].content[0]
    assert isinstance(content, SystemContent)
    return content


def developer(request: ChatRequest) -> DeveloperContent:
    content = request.turn.conversation.messages[1].content[0]
    assert isinstance(content, DeveloperContent)
    return content


# What is honoured


def test_a_bare_request_leaves_everything_open():
    request = read()
    assert request.turn.sampling == Sampling()
    assert request.turn.max_tokens is None
    assert request.turn.stop == ()
    assert request.turn.logprobs is None
    assert request.turn.output is None
    assert request.turn.parallel
    assert request.turn.think
    assert (request.n, request.stream, request.include_usage) == (1, False, False)
    assert request.ignored == ()
    assert (request.turn.model, request.turn.tenant, request.model) == (
        "gpt-oss-20b",
        "t",
        "gpt-oss-20b",
    )


def test_null_is_the_same_as_absent():
    nothing: dict[str, Any] = dict.fromkeys(KNOWN - {"model", "messages"})
    assert read(**nothing).ignored == ()
    assert read(**nothing).turn.conversation == read().turn.conversation


def test_sampling_parameters_arrive():
    given_: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "repetition_penalty": 1.1,
        "seed": -(2**63),
    }
    sampling = read(**given_, logit_bias={"11": -100, "200000": 5}).turn.sampling
    assert sampling == Sampling(**given_, logit_bias={11: -100.0, 200000: 5.0})


def test_top_k_of_minus_one_is_off_as_in_vllm():
    assert read(top_k=-1).turn.sampling.top_k == 0


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_either_name_limits_the_tokens(name):
    assert read(**{name: 5}).turn.max_tokens == 5


def test_the_newer_limit_wins_and_the_older_one_is_named():
    request = read(max_tokens=9, max_completion_tokens=5)
    assert request.turn.max_tokens == 5
    assert request.ignored == ("max_tokens",)
    assert read(max_tokens=5, max_completion_tokens=5).ignored == ()


def test_stop_is_one_string_or_several():
    assert read(stop="a").turn.stop == ("a",)
    assert read(stop=["a", "b", "a"]).turn.stop == ("a", "b")
    assert read(stop=[]).turn.stop == ()


def test_an_empty_stop_string_stops_nothing_and_is_named():
    request = read(stop=["a", ""])
    assert request.turn.stop == ("a",)
    assert request.ignored == ("stop[1]",)


def test_logprobs_say_how_many_alternatives():
    assert read(logprobs=True).turn.logprobs == 0
    assert read(logprobs=True, top_logprobs=20).turn.logprobs == 20
    assert read(logprobs=False, top_logprobs=0).turn.logprobs is None


def test_stream_options_are_read():
    request = read(stream=True, stream_options={"include_usage": True}, n=2)
    assert (request.stream, request.include_usage, request.n) == (True, True, 2)


def test_the_cache_key_names_the_conversation():
    assert read(prompt_cache_key="c1").turn.conversation_key == "c1"


@pytest.mark.parametrize("level", VERBOSITY)
def test_verbosity_is_a_line_of_instructions(level):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    got = developer(read(messages=messages, verbosity=level)).instructions
    assert got == "\n\n".join(filter(None, ["Be kind.", VERBOSITY[level]]))


def test_the_date_identity_and_cutoff_are_the_policys():
    policy = PromptPolicy(identity="You are Ann.", knowledge_cutoff="2030-01")
    content = system(read(policy))
    assert content.model_identity == "You are Ann."
    assert content.knowledge_cutoff == "2030-01"
    assert content.conversation_start_date == "2026-01-31"
    named = read(policy, chat_template_kwargs={"model_identity": "You are Bob."})
    assert system(named).model_identity == "You are Bob."


# Effort


@pytest.mark.parametrize(
    ("wanted", "effort", "think"),
    [
        ("none", "low", False),
        ("minimal", "low", False),
        ("low", "low", True),
        ("medium", "medium", True),
        ("high", "high", True),
        ("xhigh", "high", True),
        ("max", "high", True),
    ],
)
@pytest.mark.parametrize("where", ["reasoning_effort", "reasoning", "chat_template_kwargs"])
def test_efforts_are_the_nearest_trained_one(wanted, effort, think, where):
    fields = {
        "reasoning_effort": wanted,
        "reasoning": {"effort": wanted},
        "chat_template_kwargs": {"reasoning_effort": wanted},
    }
    request = read(**{where: fields[where]})
    assert system(request).reasoning_effort == ReasoningEffort(effort)
    assert request.turn.think is think
    by_policy = read(PromptPolicy(effort=wanted))
    assert system(by_policy).reasoning_effort == ReasoningEffort(effort)
    assert by_policy.turn.think is think


def test_openais_parameter_wins_over_the_others():
    request = read(
        reasoning_effort="high",
        reasoning={"effort": "low"},
        chat_template_kwargs={"reasoning_effort": "low"},
    )
    assert system(request).reasoning_effort is ReasoningEffort.HIGH


@pytest.mark.parametrize(
    "fields",
    [{"reasoning": {"enabled": False}}, {"chat_template_kwargs": {"enable_thinking": False}}],
)
def test_thinking_can_be_switched_off_and_on(fields):
    assert not read(**fields).turn.think
    on = json.loads(json.dumps(fields).replace("false", "true"))
    assert read(PromptPolicy(effort="none"), **on).turn.think


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, True),
        ({"include_reasoning": False}, False),
        ({"reasoning": {"exclude": True}}, False),
        ({"reasoning": {"exclude": False}}, True),
        ({"include_reasoning": True, "reasoning": {"exclude": True}}, True),
    ],
)
def test_a_request_may_hide_its_reasoning(fields, shown):
    request = read(**fields)
    assert request.include_reasoning is shown
    assert request.view(Visibility()).reasoning is shown
    assert not request.view(Visibility(reasoning=False)).reasoning


# Structured output


def test_a_json_schema_binds_the_answer_and_shows_in_the_prompt():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"name": "it", "schema": schema, "strict": True, "description": "One."}
    request = read(response_format={"type": "json_schema", "json_schema": wanted})
    assert request.turn.output == StructuredOutput(
        schema=schema, name="it", strict=True, field="response_format.json_schema.schema"
    )
    expected = ResponseFormat(name="it", schema=schema, description="One.")
    assert developer(request).response_formats == (expected,)


def test_a_schema_is_not_strict_unless_it_says_so():
    request = read(response_format={"type": "json_schema", "json_schema": {"name": "it"}})
    assert request.turn.output == StructuredOutput(
        schema={}, name="it", strict=False, field="response_format.json_schema.schema"
    )


def test_a_json_object_is_any_object():
    request = read(response_format={"type": "json_object"})
    assert request.turn.output == StructuredOutput(schema={"type": "object"})
    assert developer(request).instructions == JSON_INSTRUCTION


def test_text_is_what_there_is_anyway():
    assert read(response_format={"type": "text"}).turn == read().turn


def test_a_structured_answer_is_not_mixed_with_preambles():
    request = read(response_format={"type": "json_object"})
    assert request.view(Visibility()).preambles == "reasoning"
    assert request.view(Visibility(preambles="hidden")).preambles == "hidden"
    assert read().view(Visibility()).preambles == "content"


# What is passed over, and what has no effect


def test_unknown_and_ineffective_fields_are_accepted_and_named():
    request = read(
        mirostat=2,
        web_search_options={},
        reasoning={"max_tokens": 100},
        stream_options={"include_obfuscation": True},
    )
    assert request.ignored == (
        "mirostat",
        "web_search_options",
        "reasoning.max_tokens",
        "stream_options.include_obfuscation",
    )


def test_labels_and_hints_are_not_reported():
    fields: dict[str, Any] = {
        "metadata": {"a": "b"},
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_options": {"ttl": "24h"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "me",
        "service_tier": "flex",
        "user": "me",
    }
    assert set(fields) == NO_EFFECT
    assert read(**fields, store=False).ignored == ()
    assert read(PromptPolicy(strict_parameters=True), **fields).turn == read().turn


def test_a_strict_server_refuses_what_would_be_ignored():
    policy = PromptPolicy(strict_parameters=True)
    error = refused(policy, tools=[FUNCTION, {"type": "web_search"}])
    assert (error.param, error.code) == ("tools[1].type", "unsupported_parameter")
    assert refused(policy, typical_p=1).param == "typical_p"
    assert read(policy).ignored == ()


def test_the_list_of_ignored_names_is_bounded():
    request = read(**{f"x{i}" + "y" * 500: i for i in range(500)})
    assert len(request.ignored) == 64
    assert max(map(len, request.ignored)) == 80


# What is refused


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": -0.1}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": 1.01}, "top_p", "invalid_value"),
        ({"top_k": -2}, "top_k", "invalid_value"),
        ({"min_p": 2}, "min_p", "invalid_value"),
        ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
        ({"frequency_penalty": -2.5}, "frequency_penalty", "invalid_value"),
        ({"repetition_penalty": 0}, "repetition_penalty", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"seed": 1.5}, "seed", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 9}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "invalid_value"),
        ({"stop": 3}, "stop", "invalid_type"),
        ({"stop": ["a", 3]}, "stop[1]", "invalid_type"),
        ({"stop": [str(i) for i in range(17)]}, "stop", "invalid_value"),
        ({"stop": "x" * 1025}, "stop[0]", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"top_logprobs": 1}, "top_logprobs", "invalid_value"),
        ({"logit_bias": {"11": 101}}, "logit_bias[...]", "invalid_value"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x", "invalid_value"),
        ({"logit_bias": {"201089": 1}}, "logit_bias.201089", "invalid_value"),
        ({"logit_bias": {"²": 1}}, "logit_bias.²", "invalid_value"),
        ({"logit_bias": [1]}, "logit_bias", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": 1}, "stream_options", "invalid_type"),
        ({"metadata": "x"}, "metadata", "invalid_type"),
        ({"verbosity": "huge"}, "verbosity", "invalid_value"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        (
            {"chat_template_kwargs": {"reasoning_effort": "huge"}},
            "chat_template_kwargs.reasoning_effort",
            "invalid_value",
        ),
        ({"modalities": ["text", "audio"]}, "modalities[1]", "unsupported_parameter"),
        ({"audio": {"voice": "ash", "format": "wav"}}, "audio", "unsupported_parameter"),
        ({"moderation": {"model": "x"}}, "moderation", "unsupported_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "response_format.json_schema.name",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_value_is_refused_naming_its_path(fields, param, code):
    error = refused(**fields)
    assert (error.param, error.code) == (param, code)
    assert str(error).startswith(f"{param}: ")
    assert error.type == "invalid_request_error"


def test_a_schema_that_is_too_deep_is_refused():
    schema: dict[str, Any] = {}
    for _ in range(70):
        schema = {"items": schema}
    wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    assert refused(response_format=wanted).param == "response_format.json_schema.schema"


def test_missing_parameters_are_named():
    for body, param in (
        (b'{"messages": []}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user"}]}', "messages[0].content"),
    ):
        with pytest.raises(ApiError) as caught:
            decode_chat(body, policy=DEFAULT)
        assert caught.value.param == param
        assert caught.value.code == "missing_required_parameter"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b'{"model": ', b"\xff\xfe", b'{"x": ' + b"[" * 100_000]
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ApiError) as caught:
        decode_chat(body, policy=DEFAULT)
    assert caught.value.code == "invalid_json"
    assert json.loads(caught.value.body())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"x"'])
def test_what_is_not_an_object_is_refused(body):
    with pytest.raises(ApiError) as caught:
        decode_chat(body, policy=DEFAULT)
    assert caught.value.code == "invalid_type"


def test_half_a_character_becomes_a_replacement_character():
    text = r"a\ud83d b\ude00 \ud83d\ude00 \\ud83d"
    body = '{"model":"m","messages":[{"role":"user","content":"' + text + '"}]}'
    request = decode_chat(body.encode(), policy=DEFAULT)
    assert request.turn.conversation.messages[1].text == "a� b� 😀 \\ud83d"


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), JSON, max_size=6))
def test_any_value_anywhere_is_read_or_refused(fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    try:
        request = decode_chat(json.dumps(body).encode(), policy=DEFAULT)
    except ApiError as error:
        assert error.status == 400  # noqa: PT017 - most values are refused, some are not
        assert error.param is None or str(error).startswith(error.param)  # noqa: PT017
    else:
        assert request.turn.conversation.messages
