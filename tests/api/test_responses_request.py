"""What each parameter of a Responses request does, and which requests are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.responses_requests import FUNCTION, decode, developer, refused, said, system

from antiphon.api.errors import ApiError
from antiphon.api.output import JSON_INSTRUCTION
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.prompt import VERBOSITY
from antiphon.api.responses.request import Past, decode_response_request, references
from antiphon.api.turn import InputGrammar, Sampling
from antiphon.codec.grammar.plan import AUTO, NONE, REQUIRED, ToolChoice, ToolMode

CUSTOM: dict[str, Any] = {"type": "custom", "name": "apply_patch"}
SPACE: dict[str, Any] = {
    "type": "namespace",
    "name": "agents",
    "description": "Helpers.",
    "tools": [
        {"type": "function", "name": "spawn", "description": "Start one.", "parameters": {}},
        {"type": "custom", "name": "note"},
    ],
}
STRICT = PromptPolicy(strict_parameters=True)
USER = {"role": "user", "content": "x"}
DEEP: Any = {}
for _ in range(200):
    DEEP = {"type": "array", "items": DEEP}


# The first pass.


def test_the_first_pass_tells_what_has_to_be_fetched():
    body = {
        "model": "m",
        "input": [
            {"type": "item_reference", "id": "a"},
            {"role": "user", "content": "x"},
            {"id": "b"},
        ],
        "previous_response_id": "resp_1",
        "stream": True,
        "background": True,
    }
    first = references(json.dumps(body).encode())
    assert first.previous_response_id == "resp_1"
    assert first.item_ids == ("a", "b")
    assert (first.model, first.stream, first.background, first.store) == ("m", True, True, True)
    assert first.conversation is None


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_named_by_its_id_or_as_an_object(given):
    body = json.dumps({"model": "m", "input": "x", "conversation": given, "store": False}).encode()
    first = references(body)
    assert (first.conversation, first.store) == ("conv_1", False)
    assert decode_response_request(first, policy=PromptPolicy()).conversation == "conv_1"


def test_a_request_follows_a_response_or_belongs_to_a_conversation_but_not_both():
    error = refused(previous_response_id="resp_1", conversation="conv_1")
    assert (error.status, error.param) == (400, "previous_response_id")


# The prompt.


def test_the_system_message_is_gpt_osss_own():
    request = decode(date="2026-11-21", policy=PromptPolicy(identity="I", knowledge_cutoff="2025"))
    content = system(request)
    assert content.model_identity == "I"
    assert content.knowledge_cutoff == "2025"
    assert content.conversation_start_date == "2026-11-21"
    assert content.reasoning_effort == "medium"


@pytest.mark.parametrize(
    ("asked", "effort", "think"),
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
def test_the_effort_becomes_the_nearest_that_gpt_oss_has(asked, effort, think):
    request = decode(reasoning={"effort": asked})
    assert (system(request).reasoning_effort, request.turn.think) == (effort, think)
    assert json.loads(b"{%b}" % request.echo)["reasoning"]["effort"] == asked


def test_the_servers_effort_holds_where_the_request_says_none():
    request = decode(policy=PromptPolicy(effort="none"))
    assert (system(request).reasoning_effort, request.turn.think) == ("low", False)
    lined = decode(
        [{"role": "system", "content": "Reasoning: high"}, {"role": "user", "content": "x"}]
    )
    assert system(lined).reasoning_effort == "high"


def test_verbosity_and_json_are_said_in_words():
    request = decode(text={"verbosity": "low", "format": {"type": "json_object"}}, instructions="A")
    assert said(request)[0] == ("developer", f"A\n\n{VERBOSITY['low']}\n\n{JSON_INSTRUCTION}")
    assert request.turn.output is not None
    assert request.turn.output.schema == {"type": "object"}


def test_a_schema_binds_the_answer_and_is_shown():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {
        "type": "json_schema",
        "name": "x",
        "schema": schema,
        "strict": True,
        "description": "D",
    }
    request = decode(text={"format": form})
    output = request.turn.output
    assert output is not None
    assert (output.schema, output.name, output.strict) == (schema, "x", True)
    assert developer(request).response_formats[0].description == "D"
    assert json.loads(b"{%b}" % request.echo)["text"]["format"] == form


def test_input_may_be_missing_where_something_came_before_or_tokens_are_counted():
    before = Past(items=[b'{"role":"user","content":"x"}'])
    assert said(decode(None, past=before, previous_response_id="resp_1")) == [("user", "x")]
    counted = decode_response_request(b"{}", policy=PromptPolicy(), counting=True)
    assert len(counted.turn.conversation) == 1


def test_halves_of_characters_are_replaced():
    body = b'{"model":"m","input":"a\\ud83d"}'
    assert said(decode_response_request(body, policy=PromptPolicy())) == [("user", "a�")]


# Tools.


def test_functions_are_offered_with_aliases_for_names_that_mean_something_else():
    tools = [
        {**FUNCTION, "description": "Looks.", "strict": True},
        {"type": "function", "name": "bash", "parameters": None},
        {"type": "function", "name": "none"},
    ]
    turn = decode(tools=tools).turn
    offered = turn.tools["functions"].tools
    assert [(tool.name, tool.description) for tool in offered] == [
        ("look", "Looks."),
        ("use_bash", ""),
        ("none", ""),
    ]
    assert offered[1].parameters is None
    assert turn.strict_tools == {"functions.look"}
    assert turn.names.aliased == {"bash": "use_bash"}


def test_a_namespace_is_flattened_and_described_once():
    request = decode(tools=[SPACE])
    offered = request.turn.tools["functions"].tools
    assert [(tool.name, tool.description) for tool in offered] == [
        ("agents_spawn", "Helpers.\n\nStart one."),
        ("agents_note", ""),
    ]
    assert request.turn.custom_tools == {"functions.agents_note"}
    assert request.namespaced == {
        "agents.spawn": ("agents", "spawn"),
        "agents.note": ("agents", "note"),
    }


@pytest.mark.parametrize("syntax", ["lark", "regex"])
def test_a_custom_tools_grammar_goes_along(syntax):
    form = {"type": "grammar", "syntax": syntax, "definition": "a+"}
    request = decode(tools=[{**CUSTOM, "format": form}])
    assert request.turn.input_grammars == {
        "functions.apply_patch": InputGrammar(syntax, "a+", "tools[0].format.definition")
    }
    assert request.turn.custom_tools == {"functions.apply_patch"}
    assert request.ignored == ()
    assert "a+" in request.turn.tools["functions"].tools[0].description


HOSTED: list[dict[str, Any]] = [
    {"type": "web_search", "external_web_access": False},
    {"type": "web_search_preview"},
    {"type": "file_search", "vector_store_ids": []},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "mcp", "server_label": "x", "server_url": "y"},
    {"type": "image_generation"},
    {"type": "computer_use_preview"},
    {"type": "local_shell"},
    {"type": "shell"},
    {"type": "apply_patch"},
    {"type": "tool_search"},
    {"type": "from_the_future"},
]


@pytest.mark.parametrize("tool", HOSTED, ids=[str(tool["type"]) for tool in HOSTED])
def test_tools_that_are_not_here_are_passed_over_and_named(tool):
    request = decode(tools=[tool, FUNCTION])
    assert [offered.name for offered in request.turn.tools["functions"].tools] == ["look"]
    assert request.ignored == (f"tools[0].type={tool['type']}",)
    assert json.loads(b"{%b}" % request.echo)["tools"][0] == tool
    error = refused(tools=[tool, FUNCTION], policy=STRICT)
    assert (error.code, error.param) == ("unsupported_parameter", "tools[0].type")


def test_a_name_that_is_offered_again_is_passed_over():
    assert decode(tools=[FUNCTION, FUNCTION]).ignored == ("tools[1]",)
    assert decode(tools=[SPACE, SPACE]).ignored == ("tools[1].tools[0]", "tools[1].tools[1]")
    flat = {"type": "function", "name": "agents.spawn"}
    assert decode(tools=[flat, SPACE]).ignored == ("tools[1].tools[0]",)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": ""}, "tools[0].name"),
        ({"type": "function", "name": "x" * 200}, "tools[0].name"),
        ({"type": "function", "name": "x", "parameters": 7}, "tools[0].parameters"),
        ({"type": "function", "name": "x", "parameters": DEEP}, "tools[0].parameters"),
        ({"type": "custom"}, "tools[0].name"),
        ({**CUSTOM, "format": {"type": "poem"}}, "tools[0].format.type"),
        ({**CUSTOM, "format": {"type": "grammar", "syntax": "lark"}}, "tools[0].format.definition"),
        (
            {**CUSTOM, "format": {"type": "grammar", "syntax": "peg", "definition": "x"}},
            "tools[0].format.syntax",
        ),
        ({"type": "namespace", "name": "n"}, "tools[0].tools"),
        ({"type": "namespace", "tools": []}, "tools[0].name"),
        ({**SPACE, "tools": [{"type": "function"}]}, "tools[0].tools[0].name"),
        (
            {**SPACE, "tools": [{"name": "x", "parameters": DEEP}]},
            "tools[0].tools[0].parameters",
        ),
        (7, "tools[0]"),
    ],
)
def test_errors_name_the_path_of_a_wrong_tool(tool, param):
    assert refused(tools=[tool]).param == param


# The choice of tools.


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, AUTO),
        ("auto", AUTO),
        ("none", NONE),
        ("required", REQUIRED),
        ({"type": "function", "name": "look"}, ("functions.look",)),
        ({"type": "custom", "name": "apply_patch"}, ("functions.apply_patch",)),
        ({"type": "function", "name": "spawn", "namespace": "agents"}, ("functions.agents_spawn",)),
        ({"type": "function", "name": "spawn"}, ("functions.agents_spawn",)),
        ({"type": "function", "name": "agents.spawn"}, ("functions.agents_spawn",)),
    ],
)
def test_every_choice_of_tools(choice, expected):
    made = decode(tools=[FUNCTION, CUSTOM, SPACE], tool_choice=choice).turn.choice
    if isinstance(expected, tuple):
        expected = ToolChoice(ToolMode.REQUIRED, expected)
    assert made == expected


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_limit_the_choice(mode):
    allowed = [
        {"type": "function", "name": "look"},
        {"type": "namespace", "name": "agents"},
        {"type": "web_search"},
    ]
    request = decode(
        tools=[FUNCTION, CUSTOM, SPACE],
        tool_choice={"type": "allowed_tools", "mode": mode, "tools": allowed},
    )
    assert request.turn.choice == ToolChoice(
        ToolMode(mode), ("functions.look", "functions.agents_spawn", "functions.agents_note")
    )
    assert request.ignored == ("tool_choice.tools[2].type=web_search",)
    assert len(request.turn.tools["functions"].tools) == 4


def test_where_only_tools_are_allowed_that_are_not_here_none_is():
    choice = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "mcp", "server_label": "x"}],
    }
    assert decode(tools=[FUNCTION], tool_choice=choice).turn.choice == NONE


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("sometimes", "tool_choice"),
        (7, "tool_choice"),
        ({"type": "function"}, "tool_choice.name"),
        ({"type": "function", "name": "other"}, "tool_choice.name"),
        ({"type": "web_search"}, "tool_choice.type"),
        ({"type": "mcp", "server_label": "x"}, "tool_choice.type"),
        ({"type": "apply_patch"}, "tool_choice.type"),
        ({"type": "shell"}, "tool_choice.type"),
        ({"type": "programmatic_tool_calling"}, "tool_choice.type"),
        ({"type": "telepathy"}, "tool_choice.type"),
        ({"type": "allowed_tools", "mode": "auto"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "mode": "no", "tools": [FUNCTION]}, "tool_choice.mode"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
            "tool_choice.tools[0].name",
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "namespace", "name": "x"}],
            },
            "tool_choice.tools[0].name",
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "shell"}]},
            "tool_choice",
        ),
    ],
)
def test_choices_that_cannot_be_are_refused(choice, param):
    error = refused(tools=[FUNCTION], tool_choice=choice)
    assert (error.status, error.param) == (400, param)


@pytest.mark.parametrize("tools", [[], [{"type": "web_search"}]])
def test_a_call_cannot_be_required_where_there_is_nothing_to_call(tools):
    assert refused(tools=tools, tool_choice="required").param == "tool_choice"


# What else is honoured.


def test_sampling_and_limits_reach_the_turn():
    turn = decode(
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        seed=7,
        logit_bias={"5": 1},
        stop=["x", ""],
        max_output_tokens=1,
        parallel_tool_calls=False,
        prompt_cache_key="k",
        truncation="auto",
    ).turn
    assert turn.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=0,
        min_p=0.1,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        seed=7,
        logit_bias={5: 1.0},
    )
    assert (turn.stop, turn.max_tokens, turn.parallel) == (("x",), 1, False)
    assert (turn.conversation_key, turn.truncate) == ("k", True)


def test_the_conversations_key_is_the_clients_or_what_is_known_of_the_conversation():
    assert decode(past=Past(key="first")).turn.conversation_key == "first"
    assert decode(past=Past(key="first"), prompt_cache_key="k").turn.conversation_key == "k"
    assert decode(conversation="conv_1").turn.conversation_key == "conv_1"
    assert decode().turn.conversation_key is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 3}, 3),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, 3),
    ],
)
def test_log_probabilities_are_asked_for_by_include_or_by_their_number(fields, expected):
    assert decode(**fields).turn.logprobs == expected


def test_what_is_for_the_gateway_is_told():
    request = decode(
        stream=True,
        background=True,
        store=True,
        include=["reasoning.encrypted_content"],
        previous_response_id="resp_1",
        truncation="auto",
        reasoning={"summary": "auto"},
        max_tool_calls=3,
        metadata={"a": "b"},
    )
    assert (request.stream, request.background, request.store) == (True, True, True)
    assert request.encrypted
    assert (request.previous_response_id, request.truncation) == ("resp_1", "auto")
    assert (request.summary, request.max_tool_calls) == ("auto", 3)
    assert request.metadata == {"a": "b"}
    plain = decode()
    assert (plain.stream, plain.background, plain.store) == (False, False, True)
    assert not plain.encrypted


@pytest.mark.parametrize("field", ["summary", "generate_summary"])
def test_a_kind_of_summary_that_is_not_made_is_named(field):
    asked = {field: "detailed"}
    assert decode(reasoning=asked).ignored == (f"reasoning.{field}",)
    able = decode(reasoning=asked, policy=PromptPolicy(summaries=True))
    assert (able.ignored, able.summary) == ((), "detailed")
    assert decode(reasoning={"summary": "auto"}, policy=STRICT).ignored == ()


def test_structured_answers_have_no_preambles_beside_them():
    allowed = Visibility()
    assert decode().view(allowed) == allowed
    bound = decode(text={"format": {"type": "json_object"}})
    assert bound.view(allowed).preambles == "reasoning"
    assert bound.view(Visibility(preambles="hidden")).preambles == "hidden"


@pytest.mark.parametrize(
    "fields",
    [
        {"client_metadata": {"a": 1}},
        {"context_management": [{"type": "compaction"}]},
        {"image": {"context_compression": "enabled"}},
        {"reasoning": {"context": "all_turns"}},
        {"reasoning": {"mode": "pro"}},
        {"stream_options": {"include_obfuscation": True}},
    ],
)
def test_what_has_no_effect_here_is_named(fields):
    ((name, value),) = fields.items()
    path = f"{name}.{next(iter(value))}" if name in ("reasoning", "stream_options") else name
    assert decode(**fields).ignored == (path,)
    assert refused(**fields, policy=STRICT).param == path


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"instructions": 7}, "instructions"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"truncation": "some"}, "truncation"),
        ({"background": True, "store": False}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"include": ["everything"]}, "include[0]"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"reasoning": {"generate_summary": "long"}}, "reasoning.generate_summary"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}},
            "text.format.name",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": DEEP}}},
            "text.format.schema",
        ),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"metadata": {"a": 7}}, "metadata[...]"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: ""}}, "metadata"),
        ({"metadata": {"x": "y" * 513}}, "metadata.x"),
        ({"conversation": {}}, "conversation.id"),
        ({"conversation": ""}, "conversation"),
        ({"previous_response_id": ""}, "previous_response_id"),
    ],
)
def test_errors_name_the_parameter_that_is_wrong(fields, param):
    error = refused(**fields)
    assert error.status == 400
    assert error.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"model":"m"'])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(ApiError) as caught:
        references(body)
    assert caught.value.status == 400


def test_deep_and_long_bodies_cost_no_more_than_their_length():
    deep = b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(ApiError):
        references(deep)
    calls = [{"role": "assistant", "content": "x"}] * 20_000
    request = decode([{"role": "user", "content": "x"}, *calls])
    assert len(request.turn.conversation) == 20_002


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ud83dx", "\\ude00\\ud83d", "\\uD83D\\n"])
def test_halves_of_characters_are_replaced_where_nobody_reads_them_too(half):
    body = '{"model":"m","input":[{"role":"user","content":"x","note":"HALF"}]}'
    request = decode_response_request(body.replace("HALF", half).encode(), policy=PromptPolicy())
    assert "\ufffd" in json.loads(request.items[0])["note"]
    assert json.loads(request.items[0])["note"].encode()


def test_whole_characters_and_what_only_looks_like_halves_stay():
    body = r'{"model":"m","input":"\ud83d\ude00 \\ud83d C:\\udata"}'
    request = decode_response_request(body.encode(), policy=PromptPolicy())
    assert said(request) == [("user", "😀 \\ud83d C:\\udata")]


def test_bytes_that_are_no_text_are_refused_where_nobody_reads_them_too():
    with pytest.raises(ApiError) as caught:
        references(b'{"model":"m","input":[{"role":"user","content":"x","note":"\xa7"}]}')
    assert caught.value.code == "invalid_json"
