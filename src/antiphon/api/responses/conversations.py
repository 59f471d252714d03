"""The bodies of everything beside `POST /v1/responses`: conversations, lists of items, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.api.errors import as_api_error
from antiphon.api.responses.items import place
from antiphon.api.responses.metadata import check_metadata
from antiphon.api.responses.stored import StoredItem
from antiphon.api.responses.usage import usage_body
from antiphon.api.turn import TurnUsage
from antiphon.errors import MessageError
from antiphon.model.json import decode_as

__all__ = [
    "MAX_NEW_ITEMS",
    "NewConversation",
    "compaction_body",
    "conversation_body",
    "deleted_body",
    "input_tokens_body",
    "list_body",
    "read_conversation",
    "read_items",
    "read_metadata",
]

MAX_NEW_ITEMS: Final = 20
"""Most items that one request may add to a conversation; OpenAI's limit."""

_ENCODE: Final = msgspec.json.Encoder().encode


class _Metadata(msgspec.Struct):
    metadata: dict[str, str] | None


class _Items(msgspec.Struct):
    items: Annotated[list[msgspec.Raw], Meta(min_length=1)]


class _Conversation(msgspec.Struct):
    metadata: dict[str, str] | None = None
    items: list[msgspec.Raw] | None = None


_METADATA: Final = msgspec.json.Decoder(_Metadata)
_ITEMS: Final = msgspec.json.Decoder(_Items)
_CONVERSATION: Final = msgspec.json.Decoder(_Conversation)


class NewConversation(msgspec.Struct, frozen=True):
    """What a conversation begins with. ``items`` is their JSON."""

    metadata: Mapping[str, str]
    items: tuple[bytes, ...]


def read_conversation(body: bytes) -> NewConversation:
    """``POST /v1/conversations``; the body may be empty. Raises ApiError."""
    try:
        wire = decode_as(_CONVERSATION, body.strip() or b"{}")
        return NewConversation(check_metadata(wire.metadata), _checked(wire.items or []))
    except MessageError as error:
        raise as_api_error(error) from error


def read_metadata(body: bytes) -> Mapping[str, str]:
    """``POST /v1/conversations/{id}``: the metadata that replaces the old. Raises ApiError."""
    try:
        return check_metadata(decode_as(_METADATA, body).metadata)
    except MessageError as error:
        raise as_api_error(error) from error


def read_items(body: bytes) -> tuple[bytes, ...]:
    """``POST /v1/conversations/{id}/items``: the JSON of each item. Raises ApiError."""
    try:
        return _checked(decode_as(_ITEMS, body).items)
    except MessageError as error:
        raise as_api_error(error) from error


def _checked(items: Sequence[msgspec.Raw]) -> tuple[bytes, ...]:
    if len(items) > MAX_NEW_ITEMS:
        raise MessageError(
            f"items: has {len(items)} items, the limit is {MAX_NEW_ITEMS}", field="items"
        )
    checked = []
    for i, item in enumerate(items):
        raw = bytes(item)
        if place(raw, "items", i).type == "item_reference":
            field = f"items[{i}].type"
            raise MessageError(f"{field}: a conversation keeps items, not references", field=field)
        checked.append(raw)
    return tuple(checked)


def conversation_body(id: str, created: int, metadata: Mapping[str, str]) -> bytes:
    """A conversation. ``id`` begins with ``conv_``."""
    return _ENCODE(
        {"id": id, "object": "conversation", "created_at": created, "metadata": metadata}
    )


def deleted_body(
    id: str, object: Literal["response", "conversation.deleted", "chat.completion.deleted"]
) -> bytes:
    """That something is gone."""
    return _ENCODE({"id": id, "object": object, "deleted": True})


def list_body(items: Sequence[StoredItem], *, has_more: bool) -> bytes:
    """One page. A page without items has empty ids, as clients want strings."""
    page: dict[str, Any] = {
        "object": "list",
        "data": [msgspec.Raw(item.body) for item in items],
        "first_id": items[0].id if items else "",
        "last_id": items[-1].id if items else "",
        "has_more": has_more,
    }
    return _ENCODE(page)


def input_tokens_body(tokens: int) -> bytes:
    """``POST /v1/responses/input_tokens``."""
    return _ENCODE({"object": "response.input_tokens", "input_tokens": tokens})


def compaction_body(id: str, created: int, output: Sequence[StoredItem], usage: TurnUsage) -> bytes:
    """``POST /v1/responses/compact``. ``id`` begins with ``resp_``."""
    return b'{"id":%b,"object":"response.compaction","created_at":%d,"output":[%b],"usage":%b}' % (
        _ENCODE(id),
        created,
        b",".join([item.body for item in output]),
        usage_body(usage),
    )
