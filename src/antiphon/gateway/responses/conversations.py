"""``/v1/conversations`` and their items."""

from __future__ import annotations

from itertools import count

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon.api.responses.conversations import (
    conversation_body,
    deleted_body,
    list_body,
    read_conversation,
    read_items,
    read_metadata,
)
from antiphon.api.responses.seen import without_seen
from antiphon.api.responses.stored import StoredItem, stored_items
from antiphon.gateway.body import read_json_body
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.responses.chain import ITEM_DIGITS
from antiphon.gateway.responses.kept import not_found
from antiphon.gateway.responses.pages import page_body, query_of, read_page
from antiphon.gateway.services import Services
from antiphon.store.records import Item, Record

__all__ = ["ConversationRoute", "ConversationsRoute", "ItemRoute", "ItemsRoute"]


class ConversationsRoute:
    """``POST /v1/conversations``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        given = read_conversation(await _body(services, scope, receive, empty=True))
        number = services.new_id()
        created = int(services.clock.now().timestamp())
        record = Record(
            kind="conversation",
            id=f"conv_{number}",
            created=created,
            body=conversation_body(f"conv_{number}", created, given.metadata),
        )
        items = _items(number, given.items)
        await services.records.put(context_of(scope).tenant, record, items)
        await send_json(send, record.body)


class ConversationRoute:
    """``GET``, ``POST`` and ``DELETE /v1/conversations/{id}``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        id_: str = scope["path_params"]["id"]
        if scope["method"] == "DELETE":
            if not await services.records.delete(tenant, "conversation", id_):
                raise not_found(id_, "Conversation")
            await send_json(send, deleted_body(id_, "conversation.deleted"))
            return
        record = await _find(services, tenant, id_)
        if scope["method"] == "POST":
            metadata = read_metadata(await _body(services, scope, receive))
            body = conversation_body(record.id, record.created, metadata)
            record = msgspec.structs.replace(record, body=body)
            if not await services.records.put(tenant, record, over=("",)):
                raise not_found(id_, "Conversation")
        await send_json(send, record.body)


class ItemsRoute:
    """``GET`` and ``POST /v1/conversations/{id}/items``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        id_: str = scope["path_params"]["id"]
        if scope["method"] == "POST":
            given = read_items(await _body(services, scope, receive))
            items = _items(services.new_id(), given)
            if not await services.records.add_items(tenant, "conversation", id_, items):
                raise not_found(id_, "Conversation")
            shown = [StoredItem(item.id, without_seen(item.body)) for item in items]
            await send_json(send, list_body(shown, has_more=False))
            return
        page = read_page(query_of(scope))
        await _find(services, tenant, id_)
        found = await services.records.items(
            tenant,
            "conversation",
            id_,
            after=page.after,
            limit=page.limit + 1,
            order=page.order,
        )
        await send_json(send, page_body(found, page))


class ItemRoute:
    """``GET`` and ``DELETE /v1/conversations/{id}/items/{item_id}``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        id_: str = scope["path_params"]["id"]
        item_id: str = scope["path_params"]["item_id"]
        record = await _find(services, tenant, id_)
        if scope["method"] == "DELETE":
            if not await services.records.delete_item(tenant, "conversation", id_, item_id):
                raise not_found(item_id, "Item")
            await send_json(send, record.body)
            return
        item = await services.records.item(tenant, "conversation", id_, item_id)
        if item is None:
            raise not_found(item_id, "Item")
        await send_json(send, without_seen(item.body))


async def _find(services: Services, tenant: str, id: str) -> Record:
    record = await services.records.get(tenant, "conversation", id)
    if record is None:
        raise not_found(id, "Conversation")
    return record


def _items(number: str, given: tuple[bytes, ...]) -> list[Item]:
    """The items as they are kept, with ids."""
    counter = count()
    made = stored_items(given, lambda: f"{number}{next(counter):0{ITEM_DIGITS}x}")
    return [Item(item.id, item.body) for item in made]


async def _body(
    services: Services, scope: Scope, receive: Receive, *, empty: bool = False
) -> bytes:
    server = services.settings.server
    headers = dict(scope["headers"])
    if empty and headers.get(b"content-length", b"0") == b"0" and b"content-type" not in headers:
        return b""
    return await read_json_body(scope, receive, server)
