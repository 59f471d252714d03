"""What a conversation knows of MCP servers' tools: its ``mcp_list_tools`` items, read again.

A client may have written them. That is harmless: a tool that the server does not offer in just this
form is not called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.api.responses.items import PlacedItem
from antiphon.tools.mcp.server import MAX_SCHEMA_BYTES, Definition

__all__ = ["listed_before"]

MAX_ITEM_BYTES: Final = 4 * 1024 * 1024


class _Listed(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class _Item(msgspec.Struct):
    server_label: str
    tools: list[_Listed]
    error: Any = None


_DECODE: Final = msgspec.json.Decoder(_Item).decode


def listed_before(items: Sequence[PlacedItem]) -> dict[str, list[Definition]]:
    """Label → the newest list; none for a server whose last list failed."""
    found: dict[str, list[Definition]] = {}
    for placed in items:
        if placed.type != "mcp_list_tools" or len(placed.raw) > MAX_ITEM_BYTES:
            continue
        try:
            item = _DECODE(placed.raw)
        except msgspec.MsgspecError:
            continue
        if item.error is not None:
            found.pop(item.server_label, None)
        else:
            found[item.server_label] = [
                Definition(
                    tool.name,
                    tool.description or "",
                    tool.input_schema or {},
                    bool((tool.annotations or {}).get("readOnlyHint")),
                )
                for tool in item.tools
                if len(msgspec.json.encode(tool.input_schema)) <= MAX_SCHEMA_BYTES
            ]
    return found
