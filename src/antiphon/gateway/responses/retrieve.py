"""Stored responses: reading, following, cancelling and deleting them, and listing their input."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.api.responses.conversations import deleted_body
from antiphon.api.responses.request import INCLUDE
from antiphon.api.responses.sealed import pack_reasoning
from antiphon.api.responses.seen import MEMBER, SERVED_ITEMS, pack_seen, read_seen, without_seen
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.responses.caretaker import ask_to_cancel
from antiphon.gateway.responses.chain import input_items
from antiphon.gateway.responses.create import send_followed
from antiphon.gateway.responses.kept import (
    find_response,
    not_found,
    read_beside,
    with_members,
)
from antiphon.gateway.responses.pages import (
    page_body,
    query_of,
    read_page,
    value_of,
    values_of,
)
from antiphon.gateway.responses.replay import POLL_SECONDS, read_after
from antiphon.gateway.services import Services
from antiphon.store.records import UNFINISHED, Item, Record

__all__ = ["CancelRoute", "InputItemsRoute", "ResponseRoute"]

MAKER_SECONDS: Final = 5.0
"""How long another process may take to cancel its response."""
_TRUE: Final = frozenset({"true", "1"})
_ENCRYPTED: Final = "reasoning.encrypted_content"
_NAMED: Final = msgspec.json.Decoder(dict[str, Any])


class ResponseRoute:
    """``GET`` and ``DELETE /v1/responses/{id}``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        id_: str = scope["path_params"]["id"]
        if scope["method"] == "DELETE":
            await self._delete(scope, send, id_)
            return
        services, tenant = self._services, context_of(scope).tenant
        query = query_of(scope)
        include = _include(values_of(query, "include"))
        after = read_after(value_of(query, "starting_after"))
        record = await find_response(services.records, tenant, id_)
        if value_of(query, "stream") in _TRUE:
            context_of(scope).streamed = True
            await send_followed(services, scope, receive, send, id_, after=after)
            return
        if after >= 0:
            raise ApiError(
                "starting_after: needs stream=true", param="starting_after", code="invalid_value"
            )
        body = record.body
        if _ENCRYPTED in include:
            body = _with_sealed(services, tenant, record)
        await send_json(send, body)

    async def _delete(self, scope: Scope, send: Send, id: str) -> None:
        services, tenant = self._services, context_of(scope).tenant
        gone = await services.records.delete(tenant, "response", id)
        live = services.running.find(tenant, id)
        if live is not None:
            live.cancel()
        services.chains.forget(tenant, id)
        if not gone:
            raise not_found(id)
        await send_json(send, deleted_body(id, "response"))


class CancelRoute:
    """``POST /v1/responses/{id}/cancel``: for those in the background, wherever they run."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, tenant = self._services, context_of(scope).tenant
        id_: str = scope["path_params"]["id"]
        record = await find_response(services.records, tenant, id_)
        if not read_beside(record).background:
            raise ApiError(
                "Only responses in the background can be cancelled; close the connection of"
                " another one.",
                code="not_cancellable",
            )
        live = services.running.find(tenant, id_)
        if live is not None and live.task is not None:
            live.cancel()
            await asyncio.wait((live.task,))
        elif record.status in UNFINISHED:
            await self._ask_its_maker(tenant, id_)
        await send_json(send, (await find_response(services.records, tenant, id_)).body)

    async def _ask_its_maker(self, tenant: str, id: str) -> None:
        """Another process makes it, which alone can end it: have it told, and wait for that."""
        services = self._services
        await ask_to_cancel(services.store, tenant, id)
        until = asyncio.get_running_loop().time() + MAKER_SECONDS
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(POLL_SECONDS)
            record = await services.records.get(tenant, "response", id)
            if record is None or record.status not in UNFINISHED:
                return


class InputItemsRoute:
    """``GET /v1/responses/{id}/input_items``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = query_of(scope)
        _include(values_of(query, "include"))
        page = read_page(query)
        record = await find_response(
            self._services.records, context_of(scope).tenant, scope["path_params"]["id"]
        )
        items = [
            Item(str(_NAMED.decode(raw)["id"]), without_seen(raw)) for raw in input_items(record)
        ]
        if page.order == "desc":
            items.reverse()
        if page.after is not None:
            places = [at for at, item in enumerate(items) if item.id == page.after]
            items = items[places[-1] + 1 :] if places else []
        await send_json(send, page_body(items[: page.limit + 1], page))


def _include(names: list[str]) -> frozenset[str]:
    for name in names:
        if name not in INCLUDE:
            raise ApiError(
                f"include: expected one of {', '.join(sorted(INCLUDE))}, got {name[:60]!r}",
                param="include",
                code="invalid_value",
            )
    return frozenset(names)


def _with_sealed(services: Services, tenant: str, record: Record) -> bytes:
    """The response with ``encrypted_content`` in its reasoning, whoever did not ask for it then."""
    shown: list[dict[str, Any]] = _NAMED.decode(record.body)["output"]
    hidden = msgspec.json.decode(read_beside(record).output)
    kept = {item["id"]: item for item in hidden or shown}
    for item in shown:
        if item.get("type") in SERVED_ITEMS and not item.get("encrypted_content"):
            seen = read_seen(kept.get(item["id"], item).get(MEMBER))
            if seen is not None:
                item["encrypted_content"] = services.sealer.seal(tenant, pack_seen(seen))
            continue
        if item.get("type") != "reasoning" or item.get("encrypted_content"):
            continue
        parts = kept.get(item["id"], item).get("content") or ()
        text = "".join([part["text"] for part in parts])
        item["encrypted_content"] = services.sealer.seal(tenant, pack_reasoning(text))
    return with_members(record.body, output=shown)
