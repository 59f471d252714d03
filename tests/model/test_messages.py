"""Messages and their canonical JSON: what goes in comes out, what cannot be carried is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import MessageError
from antiphon.model.content import (
    DeveloperContent,
    ReasoningEffort,
    ResponseFormat,
    SystemContent,
    TextContent,
)
from antiphon.model.json import decode_message, encode_message, message_from_builtins
from antiphon.model.message import Author, Conversation, Message, Role
from antiphon.model.tools import BROWSER, PYTHON, Tool, ToolNamespace, functions
from antiphon.model.validate import MAX_FIELD_CHARS, check_conversation, check_header

FULL = Conversation.of(
    Message.system(SystemContent.default("high", date="2026-11-21", tools={"python": PYTHON})),
    Message.developer(
        DeveloperContent(
            "Be kind.",
            functions(Tool("f", "d", {"type": "object", "properties": {"a": {"default": None}}})),
            (ResponseFormat(name="r", schema={"type": "object"}),),
        )
    ),
    Message.user("hi", name="bob"),
    Message.analysis("hm"),
    Message.call("functions.f", '{"a":1}'),
    Message.tool("functions.f", "42"),
    Message.final("done"),
)


def test_json_round_trip_keeps_everything() -> None:
    assert Conversation.from_json(FULL.to_json()) == FULL


def test_none_fields_of_system_content_stay_none() -> None:
    message = Message.system(SystemContent(model_identity="M"))
    assert decode_message(encode_message(message)) == message


def test_the_reference_s_canonical_form_is_read() -> None:
    data = {
        "role": "assistant",
        "name": None,
        "content": "hi",
        "channel": "final",
        "unknown": [1],
    }
    assert decode_message(json.dumps(data)) == Message.final("hi")
    assert message_from_builtins(data) == Message.final("hi")


def test_effort_is_read_in_any_case_and_written_as_the_reference_does() -> None:
    data = '{"role":"system","content":[{"type":"system_content","reasoning_effort":"HIGH"}]}'
    message = decode_message(data)
    assert message == Message.system(SystemContent(reasoning_effort=ReasoningEffort.HIGH))
    assert b'"reasoning_effort":"High"' in encode_message(message)


def test_default_system_content_refuses_an_unknown_effort() -> None:
    with pytest.raises(ValueError, match="extreme"):
        SystemContent.default("extreme")


def test_built_in_namespaces_are_there() -> None:
    assert [tool.name for tool in BROWSER.tools] == ["search", "open", "find"]
    assert PYTHON.tools == ()


def test_messages_are_frozen_values() -> None:
    with pytest.raises(AttributeError):
        Message.user("hi").channel = "final"  # type: ignore[misc]
    assert Message.user("hi") == Message.user("hi")
    assert hash(Message.user("hi")) == hash(Message.user("hi"))


def test_text_joins_the_text_parts_only() -> None:
    message = Message(Author(Role.USER), (TextContent("a"), TextContent("b")))
    assert message.text == "ab"
    assert Message.developer("x").text == ""


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("{", None),
        (b"\xff", None),
        ("[" * 100_000, None),
        ('{"messages":[{"role":"robot","content":""}]}', "messages[0].role"),
        ('{"messages":[{"role":"user"}]}', "messages[0]"),
        ('{"messages":[{"role":"user","content":7}]}', "messages[0].content"),
        ('{"messages":[{"role":"user","content":[{"type":"x"}]}]}', "messages[0].content[0].type"),
        ('{"messages":[{"role":"tool","content":""}]}', "messages[0].name"),
        ('{"messages":[{"role":"tool","name":"system","content":""}]}', "messages[0].name"),
        (
            '{"messages":[{"role":"user","content":[{"type":"system_content"}]}]}',
            "messages[0].content[0].type",
        ),
        (
            (
                '{"messages":[{"role":"system","content":[{"type":"system_content",'
                '"reasoning_effort":"x"}]}]}'
            ),
            "messages[0].content[0].reasoning_effort",
        ),
    ],
)
def test_bad_json_is_refused_naming_the_field(data: str | bytes, field: str | None) -> None:
    with pytest.raises(MessageError) as caught:
        Conversation.from_json(data)
    assert caught.value.field == field
    assert caught.value.status_hint == 400


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "system"}, "name"),
        ({"name": "User"}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "f<|end|>"}, "name"),
        ({"name": "to=x"}, "name"),
        ({"name": "x" * (MAX_FIELD_CHARS + 1)}, "name"),
        ({"channel": "fi nal"}, "channel"),
        ({"channel": "final<|message|>"}, "channel"),
        ({"channel": "to=x"}, "channel"),
        ({"channel": ""}, "channel"),
        ({"recipient": "a\nb"}, "recipient"),
        ({"recipient": "a\u200bb"}, "recipient"),
        ({"recipient": ""}, "recipient"),
        ({"content_type": "a b"}, "content_type"),
        ({"content_type": "<|constrain|>"}, "content_type"),
        ({"content_type": "to=x"}, "content_type"),
        ({"content_type": "json<|constrain|>"}, "content_type"),
    ],
)
def test_header_values_that_would_break_the_format_are_refused(
    fields: dict[str, Any], field: str
) -> None:
    values = {"name": "f", "channel": None, "recipient": None, "content_type": None, **fields}
    with pytest.raises(MessageError) as caught:
        check_header("tool", **values)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["a b", "1a", "a{", "", "f<|end|>", "a\nb"])
def test_tool_names_that_no_call_can_spell_are_refused(name: str) -> None:
    message = Message.developer(DeveloperContent(tools=functions(Tool(name))))
    with pytest.raises(MessageError, match=r"messages\[0\]\.content\[0\]\.tools\.functions"):
        check_conversation(Conversation.of(message))


def test_usual_names_are_accepted() -> None:
    tools = {"mcp": ToolNamespace("mcp", None, (Tool("get-weather.v2"), Tool("größe")))}
    check_conversation(Conversation.of(Message.developer(DeveloperContent(tools=tools))))
    check_conversation(FULL)


@given(st.text(), st.text())
def test_any_text_survives_json(text: str, other: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    other = other.encode("utf-8", "replace").decode()
    message = Message(Author(Role.USER), (TextContent(text), TextContent(other)))
    assert decode_message(encode_message(message)) == message


def test_the_json_form_is_plain_json() -> None:
    assert json.loads(FULL.to_json()) == msgspec.json.decode(FULL.to_json())
