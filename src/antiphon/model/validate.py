"""Which header values Harmony can carry.

A header is read back by splitting at white space and control tokens, so a value that holds either
would come out as something else. Text *content* needs no check: it is encoded as ordinary text.
"""

from __future__ import annotations

import re
from typing import Final

from antiphon.errors import MessageError
from antiphon.model.content import Content, DeveloperContent, SystemContent
from antiphon.model.message import Conversation, Message, Role
from antiphon.model.tools import ToolNamespace

__all__ = ["check_conversation", "check_header", "check_message", "check_tools"]

MAX_FIELD_CHARS: Final = 512
"""Longest header value accepted. The header limit is well above a header of such fields."""

_CONSTRAIN: Final = "<|constrain|>"
_UNSAFE: Final = re.compile(r"\s|<\||[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_ROLE_NAMES: Final = frozenset(Role)
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w.\-]*\Z")


def _check(value: str, field: str, what: str) -> None:
    if not value:
        raise MessageError(f"{field}: {what} must not be empty", field=field)
    if len(value) > MAX_FIELD_CHARS:
        raise MessageError(
            f"{field}: {what} is {len(value)} characters long, the limit is {MAX_FIELD_CHARS}",
            field=field,
        )
    if found := _UNSAFE.search(value):
        raise MessageError(
            f"{field}: {what} {_shown(value)} holds {_shown(found.group())}; "
            "white space, invisible characters and control tokens cannot be part of a header",
            field=field,
        )


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")


def check_header(
    role: str,
    name: str | None,
    channel: str | None,
    recipient: str | None,
    content_type: str | None,
    *,
    where: str = "",
) -> None:
    """Raise MessageError if any of these values would not survive in a header.

    ``where`` is prefixed to the field name in the error, for example ``messages[2].``.
    """
    if role == Role.TOOL:
        field = f"{where}name"
        if name is None:
            raise MessageError(f"{field}: a tool message needs the tool's name", field=field)
        _check(name, field, "the tool name")
        if name.lower() in _ROLE_NAMES:
            raise MessageError(
                f"{field}: a tool named {name!r} would be read back as that role", field=field
            )
        if name.startswith("to=") or ":" in name:
            raise MessageError(
                f"{field}: the tool name {_shown(name)} must not start with 'to=' or hold ':'",
                field=field,
            )
    elif name is not None:
        _check(name, f"{where}name", "the name")
    if channel is not None:
        _check(channel, f"{where}channel", "the channel")
        if channel.startswith("to=") or "<" in channel:
            field = f"{where}channel"
            raise MessageError(f"{field}: {_shown(channel)} is not a channel name", field=field)
    if recipient is not None and recipient != "all":
        _check(recipient, f"{where}recipient", "the recipient")
    if content_type is not None:
        field = f"{where}content_type"
        bare = content_type.removeprefix(_CONSTRAIN)
        _check(bare, field, "the content type")
        if bare.startswith("to="):
            raise MessageError(
                f"{field}: {_shown(content_type)} is not a content type", field=field
            )


def check_tools(tools: dict[str, ToolNamespace] | None, *, where: str = "") -> None:
    """Raise MessageError if a namespace or tool name is not an identifier a call can name."""
    for key, namespace in (tools or {}).items():
        at = f"{where}tools.{key}"
        for field, name in (
            (at, key),
            (f"{at}.name", namespace.name),
            *((f"{at}.tools[{i}].name", tool.name) for i, tool in enumerate(namespace.tools)),
        ):
            _check(name, field, "the name")
            if not _IDENTIFIER.match(name):
                raise MessageError(
                    f"{field}: {_shown(name)} is not an identifier "
                    "(letters, digits, '_', '.', '-', not starting with a digit)",
                    field=field,
                )


def check_message(message: Message, *, where: str = "") -> None:
    """Raise MessageError if the message cannot be rendered and read back."""
    author = message.author
    check_header(
        author.role,
        author.name,
        message.channel,
        message.recipient,
        message.content_type,
        where=where,
    )
    for i, part in enumerate(message.content):
        _check_part(part, author.role, f"{where}content[{i}].")


def _check_part(part: Content, role: Role, where: str) -> None:
    if isinstance(part, SystemContent | DeveloperContent):
        own = Role.SYSTEM if isinstance(part, SystemContent) else Role.DEVELOPER
        if role != own:
            field = f"{where}type"
            raise MessageError(
                f"{field}: {own}_content may only appear in {own} messages, found in {role}",
                field=field,
            )
        check_tools(part.tools, where=where)


def check_conversation(conversation: Conversation) -> None:
    """Raise MessageError for the first message that cannot be rendered and read back."""
    for i, message in enumerate(conversation.messages):
        check_message(message, where=f"messages[{i}].")
