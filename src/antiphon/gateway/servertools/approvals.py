"""Calls of MCP tools that a client has approved, as they were asked for and not otherwise.

An id of ``mcp_approval_request`` is signed over all that it stands for: the server's label and URL,
the tool, the arguments, and whose it is. So it does not matter who kept the item meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.responses.items import PlacedItem
from antiphon.api.responses.wire import ApprovalItem
from antiphon.gateway.servertools.protocol import Asked
from antiphon.store.sealing import Sealer

__all__ = ["Approved", "approved", "bound"]

MAX_CALLS: Final = 128
"""Approved in one request."""
_ENCODE: Final = msgspec.json.Encoder().encode


class Approved(msgspec.Struct, frozen=True):
    """A call to be made."""

    request: str
    """The id of the item that asked for it."""
    label: str
    name: str
    arguments: str
    """As the model wrote them."""


class _Made(msgspec.Struct):
    approval_request_id: str | None = None


_MADE: Final = msgspec.json.Decoder(_Made).decode


def bound(id: str, label: str, place: str, name: str, arguments: str) -> bytes:
    """What an approval is bound to; ``place`` is the server's URL, empty for the operator's own."""
    return _ENCODE([id, label, place, name, arguments])


def approved(asked: Asked, places: Mapping[str, str], sealer: Sealer) -> list[Approved]:
    """The calls that the request's own items approve and that were not made yet. ``places`` are the
    labels and URLs of the servers in the request.

    Raises ApiError for an approval of what was not asked for here.
    """
    items = [*asked.previous, *asked.own]
    requests = _items(items, "mcp_approval_request")
    waiting = {item.id: item for _, item in requests if item.id}
    made = _already_made(items)
    found: dict[str, Approved] = {}
    for placed, item in _items(asked.own, "mcp_approval_response"):
        field = f"{placed.where}.approval_request_id"
        id_ = item.approval_request_id
        request = waiting.get(id_ or "")
        if id_ is None or request is None:
            raise _wrong(field, "there is no such mcp_approval_request in the conversation")
        if not item.approve or id_ in made or id_ in found:
            continue
        call = Approved(
            id_, request.server_label or "", request.name or "", request.arguments or ""
        )
        place = places.get(call.label)
        if place is None:
            raise _wrong(field, f"its server {call.label[:60]!r} is not among the tools")
        base, _, signature = id_.rpartition("_")
        data = bound(base, call.label, place, call.name, call.arguments)
        if not sealer.signed(asked.context.tenant, data, signature):
            raise _wrong(field, "it is not what was asked for here, or from too long ago")
        found[id_] = call
        if len(found) > MAX_CALLS:
            raise _wrong(field, f"more than {MAX_CALLS} calls are approved at once")
    return list(found.values())


def _items(items: Sequence[PlacedItem], kind: str) -> list[tuple[PlacedItem, ApprovalItem]]:
    return [
        (placed, placed.read.item)
        for placed in items
        if placed.type == kind and isinstance(placed.read.item, ApprovalItem)
    ]


def _already_made(items: Sequence[PlacedItem]) -> set[Any]:
    """The ids of requests that an item tells the outcome of."""
    made = set()
    for placed in items:
        if placed.type == "mcp_call":
            try:
                made.add(_MADE(placed.raw).approval_request_id)
            except msgspec.MsgspecError:
                continue
    return made


def _wrong(field: str, why: str) -> ApiError:
    return ApiError(f"{field}: {why}", param=field, code="invalid_value")
