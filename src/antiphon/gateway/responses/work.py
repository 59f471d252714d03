"""One response from its place in the queue to its last event, stored on the way if it is to be.

The event that ends a stored response is sent when its record is committed; a record that cannot be
written makes it a failure. Everything before is written beside the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import count
from typing import Final

import msgspec

from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.responses.request import ResponsesRequest
from antiphon.api.responses.stored import stored_items
from antiphon.api.responses.stream import ResponseStream
from antiphon.api.responses.usage import param_of
from antiphon.api.turn import TurnEnd, TurnEvent, TurnUsage
from antiphon.engines.served import Served
from antiphon.errors import AntiphonError, StoreError
from antiphon.gateway.chat import visibility
from antiphon.gateway.context import RequestContext
from antiphon.gateway.errors import ClientGoneError, to_api_error
from antiphon.gateway.hooks import TurnWatch, watched, with_transcript
from antiphon.gateway.lifecycle import stopping
from antiphon.gateway.responses.chain import ITEM_DIGITS, Chain, Link, LocalChain
from antiphon.gateway.responses.kept import Beside
from antiphon.gateway.responses.live import Live
from antiphon.gateway.responses.said import Merger, packed_texts
from antiphon.gateway.servertools.server import NO_TOOLS, RequestTools
from antiphon.gateway.services import Services
from antiphon.store.records import UNFINISHED, Item, Record

__all__ = ["Emit", "Work"]

Emit = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes the JSON of events."""

_ENCODE: Final = msgspec.json.Encoder().encode
_NO_TURN: Final = TurnEnd(finish_reason="stop", usage=TurnUsage(completions=0), messages=())
_CONTINUED: Final = ("completed", "incomplete")
"""The statuses of responses that others may build on."""
_CANCELLED: Final = "the response was cancelled"

Batches = AsyncGenerator[Sequence[TurnEvent], None]


class Work:
    """One response. `run` streams it, `answer` gives it whole, `begin_background` does neither."""

    def __init__(
        self,
        services: Services,
        context: RequestContext,
        served: Served,
        request: ResponsesRequest,
        *,
        chain: Chain,
        digest: str,
        size: int,
        dialect: str,
        local: LocalChain | None = None,
        generate: bool = True,
        tools: RequestTools = NO_TOOLS,
        number: str | None = None,
    ) -> None:
        self._services = services
        self._context = context
        self._served = served
        self._request = request
        self._chain = chain
        self._digest = digest
        self._size = size
        self._local = local
        self._generate = generate
        self._tenant = context.tenant
        self._tools = tools
        number = number or services.new_id()
        self.id: Final = f"resp_{number}"
        self._created = int(services.clock.now().timestamp())
        counter = count()

        def item_id() -> str:
            return f"{number}{next(counter):0{ITEM_DIGITS}x}"

        self._shown = visibility(services.settings, context)
        self._stream = ResponseStream.for_request(
            request,
            id=self.id,
            created=self._created,
            new_id=item_id,
            visibility=self._shown,
            dialect="reasoning" if dialect == "reasoning" else "reasoning_text",
            seal=lambda data: services.sealer.seal(context.tenant, data),
            summaries=services.settings.responses.summaries,
        )
        self._item_id = item_id
        self._input = stored_items(request.items, item_id)
        self._encoded = b""
        self._live: Live | None = None
        self.told = False
        """Whether the client was told how it ended."""

    @property
    def response(self) -> bytes:
        """The response object as it is now."""
        return self._stream.response

    # The three ways to be answered.

    async def run(self, emit: Emit) -> bool:
        """Stream it; whether it failed.

        Raises what happens before the first event; later, a failure is the last event.
        """
        services, context = self._services, self._context
        begun = False
        try:
            async with services.policy.admit(context, self._served, self._size):
                begun = await self._begin(emit)
                if begun:
                    with watched(services.policy.watch(context, self._served)) as watch:
                        await self._pump(watch, emit)
            return await self._end(emit, self._stream.finish(now=self._now()))
        except (asyncio.CancelledError, ClientGoneError):
            if begun and services.lifecycle.closed:
                await self._failed(emit, stopping())
            elif begun:
                await self._cancelled()
            raise
        except Exception as error:
            if not begun:
                raise
            return await self._failed(emit, error)
        finally:
            self._let_go()

    async def answer(self) -> bytes:
        """The whole response object. Raises ApiError."""
        services, context, stream = self._services, self._context, self._stream
        events = stream.begin()
        merger = Merger()
        try:
            async with services.policy.admit(context, self._served, self._size):
                with watched(services.policy.watch(context, self._served)) as watch:
                    async with aclosing(self._batches(watch)) as batches:
                        async for batch in batches:
                            if batch:
                                watch.events(0, batch)
                                events += stream.feed(merger.feed(batch))
                    events += stream.feed(merger.rest())
                    events += stream.finish(now=self._now())
                    if self._request.store:
                        await self._keep_whole(events)
                    self._remember()
                    return with_transcript(stream.response, watch)
        except AntiphonError as error:
            raise param_of(as_api_error(error)) from error

    async def begin_background(self) -> Live:
        """Store it and let it run on its own; who wants to see it follows it.

        Raises ApiError 503 if too many do so, and StoreError.
        """
        services, settings = self._services, self._services.settings.responses
        running = services.running
        mine = running.background(self._tenant) if settings.background_per_key else 0
        full = running.background() >= settings.background
        if full or (mine and mine >= settings.background_per_key):
            raise ApiError(
                "Too many background responses run; wait until one has ended.",
                status=503 if full else 429,
                type="server_error" if full else "rate_limit_error",
                code="overloaded" if full else "rate_limit_exceeded",
                retry_after=5.0,
            )
        live = self._live = Live(services.records, self._tenant, self.id)
        live.task = asyncio.ensure_future(_never())  # Counts from now on.
        running.add(live)
        try:
            events = self._stream.enqueue()
            await services.records.put(self._tenant, self._record())
        except BaseException:
            self._let_go()
            raise
        finally:
            live.task.cancel()
        live.add(events)
        lease, self._context.lease = self._context.lease, None

        async def work() -> None:
            try:
                await services.lifecycle.run_until(None, self._in_background())
            except ApiError as error:  # The server stops.
                await self._failed(_nowhere, error)
            finally:
                if lease is not None:
                    await lease.settle()
                self._let_go()

        self._context = _apart(self._context)
        self._context.lease = lease
        live.task = asyncio.ensure_future(work())
        return live

    async def _in_background(self) -> None:
        services, context = self._services, self._context
        try:
            async with services.policy.admit(context, self._served, self._size):
                if not await self._begin(_nowhere):
                    return  # Cancelled, or deleted, while it waited.
                with watched(services.policy.watch(context, self._served)) as watch:
                    await self._pump(watch, _nowhere)
            if context.lease is not None:
                await context.lease.settle()
            await self._end(_nowhere, self._stream.finish(now=self._now()))
        except asyncio.CancelledError:
            if self._live is not None and self._live.cancelled:
                await self._end(_nowhere, self._stream.cancel())
                return
            raise
        except Exception as error:  # noqa: BLE001 - told in the response
            await self._failed(_nowhere, error)

    # Its life.

    async def _begin(self, emit: Emit) -> bool:
        """The first events. False if a background response is gone already."""
        stream = self._stream
        events = stream.begin()
        if self._request.store:
            services = self._services
            record = self._record()
            if self._live is None:
                self._live = Live(services.records, self._tenant, self.id)
                services.running.add(self._live)
                await services.records.put(self._tenant, record)
            elif not await services.records.put(self._tenant, record, over=UNFINISHED):
                return False
            self._live.add(events)
        await emit(events)
        return True

    async def _pump(self, watch: TurnWatch, emit: Emit) -> None:
        stream, live = self._stream, self._live
        async with aclosing(self._batches(watch)) as batches:
            async for batch in batches:
                if not batch:
                    continue
                watch.events(0, batch)
                events = stream.feed(batch)
                if events:
                    if live is not None:
                        live.add(events)
                        await live.relieve()
                    await emit(events)

    async def _batches(self, watch: TurnWatch) -> Batches:
        if not self._generate:
            yield (_NO_TURN,)
            return
        services, served = self._services, self._served
        runner = (
            services.ordinary(served)
            if self._context.mode == "standard"
            else services.runner(served)
        )
        turn, observer = self._request.turn, watch.choice(0)
        if self._tools:
            limit = self._request.max_tool_calls
            running = self._tools.run(runner, turn, observer=observer, max_calls=limit)
        else:
            running = runner.run(turn, observer=observer)
        async with aclosing(running) as batches:
            async for batch in batches:
                yield batch

    async def _end(self, emit: Emit, events: Sequence[bytes]) -> bool:
        """Commit it, then tell. Whether it failed for that."""
        failed = self._stream.status == "failed"
        if self._live is not None:
            events, lost = await self._commit(self._live, events)
            failed = failed or lost
        if not failed:
            self._remember()
        self.told = True
        await emit(events)
        return failed

    async def _commit(self, live: Live, events: Sequence[bytes]) -> tuple[Sequence[bytes], bool]:
        """Write how it ended; the events that say so, and whether it could not be written."""
        services, stream = self._services, self._stream
        try:
            live.add(events[:-1])
            await asyncio.gather(live.flush(), self._encode())
            kept = await services.records.put(self._tenant, self._record(), over=UNFINISHED)
            if not kept:  # Someone cancelled or deleted it in the meantime.
                return stream.cancel(), False
            if stream.status in _CONTINUED:
                await self._add_to_conversation()
        except StoreError as error:
            return stream.fail(as_api_error(error)), True
        finally:
            await live.end()
            services.running.discard(live)
        return events, False

    async def _keep_whole(self, events: Sequence[bytes]) -> None:
        """Write a response that was not streamed. Its events are few: they were merged."""
        records = self._services.records
        await self._encode()
        await records.put(self._tenant, self._record())
        await records.add_events(self._tenant, self.id, 0, events[:-1])
        await self._add_to_conversation()

    async def _encode(self) -> None:
        """The tokens of what was said here, for the next request."""
        if self._context.mode != "standard" and self._stream.status in _CONTINUED:
            self._encoded = await packed_texts(self._request, self._stream.messages)

    async def _add_to_conversation(self) -> None:
        conversation = self._request.conversation
        if conversation is None:
            return
        said = stored_items(self._stream.kept, self._item_id)
        items = [Item(item.id, item.body) for item in (*self._input, *said)]
        await self._services.records.add_items(self._tenant, "conversation", conversation, items)

    async def _failed(self, emit: Emit, error: Exception) -> bool:
        answer = param_of(to_api_error(error, self._context))
        self._context.error = answer.code
        await self._end(emit, self._stream.fail(answer))
        return True

    async def _cancelled(self) -> None:
        """The client has gone: what is stored says so."""
        if self._live is not None and not self._live.ended:
            await self._end(_nowhere, self._stream.cancel())

    def _let_go(self) -> None:
        if self._live is not None:
            self._services.running.discard(self._live)

    def _remember(self) -> None:
        """The chain that ends here, for the next request."""
        if self._stream.status not in _CONTINUED:
            return
        added = (*[item.body for item in self._input], *self._stream.kept)
        chain = self._chain.and_then([Link(added, self._encoded)], self._digest)
        if self._local is not None:
            self._local.put(self.id, chain)
        if self._request.store and self._request.conversation is None:
            self._services.chains.remember(self._tenant, self.id, chain)

    def _record(self) -> Record:
        request, stream = self._request, self._stream
        hidden = b"null"
        if stream.finished and (not self._shown.reasoning or stream.hides):
            hidden = b"[" + b",".join(stream.kept) + b"]"
        beside = Beside(
            background=request.background,
            input=msgspec.Raw(b"[" + b",".join([item.body for item in self._input]) + b"]"),
            output=msgspec.Raw(hidden),
            encoded=self._encoded,
        )
        return Record(
            kind="response",
            id=self.id,
            created=self._created,
            status=stream.status,
            owner="" if stream.finished else self._services.owner,
            parent=request.previous_response_id,
            body=stream.response,
            extra=_ENCODE(beside),
        )

    def _now(self) -> int:
        return int(self._services.clock.now().timestamp())


async def _nowhere(events: Sequence[bytes]) -> None:
    """Nobody listens; those who follow read what is stored."""


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def _apart(context: RequestContext) -> RequestContext:
    """A context for what runs on when its request is over."""
    apart = RequestContext(context.request_id, context.started)
    for name in ("tenant", "who", "key", "operator", "model", "mode", "engine", "trace"):
        setattr(apart, name, getattr(context, name))
    apart.streamed = context.streamed
    return apart
