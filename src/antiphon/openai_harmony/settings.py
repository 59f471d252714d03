"""Content of messages: text, system settings, developer instructions, tools (pydantic models).

The builders change the object and return it, as the reference's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar

import msgspec
from pydantic import BaseModel, Field

from antiphon.model.content import CHANNELS, DEFAULT_IDENTITY, DEFAULT_KNOWLEDGE_CUTOFF
from antiphon.model.tools import BROWSER, FUNCTIONS, PYTHON, ToolNamespace

__all__ = [
    "ChannelConfig",
    "Content",
    "DeveloperContent",
    "ReasoningEffort",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "ToolNamespaceConfig",
]


class Content(BaseModel, defer_build=True):
    """One part of a message; see the subclasses."""

    content_kind: ClassVar[str | None] = None
    """The ``type`` of this part in JSON."""

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError


class TextContent(Content):
    """Plain text."""

    content_kind = "text"

    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class ToolDescription(BaseModel, defer_build=True):
    """One function that the model may call."""

    name: str
    description: str
    parameters: dict[Any, Any] | None = None

    @classmethod
    def new(
        cls, name: str, description: str, parameters: dict[Any, Any] | None = None
    ) -> ToolDescription:
        return cls(name=name, description=description, parameters=parameters)


class ReasoningEffort(str, Enum):  # noqa: UP042 - its str() is the reference's
    """How much the model thinks before it answers."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class ChannelConfig(BaseModel, defer_build=True):
    """The channels named in the system message."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: list[str]) -> ChannelConfig:
        return cls(valid_channels=channels, channel_required=True)


class ToolNamespaceConfig(BaseModel, defer_build=True):
    """A named group of tools."""

    name: str
    description: str | None = None
    tools: list[ToolDescription]

    @staticmethod
    def browser() -> ToolNamespaceConfig:
        return _built_in(BROWSER)

    @staticmethod
    def python() -> ToolNamespaceConfig:
        return _built_in(PYTHON)


def _built_in(namespace: ToolNamespace) -> ToolNamespaceConfig:
    tools = [
        ToolDescription(
            name=tool.name,
            description=tool.description,
            parameters=msgspec.json.decode(msgspec.json.encode(tool.parameters)),
        )
        for tool in namespace.tools
    ]
    return ToolNamespaceConfig(name=namespace.name, description=namespace.description, tools=tools)


class SystemContent(Content):
    """The settings in the system message. A field that is None is not rendered."""

    content_kind = "system_content"

    model_identity: str | None = DEFAULT_IDENTITY
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = DEFAULT_KNOWLEDGE_CUTOFF
    channel_config: ChannelConfig | None = Field(
        default_factory=lambda: ChannelConfig.require_channels(list(CHANNELS))
    )
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> SystemContent:
        return cls()

    def with_model_identity(self, model_identity: str) -> SystemContent:
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> SystemContent:
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> SystemContent:
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> SystemContent:
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> SystemContent:
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: list[str]) -> SystemContent:
        self.channel_config = ChannelConfig.require_channels(channels)
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> SystemContent:
        self.tools = _with_namespace(self.tools, ns_config)
        return self

    def with_browser_tool(self) -> SystemContent:
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> SystemContent:
        return self.with_tools(ToolNamespaceConfig.python())

    def to_dict(self) -> dict[str, Any]:
        """The canonical JSON form.

        A field that is None although its default is not stays in it, as null, so that `from_dict`
        and the reference both read it back as None.
        """
        out = self.model_dump(exclude_none=True)
        for name in _DEFAULTED:
            if getattr(self, name) is None:
                out[name] = None
        out["type"] = self.content_kind
        return out

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> SystemContent:
        return cls(**raw)


_DEFAULTED = ("model_identity", "reasoning_effort", "knowledge_cutoff", "channel_config")


class DeveloperContent(Content):
    """The developer's instructions and tools."""

    content_kind = "developer_content"

    instructions: str | None = None
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> DeveloperContent:
        return cls()

    def with_instructions(self, instructions: str) -> DeveloperContent:
        self.instructions = instructions
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> DeveloperContent:
        self.tools = _with_namespace(self.tools, ns_config)
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> DeveloperContent:
        """Offer functions, in place of those offered before."""
        return self.with_tools(
            ToolNamespaceConfig(name=FUNCTIONS, description=None, tools=list(tools))
        )

    def to_dict(self) -> dict[str, Any]:
        out = self.model_dump(exclude_none=True)
        out["type"] = self.content_kind
        return out

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> DeveloperContent:
        return cls(**raw)


def _with_namespace(
    tools: dict[str, ToolNamespaceConfig] | None, namespace: ToolNamespaceConfig
) -> dict[str, ToolNamespaceConfig]:
    if tools is None:
        tools = {}
    tools[namespace.name] = namespace
    return tools
