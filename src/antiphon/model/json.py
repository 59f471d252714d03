"""The canonical JSON form of messages, compatible with the reference library's.

A missing field of system or developer content means "not there", exactly as None does.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from antiphon.errors import MessageError
from antiphon.model.content import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    ResponseFormat,
    SystemContent,
    TextContent,
)
from antiphon.model.message import Author, Conversation, Message, Role
from antiphon.model.tools import ToolNamespace
from antiphon.model.validate import check_conversation, check_message

__all__ = [
    "decode_as",
    "decode_conversation",
    "decode_message",
    "encode_conversation",
    "encode_message",
    "message_from_builtins",
]


class _Text(msgspec.Struct, tag="text"):
    text: str


class _System(msgspec.Struct, tag="system_content", omit_defaults=True):
    model_identity: str | None = None
    reasoning_effort: str | None = None
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = None
    channel_config: ChannelConfig | None = None
    tools: dict[str, ToolNamespace] | None = None


class _Developer(msgspec.Struct, tag="developer_content", omit_defaults=True):
    instructions: str | None = None
    tools: dict[str, ToolNamespace] | None = None
    response_formats: tuple[ResponseFormat, ...] = ()


class _Message(msgspec.Struct, omit_defaults=True):
    role: Role
    content: str | list[_Text | _System | _Developer]
    name: str | None = None
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None


class _Conversation(msgspec.Struct):
    messages: list[_Message]


_T = TypeVar("_T")

_CONVERSATION: Final = msgspec.json.Decoder(_Conversation)
_MESSAGE: Final = msgspec.json.Decoder(_Message)
_ENCODER: Final = msgspec.json.Encoder()


def decode_conversation(data: str | bytes) -> Conversation:
    """Read a conversation. Raises MessageError naming the field that is wrong."""
    wire = decode_as(_CONVERSATION, data)
    conversation = Conversation(
        tuple([_message(m, f"messages[{i}].") for i, m in enumerate(wire.messages)])
    )
    check_conversation(conversation)
    return conversation


def decode_message(data: str | bytes) -> Message:
    """Read one message. Raises MessageError naming the field that is wrong."""
    message = _message(decode_as(_MESSAGE, data), "")
    check_message(message)
    return message


def message_from_builtins(value: Any) -> Message:
    """One message from plain dicts and lists, *unchecked* but for its types."""
    try:
        return _message(msgspec.convert(value, _Message), "")
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from error


def encode_conversation(conversation: Conversation) -> bytes:
    return _ENCODER.encode(_Conversation([_wire(m) for m in conversation.messages]))


def encode_message(message: Message) -> bytes:
    return _ENCODER.encode(_wire(message))


def decode_as(decoder: msgspec.json.Decoder[_T], data: str | bytes) -> _T:
    """Decode JSON. Raises MessageError naming the field that is wrong, or the byte."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MessageError(f"not valid JSON: {error}") from error


def _wrong_field(error: msgspec.ValidationError) -> MessageError:
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    return MessageError(f"{field}: {message}" if field else message, field=field or None)


def _message(wire: _Message, where: str) -> Message:
    if isinstance(wire.content, str):
        content: tuple[Content, ...] = (TextContent(wire.content),)
    else:
        content = tuple([_part(p, f"{where}content[{i}].") for i, p in enumerate(wire.content)])
    author = Author(wire.role, wire.name)
    return Message(author, content, wire.channel, wire.recipient, wire.content_type)


def _part(wire: _Text | _System | _Developer, where: str) -> Content:
    if isinstance(wire, _Text):
        return TextContent(wire.text)
    if isinstance(wire, _Developer):
        return DeveloperContent(wire.instructions, wire.tools, wire.response_formats)
    effort = wire.reasoning_effort
    if effort is not None and effort.lower() not in _EFFORTS:
        field = f"{where}reasoning_effort"
        raise MessageError(f"{field}: expected low, medium or high, got {effort!r}", field=field)
    return SystemContent(
        wire.model_identity,
        None if effort is None else ReasoningEffort(effort.lower()),
        wire.conversation_start_date,
        wire.knowledge_cutoff,
        wire.channel_config,
        wire.tools,
    )


_EFFORTS: Final = frozenset(ReasoningEffort)


def _wire(message: Message) -> _Message:
    return _Message(
        message.author.role,
        [_wire_part(part) for part in message.content],
        message.author.name,
        message.channel,
        message.recipient,
        message.content_type,
    )


def _wire_part(part: Content) -> _Text | _System | _Developer:
    if isinstance(part, TextContent):
        return _Text(part.text)
    if isinstance(part, DeveloperContent):
        return _Developer(part.instructions, part.tools, part.response_formats)
    effort = part.reasoning_effort
    return _System(
        part.model_identity,
        None if effort is None else effort.value.capitalize(),
        part.conversation_start_date,
        part.knowledge_cutoff,
        part.channel_config,
        part.tools,
    )
