"""What the items of a request say: what others than the model gave, and who made an item."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.api.responses.items import PlacedItem
from antiphon.api.responses.wire import MessageItem, OutputItem
from antiphon.gateway.responses.chain import ITEM_DIGITS

__all__ = ["given_text", "origin_of"]


def given_text(items: Sequence[PlacedItem]) -> str:
    """The JSON of what others than the model said: users, instructions, the client's tools."""
    said = []
    for placed in items:
        item = placed.read.item
        if isinstance(item, OutputItem) or (
            isinstance(item, MessageItem) and item.role != "assistant"
        ):
            said.append(placed.raw.decode("utf-8", "replace"))
    return "\n".join(said)


def origin_of(id: str | None) -> str:
    """The number of the response that an item's id names; empty if it is none of ours."""
    return (id or "").partition("_")[2][:-ITEM_DIGITS]
