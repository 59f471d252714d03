"""The pydantic messages → tokens.

Messages of plain text, nearly all of a long chat, go to the renderer as they are. Those with system
or developer content are remembered by their JSON, which is also what makes their values plain.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from antiphon.codec.history import reference_history
from antiphon.codec.memo import TokenMemo
from antiphon.model.message import Author as CodecAuthor
from antiphon.model.message import Message as CodecMessage
from antiphon.model.message import Role as CodecRole
from antiphon.model.tools import FUNCTIONS
from antiphon.openai_harmony.chat import Message
from antiphon.openai_harmony.inner import LoneSurrogateError, renderer
from antiphon.openai_harmony.json_form import content_from_json, loads, surrogate_error
from antiphon.openai_harmony.settings import DeveloperContent, TextContent
from antiphon.vocab.control import RETURN

__all__ = ["conversation_tokens", "message_tokens", "training_tokens"]

_SETTINGS_MEMO_TOKENS: Final = 1 << 18

_memo: Final = TokenMemo(_SETTINGS_MEMO_TOKENS)


def conversation_tokens(messages: Sequence[Message], *, drop_analysis: bool) -> list[int]:
    """All messages that are kept. Raises RenderError, or ValueError for what JSON cannot carry.

    Unlike the reference's, what is left out is not looked at either.
    """
    out: list[int] = []
    flag: bool | None = None
    extend = renderer.extend
    for message in reference_history(messages) if drop_analysis else messages:
        texts = _texts(message)
        if texts is None:
            if flag is None:
                flag = _has_function_tools(messages)
            out += _settings_tokens(message, flag, "conversation")
        else:
            author = message.author
            extend(
                out,
                author.role.value,
                author.name,
                message.channel,
                message.recipient,
                message.content_type,
                texts,
            )
    return out


def training_tokens(messages: Sequence[Message], *, drop_analysis: bool) -> list[int]:
    """`conversation_tokens`, with ``<|return|>`` at the end if that is an assistant's ``final``."""
    out = conversation_tokens(messages, drop_analysis=drop_analysis)
    if messages:
        last = messages[-1]
        if last.channel == "final" and last.author.role.value == CodecRole.ASSISTANT:
            out[-1] = RETURN
    return out


def message_tokens(message: Message, *, has_function_tools: bool) -> list[int]:
    """One message. Raises as `conversation_tokens` does."""
    texts = _texts(message)
    if texts is None:
        return _settings_tokens(message, has_function_tools, "message").copy()
    author = message.author
    return renderer.text_message(
        author.role.value,
        author.name,
        message.channel,
        message.recipient,
        message.content_type,
        texts,
    )


def _texts(message: Message) -> list[str] | None:
    """The texts of a message that has nothing else, or None."""
    texts = []
    for part in message.content:
        if type(part) is not TextContent:
            return None
        texts.append(part.text)
    return texts


def _settings_tokens(message: Message, flag: bool, what: str) -> list[int]:
    author = message.author
    content = json.dumps([part.to_dict() for part in message.content])
    role = author.role.value
    key = (
        flag,
        role,
        author.name,
        message.channel,
        message.recipient,
        message.content_type,
        content,
    )
    tokens = _memo.get(key)
    if tokens is None:
        if (found := surrogate_error(content)) is not None:
            raise LoneSurrogateError(found)
        plain = CodecMessage(
            CodecAuthor(CodecRole(role), author.name),
            tuple([content_from_json(part) for part in loads(content, what)]),
            message.channel,
            message.recipient,
            message.content_type,
        )
        tokens = renderer.message(plain, has_function_tools=flag)
        _memo.put(key, tokens)
    return tokens


def _has_function_tools(messages: Sequence[Message]) -> bool:
    for message in messages:
        for part in message.content:
            if isinstance(part, DeveloperContent) and part.tools:
                namespace = part.tools.get(FUNCTIONS)
                if namespace is not None and namespace.tools:
                    return True
    return False
