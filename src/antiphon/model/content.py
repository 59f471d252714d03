"""What a message can carry: text, the system settings, the developer's instructions."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from antiphon.model.tools import ToolNamespace

__all__ = [
    "CHANNELS",
    "DEFAULT_IDENTITY",
    "DEFAULT_KNOWLEDGE_CUTOFF",
    "ChannelConfig",
    "Content",
    "DeveloperContent",
    "ReasoningEffort",
    "ResponseFormat",
    "SystemContent",
    "TextContent",
]

DEFAULT_IDENTITY: Final = "You are ChatGPT, a large language model trained by OpenAI."
DEFAULT_KNOWLEDGE_CUTOFF: Final = "2024-06"
CHANNELS: Final = ("analysis", "commentary", "final")


class ReasoningEffort(StrEnum):
    """How much the model thinks before it answers."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ChannelConfig(msgspec.Struct, frozen=True):
    """The ``# Valid channels`` line of the system message."""

    valid_channels: tuple[str, ...] = CHANNELS
    channel_required: bool = True


class TextContent(msgspec.Struct, frozen=True, gc=False):
    """Plain text."""

    text: str


class SystemContent(msgspec.Struct, frozen=True):
    """The settings in the system message. A field that is None is not rendered.

    ``SystemContent.default()`` is what gpt-oss was trained on; ``SystemContent()`` renders empty.
    ``conversation_start_date`` is an ISO date; the codec never asks a clock.
    """

    model_identity: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = None
    channel_config: ChannelConfig | None = None
    tools: dict[str, ToolNamespace] | None = None

    @classmethod
    def default(
        cls,
        effort: ReasoningEffort | str = ReasoningEffort.MEDIUM,
        *,
        date: str | None = None,
        tools: dict[str, ToolNamespace] | None = None,
    ) -> SystemContent:
        """The trained system message: identity, cutoff, effort and the three channels.

        Raises ValueError if ``effort`` is not low, medium or high.
        """
        return cls(
            DEFAULT_IDENTITY,
            ReasoningEffort(effort),
            date,
            DEFAULT_KNOWLEDGE_CUTOFF,
            ChannelConfig(),
            tools,
        )


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A structured-output schema, rendered under ``# Response Formats`` (guide, not reference)."""

    name: str
    schema: dict[str, Any]
    description: str | None = None


class DeveloperContent(msgspec.Struct, frozen=True):
    """The developer's instructions, function tools and response formats."""

    instructions: str | None = None
    tools: dict[str, ToolNamespace] | None = None
    response_formats: tuple[ResponseFormat, ...] = ()


Content = TextContent | SystemContent | DeveloperContent
