"""The part of the OpenAPI document that is about responses, conversations and what is kept.

Items and tools are described as objects only: what each type has is OpenAI's to say, and what
becomes of it stands in docs/responses.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.api.responses.body import ResponsesBody

__all__ = ["SCHEMAS", "Operation", "paths"]

Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
Object = dict[str, Any]


class ResponseObject(msgspec.Struct, kw_only=True):
    """A response. It has every field that OpenAI's has."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: Object | None
    incomplete_details: Object | None
    model: str
    output: list[Object]
    usage: Object | None
    metadata: Metadata


class CompactedResponse(msgspec.Struct):
    """A conversation made short. ``output`` stands for what was sent."""

    id: str
    object: Literal["response.compaction"]
    created_at: int
    output: list[Object]
    usage: Object


class InputTokens(msgspec.Struct):
    """How many tokens a request would be."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class ItemList(msgspec.Struct):
    """One page of a list."""

    object: Literal["list"]
    data: list[Object]
    first_id: str
    last_id: str
    has_more: bool


class ItemObject(msgspec.Struct):
    """An item of any type."""

    id: str
    type: str


class ContainerFile(msgspec.Struct):
    """A file that code made in a container."""

    id: str
    object: Literal["container.file"]
    created_at: int
    bytes: int
    container_id: str
    path: str
    source: Literal["assistant"]


class Deleted(msgspec.Struct):
    """Something is gone."""

    id: str
    object: str
    deleted: bool


class ConversationObject(msgspec.Struct):
    """A conversation. Its items are listed by a route of their own."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: Metadata


class ConversationBody(msgspec.Struct):
    """What a conversation begins with."""

    metadata: Metadata | None = None
    items: Annotated[list[Object], Meta(max_length=20)] | None = None


class ItemsBody(msgspec.Struct):
    """Items to add."""

    items: Annotated[list[Object], Meta(min_length=1, max_length=20)]


class MetadataBody(msgspec.Struct):
    """Metadata that replaces the old."""

    metadata: Metadata | None


_TYPES: Final[dict[str, Any]] = {
    "input": str | list[Object] | None,
    "tools": list[Object] | None,
    "tool_choice": str | Object | None,
    "text": Object | None,
}
"""Of what is read as it is."""


def _described(body: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields = [
        (field.encode_name, _TYPES.get(field.name, field.type), None)
        for field in msgspec.structs.fields(body)
    ]
    return msgspec.defstruct(
        body.__name__, fields, kw_only=True, namespace={"__doc__": body.__doc__}
    )


SCHEMAS: Final = (
    CompactedResponse,
    ContainerFile,
    ConversationBody,
    ConversationObject,
    Deleted,
    InputTokens,
    ItemList,
    ItemObject,
    ItemsBody,
    MetadataBody,
    ResponseObject,
    _described(ResponsesBody),
)
"""Every type that `paths` refers to."""

_LIST: Final = ("limit", "order", "after")


class Operation(msgspec.Struct, frozen=True):
    """What a method of a path takes and gives; types by name. ``query`` names parameters."""

    name: str
    answer: str
    body: str | None = None
    query: tuple[str, ...] = ()
    stream: bool = False
    bytes: bool = False
    """Whether the answer is a file."""


def paths() -> dict[str, dict[str, Operation]]:
    """Path → method → what it does."""
    response, conversation = "ResponseObject", "ConversationObject"
    of_response, of_conversation = "/v1/responses/{id}", "/v1/conversations/{id}"
    of_chat = "/v1/chat/completions/{id}"
    of_file = "/v1/containers/{id}/files/{file_id}"
    watch = ("stream", "starting_after", "include")
    return {
        "/v1/responses": {
            "post": Operation("createResponse", response, "ResponsesBody", stream=True)
        },
        "/v1/responses/input_tokens": {
            "post": Operation("countInputTokens", "InputTokens", "ResponsesBody")
        },
        "/v1/responses/compact": {
            "post": Operation("compactResponse", "CompactedResponse", "ResponsesBody")
        },
        of_response: {
            "get": Operation("getResponse", response, query=watch, stream=True),
            "delete": Operation("deleteResponse", "Deleted"),
        },
        f"{of_response}/cancel": {"post": Operation("cancelResponse", response)},
        f"{of_response}/input_items": {"get": Operation("listInputItems", "ItemList", query=_LIST)},
        "/v1/conversations": {
            "post": Operation("createConversation", conversation, "ConversationBody")
        },
        of_conversation: {
            "get": Operation("getConversation", conversation),
            "post": Operation("updateConversation", conversation, "MetadataBody"),
            "delete": Operation("deleteConversation", "Deleted"),
        },
        f"{of_conversation}/items": {
            "get": Operation("listConversationItems", "ItemList", query=_LIST),
            "post": Operation("addConversationItems", "ItemList", "ItemsBody"),
        },
        f"{of_conversation}/items/{{item_id}}": {
            "get": Operation("getConversationItem", "ItemObject"),
            "delete": Operation("deleteConversationItem", conversation),
        },
        of_file: {"get": Operation("getContainerFile", "ContainerFile")},
        f"{of_file}/content": {
            "get": Operation("getContainerFileContent", "ContainerFile", bytes=True)
        },
        of_chat: {
            "get": Operation("getChatCompletion", "ChatCompletion"),
            "post": Operation("updateChatCompletion", "ChatCompletion", "MetadataBody"),
            "delete": Operation("deleteChatCompletion", "Deleted"),
        },
        f"{of_chat}/messages": {
            "get": Operation("listChatCompletionMessages", "ItemList", query=_LIST)
        },
    }
