"""One item of ``input``: what kind it is, and what it holds.

Items come again with every request of a conversation, so that what was read is kept by its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import TEXT_PARTS, decode_field
from antiphon.api.responses.wire import (
    ApprovalItem,
    CallItem,
    CustomCallItem,
    Head,
    MessageItem,
    OtherItem,
    OutputItem,
    ReasoningItem,
    SealedItem,
)
from antiphon.errors import MessageError
from antiphon.model.content import TextContent
from antiphon.model.json import decode_as
from antiphon.model.message import Author, Message, Role

__all__ = [
    "KINDS",
    "KNOWN_ITEMS",
    "LEFT_OUT",
    "TOLD",
    "ItemRead",
    "PlacedItem",
    "WireItem",
    "open_turn",
    "place",
    "read_item",
    "split_items",
]

KNOWN_ITEMS: Final = 4096
MAX_KNOWN_BYTES: Final = 1 << 13
"""So many items of at most so many bytes are kept."""
MAX_ITEMS: Final = 100_000
"""Most items of one request."""

WireItem = (
    MessageItem
    | ReasoningItem
    | CallItem
    | CustomCallItem
    | OutputItem
    | SealedItem
    | ApprovalItem
    | OtherItem
)

KINDS: Final[dict[str, Any]] = {
    "message": MessageItem,
    "reasoning": ReasoningItem,
    "function_call": CallItem,
    "function_call_output": OutputItem,
    "custom_tool_call": CustomCallItem,
    "custom_tool_call_output": OutputItem,
    "item_reference": Head,
    "compaction": SealedItem,
    "compaction_summary": SealedItem,
    "context_compaction": SealedItem,
    "mcp_approval_request": ApprovalItem,
    "mcp_approval_response": ApprovalItem,
}
"""Items that mean something to the model as they are."""

TOLD: Final = {
    "apply_patch_call": "apply_patch",
    "apply_patch_call_output": "apply_patch",
    "code_interpreter_call": "code_interpreter",
    "computer_call": "computer",
    "computer_call_output": "computer",
    "file_search_call": "file_search",
    "local_shell_call": "local_shell",
    "local_shell_call_output": "local_shell",
    "mcp_call": "mcp",
    "program": "program",
    "program_output": "program",
    "shell_call": "shell",
    "shell_call_output": "shell",
    "web_search_call": "web_search",
}
"""What hosted tools did → what they are called when the model is told of it."""

LEFT_OUT: Final = frozenset(
    {
        "additional_tools",
        "compaction_trigger",
        "configuration_update",
        "ghost_snapshot",
        "image_generation_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Items that hold nothing a model that reads text could use."""

_HEAD: Final = msgspec.json.Decoder(Head)
_INPUT: Final = msgspec.json.Decoder(str | list[msgspec.Raw] | None)
_DECODERS: Final = {name: msgspec.json.Decoder(kind) for name, kind in KINDS.items()}
_OTHER: Final = msgspec.json.Decoder(OtherItem)
_ENCODE: Final = msgspec.json.Encoder().encode
_ASSISTANT: Final = Author(Role.ASSISTANT)
_USER: Final = Author(Role.USER)
_CHANNELS: Final = {"commentary": "commentary", "final_answer": "final"}


class ItemRead(msgspec.Struct, frozen=True):
    """An item, read. ``item`` is never changed: it may be read again."""

    type: str
    id: str | None
    item: WireItem | Head
    made: tuple[Message, ...] | None = None
    """The messages that it makes, where they depend on nothing else. The same objects each time,
    which the renderer's memo finds without looking into them."""


class PlacedItem(msgspec.Struct, frozen=True):
    """An item with its place in the request, its JSON, and what was read of it."""

    list: str
    at: int
    raw: bytes
    read: ItemRead

    @property
    def where(self) -> str:
        """Its path."""
        return f"{self.list}[{self.at}]"

    @property
    def type(self) -> str:
        return self.read.type


def split_items(raw: bytes) -> list[bytes] | None:
    """The JSON of each item of ``input``: text is one message of the user. None: there is none.

    Raises MessageError for what is neither text nor a list.
    """
    given = decode_field(_INPUT, raw, "input")
    if given is None:
        return None
    if isinstance(given, str):
        return [_ENCODE({"type": "message", "role": "user", "content": given})]
    if len(given) > MAX_ITEMS:
        raise MessageError(
            f"input: has {len(given)} items, the limit is {MAX_ITEMS}", field="input"
        )
    return [bytes(item) for item in given]


def place(raw: bytes, list: str, at: int = 0) -> PlacedItem:
    """Read one item of a list. Raises MessageError naming what is wrong in it, by its path."""
    try:
        return PlacedItem(list, at, raw, read_item(raw))
    except MessageError as error:
        where = f"{list}[{at}]"
        field = f"{where}.{error.field}" if error.field else where
        message = str(error).removeprefix(f"{error.field}: ")
        raise MessageError(f"{field}: {message}", field=field) from error


def open_turn(items: Sequence[PlacedItem]) -> Sequence[PlacedItem]:
    """The items behind the last answer: what the model still sees of its own tools."""
    for at in range(len(items) - 1, -1, -1):
        item = items[at].read.item
        if not isinstance(item, MessageItem) or item.role != "assistant":
            continue
        if item.phase != "commentary":
            return items[at + 1 :]
    return items


def read_item(raw: bytes) -> ItemRead:
    """Read an item. Raises MessageError naming what is wrong, by its path in the item."""
    return (_known if len(raw) <= MAX_KNOWN_BYTES else _read)(raw)


def _read(raw: bytes) -> ItemRead:
    head = decode_as(_HEAD, raw)
    kind = head.type
    if kind is None:
        if head.role is not None:
            kind = "message"
        elif head.id is not None:
            kind = "item_reference"
        else:
            raise MessageError("type: is missing", field="type")
    decoder = _DECODERS.get(kind)
    if decoder is not None:
        if kind == "item_reference" and not head.id:
            raise MessageError("id: is missing", field="id")
        item = decode_as(decoder, raw)
        return ItemRead(kind, head.id, item, _made(item))
    if kind in TOLD:
        return ItemRead(kind, head.id, decode_as(_OTHER, raw))
    if kind in LEFT_OUT:
        return ItemRead(kind, head.id, head)
    raise MessageError(
        f"type: {kind[:60]!r} is not a type of item that is known here", field="type"
    )


_known = lru_cache(maxsize=KNOWN_ITEMS)(_read)


def _made(item: Any) -> tuple[Message, ...] | None:
    """What an item is in every request. None for what names tools, holds media or markup, is sealed
    or depends on what follows it.
    """
    if isinstance(item, ReasoningItem):
        texts = [part.text for part in item.content or () if part.text]
        if not texts:
            return None
        return (Message(_ASSISTANT, tuple([TextContent(text) for text in texts]), "analysis"),)
    if not isinstance(item, MessageItem) or item.content is None:
        return None
    if isinstance(item.content, str):
        texts = [item.content]
    else:
        texts = []
        for part in item.content:
            if part.type not in TEXT_PARTS or part.text is None:
                return None
            texts.append(part.text)
    parts = tuple([TextContent(text) for text in texts])
    if item.role == "user":
        return (Message(_USER, parts or (TextContent(""),)),)
    channel = _CHANNELS.get(item.phase or "")
    if item.role != "assistant" or channel is None or any("<" in text for text in texts):
        return None
    return (Message(_ASSISTANT, parts, channel),) if any(texts) else ()
