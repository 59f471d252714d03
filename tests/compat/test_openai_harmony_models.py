"""The drop-in's data classes: pydantic models that keep what the reference's lose."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

pydantic: Any = pytest.importorskip("pydantic")
ours: Any = pytest.importorskip("antiphon.openai_harmony")

Message, Role = ours.Message, ours.Role


def full_conversation() -> Any:
    tool = ours.ToolDescription.new("f", "what it does", {"type": "object", "properties": {}})
    system = (
        ours.SystemContent.new()
        .with_model_identity("me")
        .with_reasoning_effort(ours.ReasoningEffort.HIGH)
        .with_conversation_start_date("2025-06-28")
        .with_knowledge_cutoff("2024-06")
        .with_required_channels(["final"])
        .with_browser_tool()
        .with_python_tool()
    )
    developer = ours.DeveloperContent.new().with_instructions("Be good").with_function_tools([tool])
    call = (
        Message.from_role_and_content(Role.ASSISTANT, "{}")
        .with_channel("commentary")
        .with_recipient("functions.f")
        .with_content_type("<|constrain|>json")
    )
    result = Message.from_author_and_content(ours.Author.new(Role.TOOL, "functions.f"), "1")
    return ours.Conversation.from_messages(
        [
            Message.from_role_and_content(Role.SYSTEM, system),
            Message.from_role_and_content(Role.DEVELOPER, developer),
            Message.from_role_and_contents(
                Role.USER, [ours.TextContent(text="a"), ours.TextContent(text="b")]
            ),
            call,
            result,
            Message.from_role_and_content(Role.ASSISTANT, "hi").adding_content("!"),
        ]
    )


def test_builders_change_the_object_and_return_it() -> None:
    message = Message.from_role_and_content(Role.USER, "a")
    assert message.with_channel("final").adding_content("b").with_recipient("c") is message
    assert (message.channel, message.recipient, len(message.content)) == ("final", "c", 2)
    system = ours.SystemContent.new()
    assert system.with_browser_tool().with_tools(ours.ToolNamespaceConfig.python()) is system
    assert list(system.tools) == ["browser", "python"]
    developer = ours.DeveloperContent.new()
    tool = ours.ToolDescription(name="f", description="")
    assert developer.with_function_tools([tool]).with_function_tools([]) is developer
    assert developer.tools["functions"].tools == []


def test_the_canonical_json_comes_back_as_it_was() -> None:
    conv = full_conversation()
    assert ours.Conversation.from_json(conv.to_json()) == conv
    for message in conv:
        assert Message.from_dict(message.to_dict()) == message
        assert Message.from_dict(json.loads(message.to_json())) == message


def test_a_dump_keeps_the_content_and_validates_back() -> None:
    conv = full_conversation()
    for twin in (
        ours.Conversation.model_validate(conv.model_dump()),
        ours.Conversation.model_validate(conv.model_dump(mode="json")),
        ours.Conversation.model_validate_json(conv.model_dump_json()),
        ours.Conversation.model_validate(conv.model_dump(exclude_none=True, exclude_unset=True)),
    ):
        assert twin == conv
        assert [type(p) for m in twin for p in m.content] == [
            type(p) for m in conv for p in m.content
        ]
    assert conv.messages[2].model_dump()["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


def test_a_part_dumped_on_its_own_has_only_its_fields() -> None:
    assert ours.TextContent(text="a").model_dump() == {"text": "a"}


@pytest.mark.parametrize(
    "field", ["model_identity", "reasoning_effort", "knowledge_cutoff", "channel_config"]
)
def test_a_system_setting_of_none_survives_the_json(field: str) -> None:
    system = ours.SystemContent(**{field: None})
    assert getattr(ours.SystemContent.from_dict(system.to_dict()), field) is None
    message = Message.from_role_and_content(Role.SYSTEM, system)
    assert Message.from_dict(json.loads(message.to_json())) == message


def test_the_reference_reads_our_json_and_renders_the_same(reference_encoding: Any) -> None:
    reference = pytest.importorskip("openai_harmony")
    encoding = ours.load_harmony_encoding("HarmonyGptOss")
    conv = full_conversation()
    for setting in ("model_identity", "reasoning_effort", "knowledge_cutoff", "channel_config"):
        empty = ours.SystemContent(**{setting: None})
        conv.messages.insert(0, Message.from_role_and_content(Role.SYSTEM, empty))
    theirs = reference.Conversation.from_json(conv.to_json())
    expected = reference_encoding.render_conversation(theirs)
    assert reference_encoding._inner.render_conversation(conv.to_json(), None) == expected
    assert encoding.render_conversation(conv) == expected


def test_a_plain_string_is_read_as_text() -> None:
    message = Message.from_dict({"role": "user", "content": "hi", "unknown": 1})
    assert message == Message.from_role_and_content(Role.USER, "hi")


@pytest.mark.parametrize(
    ("raw", "error", "text"),
    [
        ({"role": "x", "content": "a"}, ValueError, "Unknown role: 'x'"),
        ({"role": "user", "content": [{"type": "x"}]}, ValueError, "Unknown content variant"),
        ({"role": "user", "content": [{}]}, ValueError, "Unknown content variant"),
        ({"role": "user"}, KeyError, "content"),
        ({"content": "a"}, KeyError, "role"),
        ({"role": "user", "content": None}, TypeError, "NoneType"),
    ],
)
def test_a_bad_dict_is_refused_as_the_reference_refuses_it(
    raw: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Message.from_dict(raw)


@pytest.mark.parametrize(
    "content",
    [[{}], [{"type": "x"}], [5], "text", [{"type": "text"}], [{"type": "text", "text": 5}]],
)
def test_validation_refuses_content_of_no_known_kind(content: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        Message.model_validate({"author": {"role": "user"}, "content": content})


def test_a_reasoning_effort_has_a_capital() -> None:
    with pytest.raises(pydantic.ValidationError, match="'Low', 'Medium' or 'High'"):
        ours.SystemContent(reasoning_effort="low")


def test_content_without_a_kind_has_no_json() -> None:
    with pytest.raises(NotImplementedError):
        ours.Content().to_dict()


def test_a_json_schema_can_be_made_of_every_model() -> None:
    for name in ("Message", "Conversation", "SystemContent", "DeveloperContent", "TextContent"):
        for mode in ("validation", "serialization"):
            assert getattr(ours, name).model_json_schema(mode=mode)["title"] == name


def test_a_parsed_message_is_the_same_as_one_built_by_hand() -> None:
    encoding = ours.load_harmony_encoding("HarmonyGptOss")
    ids = [200_006, 173_781, 200_005, 17_196, 200_008, 24_912, 200_007]
    (parsed,) = encoding.parse_messages_from_completion_tokens(ids)
    built = Message.from_dict({"role": "assistant", "content": "hello", "channel": "final"})
    assert parsed == built
    assert repr(parsed) == repr(built)
    assert parsed.model_fields_set == built.model_fields_set
    for mine, other in ((parsed.author, built.author), (parsed.content[0], built.content[0])):
        assert mine.model_fields_set == other.model_fields_set
    assert parsed.model_dump_json() == built.model_dump_json()
    for twin in (
        copy.deepcopy(parsed),
        parsed.model_copy(deep=True),
        pickle.loads(pickle.dumps(parsed)),
        Message.model_validate(parsed),
    ):
        assert twin == built
    assert parsed.with_channel("analysis") != built
    with pytest.raises(ValueError, match="no field"):
        parsed.nothing = 1
