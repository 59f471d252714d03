from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.api.chat.request import ChatRequest, decode_chat
from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.api.turn import InputGrammar, PastCall
from antiphon.codec.grammar.plan import AUTO, NONE, REQUIRED, ToolChoice, ToolMode, plan
from antiphon.model.message import Message
from antiphon.model.tools import Tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def custom(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {"name": name, **fields}}


def read(*messages: Any, **fields: Any) -> ChatRequest:
    said = [{"role": "user", "content": "Hi"}, *messages]
    body = {"model": "m", "messages": said, **fields}
    return decode_chat(json.dumps(body).encode(), policy=PromptPolicy())


def refused(*messages: Any, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(*messages, **fields)
    return caught.value


def offered(request: ChatRequest) -> tuple[Tool, ...]:
    return request.turn.tools["functions"].tools


def calling(name: str, call_id: str | None = "call_1", arguments: str = "{}") -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def test_tools_are_in_the_prompt_and_in_the_turn():
    request = read(tools=[function("get_weather", description="Weather.", parameters=SCHEMA)])
    assert offered(request) == (Tool("get_weather", "Weather.", SCHEMA),)
    [content] = request.turn.conversation.messages[1].content
    assert content.tools == request.turn.tools  # type: ignore[union-attr]
    assert plan(request.turn.tools, request.turn.choice).calls[0].recipient == (
        "functions.get_weather"
    )


def test_the_same_tools_are_the_same_object():
    tools = [function("f", parameters=SCHEMA)]
    first, second = read(tools=tools), read(tools=tools)
    assert first.turn.tools is second.turn.tools
    assert first.turn.conversation.messages[1] is second.turn.conversation.messages[1]


def test_names_that_would_confuse_the_model_get_aliases_wherever_they_stand():
    tools = [function("python"), function("Web Search"), function("ok")]
    request = read(
        calling("Web Search", "a"),
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "?", "name": "python", "content": "2"},
        {"role": "function", "name": "python", "content": "3"},
        tools=tools,
        tool_choice={"type": "function", "function": {"name": "python"}},
    )
    names = request.turn.names
    alias, search = names.recipient("python"), names.recipient("Web Search")
    assert {tool.name for tool in offered(request)} == {
        alias.removeprefix("functions."),
        search.removeprefix("functions."),
        "ok",
    }
    assert alias != "functions.python"
    assert names.client(alias) == "python"
    assert request.turn.conversation.messages[3:] == (
        Message.call(search, "{}"),
        Message.tool(search, "1"),
        Message.tool(alias, "2"),
        Message.tool(alias, "3"),
    )
    assert request.turn.choice == ToolChoice(ToolMode.REQUIRED, (alias,))


def test_past_calls_point_at_their_messages():
    request = read(
        {"role": "assistant", "reasoning": "Hm.", "content": "Well.", **_calls("a", "b")},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        calling("g", None),
        tools=[function("f"), function("g")],
    )
    messages = request.turn.conversation.messages
    past = request.turn.past_calls
    assert [call.call_id for call in past] == ["a", "b", None]
    assert [messages[call.message].recipient for call in past] == [
        "functions.f",
        "functions.f",
        "functions.g",
    ]


def _calls(*ids: str) -> dict[str, Any]:
    made = [calling("f", call_id)["tool_calls"][0] for call_id in ids]
    return {"tool_calls": made}


def test_a_result_of_an_unknown_call_is_accepted():
    request = read({"role": "tool", "tool_call_id": "chatcmpl-tool 7/é", "content": "1"})
    assert request.turn.conversation.messages[-1].name == "functions.chatcmpl_tool_7"
    assert read({"role": "tool", "content": "1"}).turn.conversation.messages[-1].name == (
        "functions.unknown"
    )


def test_strict_functions_are_known_by_recipient():
    request = read(tools=[function("f", strict=True), function("g", strict=False), function("h")])
    assert request.turn.strict_tools == {"functions.f"}


def test_a_custom_tool_is_a_function_of_one_string():
    request = read(
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "x"}}],
        },
        tools=[custom("sql", description="SQL.", format={"type": "text"})],
    )
    assert request.turn.custom_tools == {"functions.sql"}
    [tool] = offered(request)
    assert tool.parameters is not None
    assert list(tool.parameters["properties"]) == ["input"]
    assert request.turn.past_calls == (PastCall("a", 3),)
    assert json.loads(request.turn.conversation.messages[3].text) == {"input": "x"}
    assert request.ignored == ()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_custom_tools_grammar_is_told_and_goes_along(wrapped):
    grammar = {"syntax": "lark", "definition": 'start: "a"'}
    format_ = {"type": "grammar", **({"grammar": grammar} if wrapped else grammar)}
    request = read(tools=[custom("t", description="T.", format=format_)])
    assert request.ignored == ()
    field = "tools[0].custom.format.grammar.definition"
    assert request.turn.input_grammars == {
        "functions.t": InputGrammar("lark", 'start: "a"', field),
    }
    assert offered(request)[0].description == (
        'T.\n\nThe input must match this Lark grammar:\nstart: "a"'
    )


def test_tools_that_only_openai_has_are_passed_over_and_named():
    request = read(tools=[{"type": "web_search"}, function("f"), {"type": "mcp", "server": 1}])
    assert [tool.name for tool in offered(request)] == ["f"]
    assert request.ignored == ("tools[0].type=web_search", "tools[2].type=mcp")


def test_a_name_that_is_offered_again_is_passed_over_and_named():
    request = read(tools=[function("f", description="1"), function("f", description="2")])
    assert [tool.description for tool in offered(request)] == ["1"]
    assert request.ignored == ("tools[1].function",)


# Choice


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, AUTO),
        ("auto", AUTO),
        ("none", NONE),
        ("required", REQUIRED),
        ("any", REQUIRED),
        (
            {"type": "function", "function": {"name": "f"}},
            ToolChoice(ToolMode.REQUIRED, ("functions.f",)),
        ),
        ({"type": "function", "name": "f"}, ToolChoice(ToolMode.REQUIRED, ("functions.f",))),
        (
            {"type": "custom", "custom": {"name": "c"}},
            ToolChoice(ToolMode.REQUIRED, ("functions.c",)),
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [function("f"), custom("c")]},
            },
            ToolChoice(ToolMode.AUTO, ("functions.f", "functions.c")),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"name": "f"}]},
            ToolChoice(ToolMode.REQUIRED, ("functions.f",)),
        ),
    ],
)
def test_every_form_of_tool_choice_is_understood(given, expected):
    assert read(tools=[function("f"), custom("c")], tool_choice=given).turn.choice == expected


def test_calls_one_at_a_time_on_request():
    assert read(tools=[function("f")]).turn.parallel
    assert not read(tools=[function("f")], parallel_tool_calls=False).turn.parallel


def test_a_choice_that_asks_for_nothing_needs_no_tools():
    assert read(tool_choice="none").turn.choice == NONE
    assert read(tool_choice="auto").turn.choice == AUTO


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("sometimes", "tool_choice"),
        (3, "tool_choice"),
        ({"type": "function"}, "tool_choice.function"),
        ({"type": "function", "function": {"name": "g"}}, "tool_choice.function.name"),
        ({"type": "function", "function": {}}, "tool_choice.function.name"),
        ({"type": "mcp"}, "tool_choice.type"),
        ({"type": "allowed_tools"}, "tool_choice.allowed_tools"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [function("f")]}},
            "tool_choice.allowed_tools.mode",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            "tool_choice.allowed_tools.tools",
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("g")]}},
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
    ],
)
def test_a_wrong_choice_is_refused_naming_its_path(given, param):
    error = refused(tools=[function("f")], tool_choice=given)
    assert error.param == param


def test_a_required_call_needs_a_tool():
    assert refused(tool_choice="required").param == "tool_choice"
    assert refused(tool_choice="required", tools=[{"type": "web_search"}]).param == "tool_choice"


# The deprecated forms


def test_functions_are_tools_that_are_answered_the_old_way():
    request = read(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "parameters": SCHEMA}],
        function_call={"name": "f"},
    )
    assert offered(request) == (Tool("f", "", SCHEMA),)
    assert request.deprecated_functions
    assert not request.turn.parallel
    assert request.turn.choice == ToolChoice(ToolMode.REQUIRED, ("functions.f",))
    assert request.turn.past_calls == (PastCall(None, 3),)


@pytest.mark.parametrize(("word", "choice"), [("none", NONE), ("auto", AUTO)])
def test_function_call_has_two_words(word, choice):
    assert read(functions=[{"name": "f"}], function_call=word).turn.choice == choice


def test_beside_tools_functions_are_answered_the_new_way():
    assert not read(functions=[{"name": "f"}], tools=[function("g")]).deprecated_functions


# What is refused


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": 3}, "tools"),
        ({"tools": [3]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [function("")]}, "tools[0].function.name"),
        ({"tools": [function("x" * 129)]}, "tools[0].function.name"),
        ({"tools": [function("f", parameters=1)]}, "tools[0].function.parameters"),
        ({"tools": [function("f", description=1)]}, "tools[0].function.description"),
        ({"tools": [custom("c", format={"type": "xml"})]}, "tools[0].custom.format.type"),
        ({"tools": [custom("c", format={"type": "grammar"})]}, "tools[0].custom.format.grammar"),
        (
            {
                "tools": [
                    custom("c", format={"type": "grammar", "syntax": "bnf", "definition": "x"})
                ]
            },
            "tools[0].custom.format.grammar.syntax",
        ),
        ({"functions": [{"name": ""}]}, "functions[0].name"),
        ({"function_call": "required"}, "function_call"),
        ({"function_call": {"name": "g"}}, "function_call.name"),
        ({"tools": [function(f"f{i}") for i in range(1025)]}, "tools"),
    ],
)
def test_wrong_tools_are_refused_naming_their_path(fields, param):
    assert refused(**fields).param == param


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {}}]},
            "messages[1].tool_calls[0].function.name",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a"}]},
            "messages[1].tool_calls[0].function",
        ),
        (calling(""), "messages[1].tool_calls[0].function.name"),
        ({"role": "function", "name": "", "content": "1"}, "messages[1].name"),
        ({"role": "tool", "name": "x" * 200, "content": "1"}, "messages[1].name"),
    ],
)
def test_wrong_calls_are_refused_naming_their_path(message, param):
    assert refused(message).param == param


def test_a_required_call_leaves_no_room_for_an_answer():
    request = read(tools=[function("f")], tool_choice="required")
    assert plan(request.turn.tools, request.turn.choice).final is None
