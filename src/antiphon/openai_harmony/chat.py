"""Authors, messages and conversations (pydantic models)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    WrapSerializer,
)

from antiphon.openai_harmony.settings import (
    Content,
    DeveloperContent,
    SystemContent,
    TextContent,
)

__all__ = ["Author", "Content", "Conversation", "Message", "Role", "TextContent", "built_message"]


class Role(str, Enum):  # noqa: UP042 - its str() is the reference's
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"

    @classmethod
    def _missing_(cls, value: object) -> Role:
        raise ValueError(f"Unknown role: {value!r}")


class Author(BaseModel, defer_build=True):
    """A role and, for tools always, a name."""

    role: Role
    name: str | None = None

    @classmethod
    def new(cls, role: Role, name: str) -> Author:
        return cls(role=role, name=name)


_KINDS: dict[str | None, type[Content]] = {
    kind.content_kind: kind for kind in (TextContent, SystemContent, DeveloperContent)
}


def _content_from_dict(raw: dict[str, Any]) -> Content:
    kind = _KINDS.get(raw.get("type"))
    if kind is None:
        raise ValueError(f"Unknown content variant: {raw}")
    return kind(**raw)


def _read_part(value: Any) -> Any:
    """Let a dumped part become its own class again; pydantic checks everything else."""
    return _content_from_dict(value) if isinstance(value, dict) else value


def _write_part(value: Any, handler: SerializerFunctionWrapHandler) -> Any:
    fields = handler(value)
    kind = getattr(value, "content_kind", None)
    return fields if kind is None else {"type": kind, **fields}


class Message(BaseModel, defer_build=True):
    """One message."""

    author: Author
    content: list[
        Annotated[SerializeAsAny[Content], BeforeValidator(_read_part), WrapSerializer(_write_part)]
    ] = Field(default_factory=list)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | Content) -> Message:
        return cls(author=author, content=[_part(content)])

    @classmethod
    def from_role_and_content(cls, role: Role, content: str | Content) -> Message:
        return cls.from_author_and_content(Author(role=role), content)

    @classmethod
    def from_role_and_contents(cls, role: Role, contents: Sequence[Content]) -> Message:
        return cls(author=Author(role=role), content=list(contents))

    def adding_content(self, content: str | Content) -> Message:
        self.content.append(_part(content))
        return self

    def with_channel(self, channel: str) -> Message:
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Message:
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Message:
        self.content_type = content_type
        return self

    def to_dict(self) -> dict[str, Any]:
        """The canonical JSON form, as a dict."""
        out: dict[str, Any] = {
            **self.author.model_dump(),
            "content": [part.to_dict() for part in self.content],
        }
        if self.channel is not None:
            out["channel"] = self.channel
        if self.recipient is not None:
            out["recipient"] = self.recipient
        if self.content_type is not None:
            out["content_type"] = self.content_type
        return out

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """Read the canonical JSON form; the content may be a plain string.

        Raises ValueError for an unknown role or kind of content, KeyError without content.
        """
        author = Author(role=Role(data["role"]), name=data.get("name"))
        raw = data["content"]
        if isinstance(raw, str):
            raw = [{"type": "text", "text": raw}]
        message = cls(author=author, content=[_content_from_dict(part) for part in raw])
        message.channel = data.get("channel")
        message.recipient = data.get("recipient")
        message.content_type = data.get("content_type")
        return message


def _part(content: str | Content) -> Content:
    return TextContent(text=content) if isinstance(content, str) else content


class Conversation(BaseModel, defer_build=True):
    """Messages in order."""

    messages: list[Message] = Field(default_factory=list)

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Conversation:
        return cls(messages=list(messages))

    def __iter__(self) -> Iterator[Message]:  # type: ignore[override]
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """The canonical JSON form, as a dict."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str) -> Conversation:
        data = json.loads(payload)
        return cls(messages=[Message.from_dict(message) for message in data["messages"]])


_new = object.__new__
_set_dict = BaseModel.__dict__["__dict__"].__set__
_set_fields_set = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def built_message(
    role: Role,
    name: str | None,
    channel: str | None,
    recipient: str | None,
    content_type: str | None,
    text: str,
) -> Message:
    """A message of plain text, built as ``model_construct`` builds it but without its loops."""
    author: Author = _new(Author)
    _set_dict(author, {"role": role, "name": name})
    _set_fields_set(author, {"role", "name"})
    _set_extra(author, None)
    _set_private(author, None)
    part: TextContent = _new(TextContent)
    _set_dict(part, {"text": text})
    _set_fields_set(part, {"text"})
    _set_extra(part, None)
    _set_private(part, None)
    message: Message = _new(Message)
    _set_dict(
        message,
        {
            "author": author,
            "content": [part],
            "channel": channel,
            "recipient": recipient,
            "content_type": content_type,
        },
    )
    _set_fields_set(message, {"author", "content", "channel", "recipient", "content_type"})
    _set_extra(message, None)
    _set_private(message, None)
    return message
