from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.api.chat.conversation import EFFORTS, decode_request
from antiphon.codec.parse import parse
from antiphon.codec.render import Renderer
from antiphon.errors import MessageError
from antiphon.model.content import (
    DeveloperContent,
    ReasoningEffort,
    ResponseFormat,
    SystemContent,
    TextContent,
)
from antiphon.model.message import Author, Conversation, Message, Role
from antiphon.model.tools import Tool, functions

SYSTEM = Message.system(SystemContent.default())
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def read(*messages: Any, **request: Any) -> Conversation:
    return decode_request(json.dumps({"model": "gpt-oss-20b", "messages": messages, **request}))


def said(*messages: Any, **request: Any) -> list[Message]:
    """The conversation without its system message."""
    conversation = read(*messages, **request)
    assert conversation.messages[0].role is Role.SYSTEM
    return list(conversation.messages[1:])


def user(text="Hi"):
    return {"role": "user", "content": text}


def calling(name="get_weather", call_id="call_1", arguments='{"city":"Oslo"}'):
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


# The system and developer messages


def test_the_system_message_is_the_trained_one():
    assert read(user()).messages == (SYSTEM, Message.user("Hi"))


def test_the_date_is_an_argument():
    body = json.dumps({"messages": [user()]})
    content = decode_request(body, date="2026-01-31").messages[0].content[0]
    assert isinstance(content, SystemContent)
    assert content.conversation_start_date == "2026-01-31"


@pytest.mark.parametrize("how", [{"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}])
def test_the_effort_is_in_the_system_message(how):
    content = read(user(), **how).messages[0].content[0]
    assert isinstance(content, SystemContent)
    assert content.reasoning_effort is ReasoningEffort.HIGH


@pytest.mark.parametrize("effort", EFFORTS)
def test_every_effort_of_openai_is_the_nearest_trained_one(effort):
    content = read(user(), reasoning_effort=effort).messages[0].content[0]
    assert isinstance(content, SystemContent)
    assert content.reasoning_effort is EFFORTS[effort]


def test_system_and_developer_messages_at_the_start_are_one_developer_message():
    got = said(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Answer in French."}]},
        user(),
    )
    assert got == [Message.developer("Be brief.\n\nAnswer in French."), Message.user("Hi")]


def test_a_later_one_stays_where_it_is():
    got = said(user(), {"role": "system", "content": "Be brief."}, user("Go"))
    assert got == [Message.user("Hi"), Message.developer("Be brief."), Message.user("Go")]


def test_tools_are_functions_of_the_developer_message():
    tool = {"name": "get_weather", "description": "Weather.", "parameters": WEATHER}
    expected = functions(Tool("get_weather", "Weather.", WEATHER))
    for request in (
        {"tools": [{"type": "function", "function": {**tool, "strict": True}}]},
        {"tools": [{"function": tool}]},
        {"functions": [tool]},
    ):
        [developer, _] = said(user(), **request)
        assert developer.content == (DeveloperContent(None, expected),)


def test_a_tool_without_parameters_takes_none():
    [developer, _] = said(user(), tools=[{"type": "function", "function": {"name": "now"}}])
    assert developer.content == (DeveloperContent(None, functions(Tool("now"))),)


def test_a_custom_tool_takes_its_text_as_one_string():
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": 'select "a"\n'}}
    [developer, _, called, result] = said(
        user(),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "a"},
        tools=[{"type": "custom", "custom": {"name": "sql", "description": "SQL."}}],
    )
    assert isinstance(developer.content[0], DeveloperContent)
    tools = developer.content[0].tools
    assert tools is not None
    assert tools["functions"].tools[0].name == "sql"
    assert called.recipient == "functions.sql"
    assert json.loads(called.text) == {"input": 'select "a"\n'}
    assert result.name == "functions.sql"


def test_tools_of_other_types_are_passed_over():
    assert said(user(), tools=[{"type": "web_search"}, {"type": "mcp", "x": 1}]) == [
        Message.user("Hi")
    ]


def test_a_response_schema_is_a_response_format():
    wanted = {"name": "shopping", "schema": WEATHER, "description": "A list.", "strict": True}
    [developer, _] = said(user(), response_format={"type": "json_schema", "json_schema": wanted})
    expected = ResponseFormat(name="shopping", schema=WEATHER, description="A list.")
    assert developer.content == (DeveloperContent(None, None, (expected,)),)


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_other_response_formats_do_not_show_in_the_prompt(kind):
    assert said(user(), response_format={"type": kind}) == [Message.user("Hi")]


def test_absent_and_null_are_the_same():
    names = ("tools", "functions", "response_format", "reasoning_effort", "reasoning")
    assert read(user(), **dict.fromkeys(names)) == read(user())


def test_the_same_instructions_and_tools_are_the_same_object():
    request = {"tools": [{"function": {"name": "now", "parameters": {"type": "object"}}}]}
    first, second = said(user("a"), **request), said(user("b"), **request)
    assert first[0] is second[0]


# Turns


def test_text_parts_are_parts():
    [message] = said(user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))
    assert message.content == (TextContent("a"), TextContent("b"))


def test_a_users_name_is_kept():
    [message] = said({"role": "user", "name": "bob", "content": "Hi"})
    assert message.author == Author(Role.USER, "bob")


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "thinking"])
def test_reasoning_is_analysis_under_any_of_its_names(field):
    got = said(user(), {"role": "assistant", "content": "4", field: "Simple."})
    assert got[1:] == [Message.analysis("Simple."), Message.final("4")]


def test_text_beside_calls_is_a_preamble_before_them():
    got = said(
        user(),
        {
            "role": "assistant",
            "reasoning": "I must look.",
            "content": "Let me look.",
            "tool_calls": [calling(), calling("get_time", "call_2", "{}")],
        },
    )
    assert got[1:] == [
        Message.analysis("I must look."),
        Message.preamble("Let me look."),
        Message.call("functions.get_weather", '{"city":"Oslo"}'),
        Message.call("functions.get_time", "{}"),
    ]


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": ""}]])
def test_empty_text_beside_calls_is_nothing(content):
    got = said(user(), {"role": "assistant", "content": content, "tool_calls": [calling()]})
    assert got[1:] == [Message.call("functions.get_weather", '{"city":"Oslo"}')]


def test_a_turn_with_nothing_in_it_is_an_empty_answer():
    assert said(user(), {"role": "assistant", "content": None})[1:] == [Message.final("")]
    assert said(user(), {"role": "assistant", "content": "", "tool_calls": []})[1:] == [
        Message.final("")
    ]


def test_a_turn_of_reasoning_alone_is_only_that():
    got = said(user(), {"role": "assistant", "content": "", "reasoning": "Hm."})
    assert got[1:] == [Message.analysis("Hm.")]


def test_a_refusal_is_an_answer():
    refusals = (
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    )
    for message in refusals:
        assert said(user(), message)[1:] == [Message.final("No.")]


def test_arguments_sent_as_an_object_become_text():
    got = said(user(), {"role": "assistant", "tool_calls": [calling(arguments={"city": "Åre"})]})
    assert got[1].text == '{"city":"Åre"}'


def test_a_deprecated_function_call_and_its_result_are_understood():
    got = said(
        user(),
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    )
    assert got[1:] == [Message.call("functions.f", "{}"), Message.tool("functions.f", "1")]


# Tool results


def test_a_tool_result_has_the_name_of_the_call_it_answers():
    got = said(
        user(),
        {"role": "assistant", "tool_calls": [calling("f", "a", "{}"), calling("g", "b", "{}")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
    )
    assert got[3:] == [Message.tool("functions.g", "2"), Message.tool("functions.f", "1")]


def test_an_id_used_again_means_the_latest_call():
    turns = []
    for name in ("f", "g"):
        turns += [
            {"role": "assistant", "tool_calls": [calling(name, "same", "{}")]},
            {"role": "tool", "tool_call_id": "same", "content": name},
        ]
    got = said(user(), *turns)
    assert [m.name for m in got if m.role is Role.TOOL] == ["functions.f", "functions.g"]


def test_without_the_call_the_results_own_name_counts_then_its_id():
    def name(**fields):
        return said(user(), {"role": "tool", "content": "1", **fields})[1].name

    assert name(tool_call_id="call_9", name="lookup") == "functions.lookup"
    assert name(tool_call_id="call 9/\n") == "functions.call_9_"
    assert name() == "functions.unknown"


# Bad input


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", None),
        ("[]", None),
        ('{"messages": []}', "messages"),
        ('{"messages": [{"content": "x"}]}', "messages[0]"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "messages[0].role"),
        ('{"messages": [{"role": "user"}]}', "messages[0]"),
        ('{"messages": [{"role": "user", "content": null}]}', "messages[0].content"),
        ('{"messages": [{"role": "user", "content": 3}]}', "messages[0].content"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
            "messages[0].content[0].type",
        ),
        (
            '{"messages": [{"role": "user", "content": [{"type": "text"}]}]}',
            "messages[0].content[0].text",
        ),
        (
            '{"messages": [{"role": "user", "name": "Bob Smith", "content": "x"}]}',
            "messages[0].name",
        ),
        (
            '{"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}',
            "messages[0].tool_calls[0].function",
        ),
        (
            '{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a b"}}]}]}',
            "messages[0].tool_calls[0].function.name",
        ),
    ],
)
def test_bad_messages_are_refused_naming_the_field(body, field):
    with pytest.raises(MessageError) as caught:
        decode_request(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"tools": 3}, "tools"),
        ({"tools": [3]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [{"function": {"name": 3}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "web search"}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "x" * 129}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f", "parameters": 1}}]}, "tools[0].function.parameters"),
        ({"functions": [{"name": "f\n"}]}, "functions[0].name"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a\n# b"}}},
            "response_format.json_schema.name",
        ),
        ({"response_format": []}, "response_format"),
    ],
)
def test_bad_settings_are_refused_naming_the_field(request_, field):
    with pytest.raises(MessageError) as caught:
        read(user(), **request_)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize("body", [b"", b"hello", b'{"messages": [', b"\xff", b'{"messages"' * 99])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(MessageError, match="not valid JSON"):
        decode_request(body)


def test_settings_too_large_to_be_kept_are_translated_all_the_same():
    text = "word " * 30_000
    [developer, _] = said({"role": "system", "content": text}, user())
    assert developer == Message.developer(text)


# With the codec

TEXTS = st.text(min_size=1, max_size=12)
NAMES = st.sampled_from(["f", "get_weather", "a-b", "x.y"])
TURNS = st.lists(
    st.one_of(
        st.builds(lambda t: {"role": "user", "content": t}, TEXTS),
        st.builds(lambda t, r: {"role": "assistant", "content": t, "reasoning": r}, TEXTS, TEXTS),
        st.builds(
            lambda n, t, r: {
                "role": "assistant",
                "content": t,
                "reasoning": r,
                "tool_calls": [calling(n, f"id {n}", "{}")],
            },
            NAMES,
            st.none() | TEXTS,
            st.none() | TEXTS,
        ),
        st.builds(
            lambda n, t: {"role": "tool", "tool_call_id": f"id {n}", "content": t}, NAMES, TEXTS
        ),
        st.builds(lambda t: {"role": "developer", "content": t}, TEXTS),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(TURNS)
def test_what_is_translated_can_be_rendered_and_read_back(turns):
    conversation = read(*turns)
    ids = Renderer(dialect="emission").conversation(conversation, history="keep")
    back = parse(ids)
    assert not back.diagnostics
    told = [m for m in conversation if m.role not in (Role.SYSTEM, Role.DEVELOPER)]
    read_back = [m for m in back if m.role not in (Role.SYSTEM, Role.DEVELOPER)]
    assert read_back == told
