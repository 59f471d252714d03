"""Reading a conversation for ``antiphon render``, and changing its reasoning effort."""

from __future__ import annotations

import re

import msgspec

from antiphon.cli.errors import DataError
from antiphon.errors import MessageError
from antiphon.model.content import ReasoningEffort, SystemContent
from antiphon.model.json import decode_conversation
from antiphon.model.message import Conversation, Message, Role

__all__ = ["conversation_from_json", "with_effort"]

_HEAD, _TAIL = '{"messages":', "}"


def conversation_from_json(text: str, name: str) -> Conversation:
    """Read an object with ``messages``, or a bare list of messages.

    Raises DataError that starts with ``name`` and names the field or the character.
    """
    bare = text.lstrip().startswith("[")
    try:
        return decode_conversation(_HEAD + text + _TAIL if bare else text)
    except MessageError as error:
        raise DataError(f"{name}: {_explain(str(error), bare=bare)}") from error


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
