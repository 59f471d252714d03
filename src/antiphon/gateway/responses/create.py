"""``POST /v1/responses``, and what it has in common with a request on a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from antiphon.api.chat.stream import DONE
from antiphon.api.errors import ApiError
from antiphon.api.responses.request import (
    Past,
    References,
    ResponsesRequest,
    decode_response_request,
    placed_items,
    references,
)
from antiphon.api.responses.stream import sse_frame
from antiphon.api.responses.window import expanded
from antiphon.api.responses.wire import MessageItem, SealedItem
from antiphon.engines.served import Served
from antiphon.gateway.body import read_json_body
from antiphon.gateway.chat import LARGE_BODY, MAX_ALIASES_LOGGED, prompt_policy
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.door import header_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.responses.chain import Chain, LocalChain, conversation_digest
from antiphon.gateway.responses.replay import follow
from antiphon.gateway.responses.work import Work
from antiphon.gateway.servertools.protocol import Asked
from antiphon.gateway.servertools.server import NO_TOOLS, RequestTools, named_tools
from antiphon.gateway.services import Services
from antiphon.gateway.sse import EventStream
from antiphon.gateway.streaming import serve_events
from antiphon.turn.preflight import check_request

__all__ = [
    "DIALECT_HEADER",
    "CreateRoute",
    "Creation",
    "Opened",
    "opened",
    "request_tools",
    "send_followed",
    "unpacked",
]

DIALECT_HEADER: Final = "antiphon-reasoning-events"
"""``reasoning_text`` or ``reasoning``: how events of reasoning are named."""
_DIALECTS: Final = ("reasoning_text", "reasoning")


class CreateRoute:
    """The route."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        body = await read_json_body(scope, receive, services.settings.server)
        creation = Creation(services, scope)
        work = await creation.prepare(body)
        del body  # A stream may last for hours.
        request = creation.request
        if request.background:
            live = await work.begin_background()
            if request.stream:
                await send_followed(services, scope, receive, send, live.id, after=-1)
            else:
                await send_json(send, work.response)
        elif request.stream:
            await serve_events(services, scope, receive, send, partial(_stream, work))
        else:
            presence = context_of(scope).presence
            answer = await services.lifecycle.run(receive, work.answer(), presence)
            await send_json(send, answer)


async def _stream(work: Work, stream: EventStream) -> None:
    """A response as server-sent events."""

    async def emit(events: Sequence[bytes]) -> None:
        await stream.write(b"".join(map(sse_frame, events)))

    stream.open()
    try:
        await work.run(emit)
    finally:
        if work.told:
            await stream.end(DONE)


class Opened:
    """A request of which it is known what it builds on and who serves it."""

    __slots__ = ("chain", "date", "digest", "first", "past", "served")

    def __init__(
        self,
        served: Served,
        first: References,
        past: Past,
        chain: Chain,
        digest: str,
        date: str | None,
    ) -> None:
        self.served = served
        self.first = first
        self.past = past
        self.chain = chain
        self.digest = digest
        self.date = date


async def opened(
    services: Services, scope: Scope, body: bytes, *, local: LocalChain | None = None
) -> Opened:
    """Read a request as far as to know that, and fetch what it builds on. Raises ApiError."""
    context = context_of(scope)
    large = len(body) > LARGE_BODY
    first = await asyncio.to_thread(references, body) if large else references(body)
    if not first.model:
        raise ApiError("model: is missing", param="model", code="missing_required_parameter")
    served = services.catalog.find(first.model)
    context.serves(served)
    first = unpacked(services, context.tenant, first)
    past, chain = await services.chains.past(context.tenant, first, local)
    first = await services.chains.recalled(context.tenant, first)
    digest = chain.key or conversation_digest(first.items or ())
    conversation = _digest(first.body.prompt_cache_key) or digest
    context.mode = services.policy.mode(scope, served, conversation)
    date = None
    if services.settings.prompt.date:
        date = await services.dates.of(
            context.tenant, conversation, continues=_continues(first, chain)
        )
    return Opened(served, first, past, chain, digest, date)


def unpacked(services: Services, tenant: str, first: References) -> References:
    """The request with what is inside compacted windows in their place."""
    if first.items is None or not any(isinstance(i.read.item, SealedItem) for i in first.items):
        return first
    items = expanded(first.items, lambda text: services.sealer.open(tenant, text))
    return msgspec.structs.replace(first, items=items)


class Creation:
    """One request for a response. ``request`` is there once it is prepared."""

    def __init__(
        self, services: Services, scope: Scope, *, local: LocalChain | None = None
    ) -> None:
        self._services = services
        self._scope = scope
        self._local = local
        self.request: ResponsesRequest

    async def prepare(self, body: bytes, *, generate: bool = True) -> Work:
        """Everything up to the model. Raises ApiError for what is wrong with the request."""
        services, context = self._services, context_of(self._scope)
        dialect = _dialect(self._scope, services)
        found = await opened(services, self._scope, body, local=self._local)
        policy = prompt_policy(services.settings, found.served, context)
        number = services.new_id()
        tools = await request_tools(services, context, found, number)

        def decode() -> ResponsesRequest:
            return decode_response_request(
                found.first,
                policy=policy,
                date=found.date,
                tenant=context.tenant,
                past=found.past,
                unseal=lambda text: services.sealer.open(context.tenant, text),
                served=tools.served,
            )

        large = len(body) + found.chain.size > LARGE_BODY
        request = self.request = await asyncio.to_thread(decode) if large else decode()
        context.ignored = request.ignored
        context.streamed = context.streamed or request.stream
        aliased = request.turn.names.aliased
        if aliased:
            context.notes["aliased"] = dict(islice(aliased.items(), MAX_ALIASES_LOGGED))
        await check_request(request.turn)
        return Work(
            services,
            context,
            found.served,
            request,
            chain=found.chain,
            digest=found.digest,
            size=len(body),
            dialect=dialect,
            local=self._local,
            generate=generate,
            tools=tools,
            number=number,
        )


async def request_tools(
    services: Services, context: RequestContext, found: Opened, number: str
) -> RequestTools:
    """The tools of a request that the server itself runs. Raises ApiError."""
    named = named_tools(bytes(found.first.body.tools))
    if not named:
        return NO_TOOLS
    size = found.chain.size + sum([len(item.raw) for item in found.first.items or ()])
    if size > LARGE_BODY:
        own, items = await asyncio.to_thread(placed_items, found.first, found.past)
    else:
        own, items = placed_items(found.first, found.past)
    asked = Asked(
        context=context,
        served=found.served,
        include=frozenset(found.first.body.include or ()),
        previous=items[: len(items) - len(own)],
        own=own,
        origin=number,
        functions=context.mode == "standard",
    )
    return await services.tools.open(named, asked)


async def send_followed(
    services: Services, scope: Scope, receive: Receive, send: Send, id: str, *, after: int
) -> None:
    """A stored response's events behind one, as server-sent events."""
    tenant = context_of(scope).tenant

    async def work(stream: EventStream) -> None:
        stream.open()
        async for events in follow(services.records, services.running, tenant, id, after=after):
            if events:
                await stream.write(b"".join(map(sse_frame, events)))
        await stream.end(DONE)

    await serve_events(services, scope, receive, send, work)


def _dialect(scope: Scope, services: Services) -> str:
    wanted = header_of(scope, DIALECT_HEADER)
    if wanted is None:
        return services.settings.responses.reasoning_events
    if wanted not in _DIALECTS:
        raise ApiError(
            f"{DIALECT_HEADER}: expected {' or '.join(_DIALECTS)}, got {wanted[:60]!r}",
            param=DIALECT_HEADER,
            code="invalid_value",
        )
    return wanted


def _continues(first: References, chain: Chain) -> bool:
    """Whether the model has spoken before."""
    if chain.items:
        return True
    return any(
        not isinstance(item.read.item, MessageItem) or item.read.item.role == "assistant"
        for item in first.items or ()
    )


def _digest(key: str | None) -> str:
    if not key:
        return ""
    return blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
