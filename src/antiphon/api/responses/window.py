"""A compacted conversation as one sealed item: what stays as it is, and a summary of the rest.

Clients send the item back in front of what comes next, and are spared to know what is inside; so
are their types, which have no room for a user's message among a model's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from antiphon.api.responses.items import PlacedItem, place
from antiphon.api.responses.stored import StoredItem, id_prefix
from antiphon.api.responses.wire import SealedItem

__all__ = ["expanded", "pack_window", "sealed_item", "window_items"]

_WINDOW: Final = b"window\n"
"""Tells a window from other things that are sealed (`antiphon.api.responses.sealed`)."""
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder().encode


def pack_window(items: Sequence[bytes]) -> bytes:
    """Items, ready to be sealed."""
    return _WINDOW + b"[" + b",".join(items) + b"]"


def window_items(data: bytes | None) -> list[bytes] | None:
    """The items; None if it is something else."""
    if data is None or not data.startswith(_WINDOW):
        return None
    return [bytes(item) for item in _ITEMS.decode(data[len(_WINDOW) :])]


def sealed_item(sealed: str, new_id: Callable[[], str]) -> StoredItem:
    """The item that carries what was sealed."""
    id_ = f"{id_prefix('compaction')}_{new_id()}"
    body = _ENCODE({"type": "compaction", "id": id_, "encrypted_content": sealed})
    return StoredItem(id_, body)


def expanded(
    items: Sequence[PlacedItem], unseal: Callable[[str], bytes | None]
) -> tuple[PlacedItem, ...]:
    """The items, with what is inside in the place of every window. Others stay as they are."""
    out: list[PlacedItem] = []
    for placed in items:
        item = placed.read.item
        inside = None
        if isinstance(item, SealedItem):
            inside = window_items(unseal(item.encrypted_content))
        if inside is None:
            out.append(placed)
        else:
            out += [place(raw, placed.where) for raw in inside]
    return tuple(out)
