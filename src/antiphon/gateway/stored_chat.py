"""Chat completions that were asked to be kept: list, read, label, delete, and their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon.api.chat.stored import (
    read_update,
    stored_completion,
    stored_summary,
)
from antiphon.api.responses.conversations import deleted_body
from antiphon.gateway.body import read_json_body
from antiphon.gateway.chat import ChatRoute
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.responses.kept import not_found
from antiphon.gateway.responses.pages import page_body, query_of, read_page, value_of
from antiphon.gateway.services import Services
from antiphon.store.records import Item, Record

__all__ = ["ChatsRoute", "CompletionMessagesRoute", "StoredChatRoute"]

MAX_SCANNED: Final = 10_000
"""Most completions that are looked at for one page of a filtered list."""
_PAGE: Final = 200
_FILTER: Final = "metadata["


class ChatsRoute:
    """``/v1/chat/completions``: ``POST`` makes one, ``GET`` lists those that are kept."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._create = ChatRoute(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._create(scope, receive, send)
            return
        query = query_of(scope)
        page = read_page(query, order="asc")
        model = value_of(query, "model")
        labels = {
            name.removeprefix(_FILTER).removesuffix("]"): value
            for name, value in query
            if name.startswith(_FILTER)
        }
        records, tenant = self._services.records, context_of(scope).tenant
        found: list[Record] = []
        after, scanned = page.after, 0
        while len(found) <= page.limit and scanned < MAX_SCANNED:
            some = await records.list(
                tenant, "chat.completion", after=after, limit=_PAGE, order=page.order
            )
            found += [record for record in some if _fits(record, model, labels)]
            scanned += len(some)
            if len(some) < _PAGE:
                break
            after = some[-1].id
        await send_json(send, page_body(found[: page.limit + 1], page))


class StoredChatRoute:
    """``GET``, ``POST`` and ``DELETE /v1/chat/completions/{id}``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        id_: str = scope["path_params"]["id"]
        if scope["method"] == "DELETE":
            if not await services.records.delete(tenant, "chat.completion", id_):
                raise not_found(id_, "Chat completion")
            await send_json(send, deleted_body(id_, "chat.completion.deleted"))
            return
        record = await _find(services, tenant, id_)
        if scope["method"] == "POST":
            given = await read_json_body(scope, receive, services.settings.server)
            record = msgspec.structs.replace(
                record, body=stored_completion(record.body, read_update(given))
            )
            if not await services.records.put(tenant, record, over=(record.status,)):
                raise not_found(id_, "Chat completion")
        await send_json(send, record.body)


class CompletionMessagesRoute:
    """``GET /v1/chat/completions/{id}/messages``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        page = read_page(query_of(scope), order="asc")
        record = await _find(services, tenant, scope["path_params"]["id"])
        messages: Sequence[Item] = await services.records.items(
            tenant,
            "chat.completion",
            record.id,
            after=page.after,
            limit=page.limit + 1,
            order=page.order,
        )
        await send_json(send, page_body(messages, page))


async def _find(services: Services, tenant: str, id: str) -> Record:
    record = await services.records.get(tenant, "chat.completion", id)
    if record is None:
        raise not_found(id, "Chat completion")
    return record


def _fits(record: Record, model: str | None, labels: Mapping[str, str]) -> bool:
    if model is None and not labels:
        return True
    summary = stored_summary(record.body)
    if model is not None and summary.model != model:
        return False
    return all(summary.metadata.get(name) == value for name, value in labels.items())
