"""The items and tools of a Responses request, as they come over the wire.

Unknown fields are ignored, and null is the same as absent: clients send back what they got, with
every field their types have.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = [
    "ABSENT",
    "ApprovalItem",
    "CallItem",
    "CustomCallItem",
    "CustomFormat",
    "Head",
    "MessageItem",
    "OtherItem",
    "OutputItem",
    "ReasoningItem",
    "SealedItem",
    "TextFormat",
    "TextPart",
    "WireContent",
    "WirePart",
    "WireTool",
]

ABSENT: Final = msgspec.Raw(b"null")
"""A field that is not there is one that is null."""


class Head(msgspec.Struct, gc=False):
    """What tells the kinds of items apart. Messages and references may come without a type."""

    type: str | None = None
    role: str | None = None
    id: str | None = None


class WirePart(msgspec.Struct, gc=False):
    """One part of a content list. Media have their data in fields that are read only for files."""

    type: str
    text: str | None = None
    refusal: str | None = None
    file_data: str | None = None
    filename: str | None = None


WireContent = str | list[WirePart]


class MessageItem(msgspec.Struct):
    """What somebody said. ``phase`` is the assistant's: ``commentary`` or ``final_answer``."""

    role: str
    content: WireContent | None = None
    phase: str | None = None


class TextPart(msgspec.Struct, gc=False):
    """A piece of reasoning, or of its summary."""

    text: str = ""
    type: str | None = None


class ReasoningItem(msgspec.Struct):
    """What the model thought: open, sealed, or both."""

    content: list[TextPart] | None = None
    encrypted_content: str | None = None
    summary: list[TextPart] | None = None


class CallItem(msgspec.Struct):
    """A function call. ``arguments`` is JSON text; some clients send the object itself."""

    name: str
    call_id: str | None = None
    arguments: str | dict[str, Any] | None = None
    namespace: str | None = None


class CustomCallItem(msgspec.Struct):
    """A custom tool's call."""

    name: str
    call_id: str | None = None
    input: str | None = None
    namespace: str | None = None


class OutputItem(msgspec.Struct):
    """The result of a call, of either kind. ``name`` helps where the call itself is not there."""

    output: msgspec.Raw = ABSENT
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None


class SealedItem(msgspec.Struct):
    """A compaction: what came before, sealed."""

    encrypted_content: str


class OtherItem(msgspec.Struct):
    """What a hosted tool did: whatever of it a reader could use."""

    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    server_label: str | None = None
    arguments: Any = None
    action: Any = None
    operation: Any = None
    code: str | None = None
    fingerprint: str | None = None
    queries: list[str] | None = None
    results: Any = None
    result: Any = None
    output: Any = None
    outputs: Any = None
    error: Any = None
    container_id: str | None = None
    encrypted_content: str | None = None
    antiphon_seen: Any = None
    """`antiphon.api.responses.seen`."""


class ApprovalItem(msgspec.Struct):
    """A call of an MCP server's tool that waits for an approval, or what was decided of it."""

    id: str | None = None
    name: str | None = None
    server_label: str | None = None
    arguments: str | None = None
    approval_request_id: str | None = None
    approve: bool = False
    reason: str | None = None


class CustomFormat(msgspec.Struct):
    """``text``, or a ``grammar``."""

    type: str = "text"
    definition: str | None = None
    syntax: str | None = None


class WireTool(msgspec.Struct):
    """One entry of ``tools``, of any type: a function, a custom tool, or one that is passed over.

    ``type`` tells; tools inside a namespace may leave out what is a function's.
    """

    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: CustomFormat | None = None
    tools: list[WireTool] | None = None


class TextFormat(msgspec.Struct):
    """``text.format``."""

    type: str = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None
