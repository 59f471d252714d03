"""Reading a conversation for ``antiphon render``, and changing its reasoning effort."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from antiphon.cli.errors import DataError
from antiphon.errors import MessageError
from antiphon.model.content import ReasoningEffort, SystemContent
from antiphon.model.json import decode_conversation
from antiphon.model.message import Conversation, Message, Role

__all__ = ["Form", "conversation_from_json", "with_effort"]

Form = Literal["auto", "harmony", "chat"]

_HEAD, _TAIL = '{"messages":', "}"


def conversation_from_json(text: str, name: str, form: Form = "auto") -> Conversation:
    """Read an object with ``messages``, or a bare list of messages.

    ``harmony`` is the canonical form, ``chat`` a Chat Completions request. ``auto`` takes for chat
    what has a field that only chat has, and none that only Harmony has.
    Raises DataError that starts with ``name`` and names the field or the character.
    """
    bare = text.lstrip().startswith("[")
    if bare:
        text = _HEAD + text + _TAIL
    try:
        if form == "chat" or (form == "auto" and _is_chat(text)):
            from antiphon.api.chat.conversation import decode_request

            return decode_request(text)
        return decode_conversation(text)
    except MessageError as error:
        raise DataError(f"{name}: {_explain(str(error), bare=bare)}") from error


class _Probe(msgspec.Struct):
    """The fields by which the two forms can be told apart."""

    messages: list[dict[str, Any]]
    model: Any = None
    tools: Any = None
    functions: Any = None
    response_format: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None


_HARMONY_FIELDS: Final = frozenset({"channel", "recipient", "content_type", "author"})
_HARMONY_PARTS: Final = frozenset({"system_content", "developer_content"})
_CHAT_FIELDS: Final = frozenset(
    {"tool_calls", "tool_call_id", "function_call", "reasoning", "reasoning_content", "thinking"}
)


def _is_chat(text: str) -> bool:
    try:
        probe = msgspec.json.decode(text, type=_Probe)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False  # the decoder of the canonical form says what is wrong
    found = any(
        value is not None
        for value in (
            probe.model,
            probe.tools,
            probe.functions,
            probe.response_format,
            probe.reasoning_effort,
            probe.reasoning,
        )
    )
    for message in probe.messages:
        if not _HARMONY_FIELDS.isdisjoint(message):
            return False
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if any(isinstance(part, dict) and part.get("type") in _HARMONY_PARTS for part in parts):
            return False
        found = found or not _CHAT_FIELDS.isdisjoint(message)
    return found


def _explain(message: str, *, bare: bool) -> str:
    """The decoder's message, with positions as they are in the file."""
    if not bare:
        return message
    return re.sub(r"\(byte (\d+)\)", lambda m: f"(byte {int(m[1]) - len(_HEAD)})", message)


def with_effort(conversation: Conversation, effort: ReasoningEffort, name: str) -> Conversation:
    """``conversation`` with ``effort`` in its system message.

    A conversation without a system message gets the default one, as gpt-oss was trained with it.
    Raises DataError if the system message is plain text, where no effort can be set.
    """
    messages = list(conversation.messages)
    systems = [i for i, message in enumerate(messages) if message.role is Role.SYSTEM]
    if not systems:
        system = Message.system(SystemContent.default(effort))
        return Conversation((system, *conversation.messages))
    settings = 0
    for i in systems:
        content = list(messages[i].content)
        for j, part in enumerate(content):
            if isinstance(part, SystemContent):
                content[j] = msgspec.structs.replace(part, reasoning_effort=effort)
                settings += 1
        messages[i] = msgspec.structs.replace(messages[i], content=tuple(content))
    if not settings:
        raise DataError(
            f"{name}: messages[{systems[0]}]: the system message is plain text, so --effort has"
            " nothing to set; use system_content"
        )
    return Conversation(tuple(messages))
