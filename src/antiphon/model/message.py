"""Messages and conversations: frozen values, free of tokens.

Construction does not check header fields, because the parser must be able to hold whatever a model
wrote. `antiphon.model.validate` does, and runs when JSON comes in and when a header is rendered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from antiphon.model.content import Content, DeveloperContent, SystemContent, TextContent

__all__ = ["CONSTRAIN_JSON", "Author", "Conversation", "Message", "Role"]

CONSTRAIN_JSON: Final = "<|constrain|>json"
"""The content type of a function call: the marker is one token when rendered."""


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"


class Author(msgspec.Struct, frozen=True, gc=False):
    """A role and, for tools always and for others if wanted, a name."""

    role: Role
    name: str | None = None


_ASSISTANT: Final = Author(Role.ASSISTANT)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One Harmony message.

    ``content_type`` keeps the ``<|constrain|>`` marker if there was one, as the reference does.
    """

    author: Author
    content: tuple[Content, ...] = ()
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @property
    def role(self) -> Role:
        return self.author.role

    @property
    def name(self) -> str | None:
        return self.author.name

    @property
    def text(self) -> str:
        """The text parts, concatenated. System and developer content give no text."""
        return "".join([part.text for part in self.content if isinstance(part, TextContent)])

    @classmethod
    def system(cls, content: SystemContent | str) -> Message:
        return cls(Author(Role.SYSTEM), (_part(content),))

    @classmethod
    def developer(cls, content: DeveloperContent | str) -> Message:
        """A developer message; a string is taken as instructions."""
        if isinstance(content, str):
            content = DeveloperContent(content)
        return cls(Author(Role.DEVELOPER), (content,))

    @classmethod
    def user(cls, text: str, name: str | None = None) -> Message:
        return cls(Author(Role.USER, name), (TextContent(text),))

    @classmethod
    def assistant(
        cls,
        text: str,
        channel: str | None = None,
        recipient: str | None = None,
        content_type: str | None = None,
    ) -> Message:
        return cls(_ASSISTANT, (TextContent(text),), channel, recipient, content_type)

    @classmethod
    def analysis(cls, text: str) -> Message:
        """Reasoning."""
        return cls(_ASSISTANT, (TextContent(text),), "analysis")

    @classmethod
    def preamble(cls, text: str) -> Message:
        """Commentary meant for the user, for example before a tool call."""
        return cls(_ASSISTANT, (TextContent(text),), "commentary")

    @classmethod
    def final(cls, text: str) -> Message:
        """The answer."""
        return cls(_ASSISTANT, (TextContent(text),), "final")

    @classmethod
    def call(
        cls,
        recipient: str,
        arguments: str,
        *,
        channel: str = "commentary",
        content_type: str | None = CONSTRAIN_JSON,
    ) -> Message:
        """A tool call; ``recipient`` is the qualified name, for example ``functions.lookup``."""
        return cls(_ASSISTANT, (TextContent(arguments),), channel, recipient, content_type)

    @classmethod
    def tool(cls, name: str, text: str, *, channel: str | None = "commentary") -> Message:
        """A tool's result, addressed to the assistant; ``name`` is the qualified tool name."""
        return cls(Author(Role.TOOL, name), (TextContent(text),), channel, "assistant")


def _part(content: Content | str) -> Content:
    return TextContent(content) if isinstance(content, str) else content


class Conversation(msgspec.Struct, frozen=True):
    """Messages in order."""

    messages: tuple[Message, ...] = ()

    @classmethod
    def of(cls, *messages: Message) -> Conversation:
        return cls(messages)

    @classmethod
    def from_messages(cls, messages: Iterable[Message]) -> Conversation:
        return cls(tuple(messages))

    @classmethod
    def from_json(cls, data: str | bytes) -> Conversation:
        """Read the canonical JSON form. Raises MessageError naming the field that is wrong."""
        from antiphon.model.json import decode_conversation

        return decode_conversation(data)

    def to_json(self) -> bytes:
        """The canonical JSON form, which the reference library reads as well."""
        from antiphon.model.json import encode_conversation

        return encode_conversation(self)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)
