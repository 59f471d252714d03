"""``POST /v1/chat/completions``: a request in, a turn run, its events folded into the answer.

The same events make both answers: `ChatStream` writes them as they come, `ChatFold` as one object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Final

from starlette.types import Receive, Scope, Send

from antiphon.api.chat.request import ChatRequest, decode_chat
from antiphon.api.chat.response import ChatFold
from antiphon.api.chat.served import ServedEvents, search_fields, tool_fields
from antiphon.api.chat.stored import stored_completion, stored_messages
from antiphon.api.chat.stream import ChatStream
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.turn import TurnEvent
from antiphon.engines.served import Served
from antiphon.gateway.body import read_json_body
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.hooks import TurnWatch, transcript_comment, watched, with_transcript
from antiphon.gateway.opening import Opening, given_text, read_opening
from antiphon.gateway.proxy import forward
from antiphon.gateway.servertools.protocol import Asked, NamedTool
from antiphon.gateway.servertools.server import NO_TOOLS, RequestTools, named_tools
from antiphon.gateway.services import Services
from antiphon.gateway.sse import EventStream
from antiphon.gateway.streaming import serve_events
from antiphon.settings.model import Settings
from antiphon.store.records import Item, Record
from antiphon.turn.preflight import check_request

__all__ = ["LARGE_BODY", "ChatRoute"]

LARGE_BODY: Final = 256 * 1024
"""Bodies of more bytes are decoded in a thread, so that other streams do not wait for them."""

MAX_ALIASES_LOGGED: Final = 32


class ChatRoute:
    """The route."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        settings = services.settings
        context = context_of(scope)
        body = await read_json_body(scope, receive, settings.server)
        large = len(body) > LARGE_BODY
        opening = await asyncio.to_thread(read_opening, body) if large else read_opening(body)
        served = services.catalog.find(opening.model)
        context.serves(served)
        context.streamed = opening.stream
        mode = services.policy.mode(scope, served, opening.conversation)
        context.mode = mode
        if mode == "standard":
            key = opening.conversation
            await forward(services, scope, receive, send, served, body, conversation=key)
            return
        tools = await chat_tools(services, context, served, body)
        request = await self._decode(
            settings, context, served, opening, body, large=large, tools=tools
        )
        context.ignored = request.ignored
        aliased = request.turn.names.aliased
        if aliased:
            context.notes["aliased"] = dict(islice(aliased.items(), MAX_ALIASES_LOGGED))
        await check_request(request.turn)
        work = _Work(services, context, served, request, body, tools)
        del body  # A stream may last for hours.
        if not request.stream:
            answer = await services.lifecycle.run(receive, work.answer(), context.presence)
            await send_json(send, answer)
            return
        await serve_events(services, scope, receive, send, work.stream)

    async def _decode(
        self,
        settings: Settings,
        context: RequestContext,
        served: Served,
        opening: Opening,
        body: bytes,
        *,
        large: bool,
        tools: RequestTools,
    ) -> ChatRequest:
        date = None
        if settings.prompt.date:
            date = await self._services.dates.of(
                context.tenant, opening.conversation, continues=opening.continues
            )
        policy = prompt_policy(settings, served, context)

        def decode() -> ChatRequest:
            return decode_chat(
                body, policy=policy, date=date, tenant=context.tenant, served=tools.served
            )

        return await asyncio.to_thread(decode) if large else decode()


class _Work:
    """One harmony request, from a place to run in to its last event."""

    def __init__(
        self,
        services: Services,
        context: RequestContext,
        served: Served,
        request: ChatRequest,
        body: bytes,
        tools: RequestTools = NO_TOOLS,
    ) -> None:
        self._tools = tools
        self._services = services
        self._context = context
        self._served = served
        self._request = request
        self._size = len(body)
        self._kept = body if request.store else b""
        self._id = f"chatcmpl-{services.new_id()}"
        self._created = int(services.clock.now().timestamp())
        self._visibility = visibility(services.settings, context)

    async def answer(self) -> bytes:
        """The JSON of the whole answer."""
        fold = self._fold()
        services, context = self._services, self._context
        async with services.policy.admit(context, self._served, self._size):
            with watched(services.policy.watch(context, self._served)) as watch:
                await self._run(watch, fold.feed)
                if self._request.store:
                    await self._keep(fold)
                return with_transcript(fold.body(), watch)

    def _fold(self) -> ChatFold:
        return ChatFold.for_request(
            self._request, id=self._id, created=self._created, visibility=self._visibility
        )

    async def _keep(self, fold: ChatFold) -> None:
        """Keep the completion with the messages it answers. Raises StoreError."""
        record = Record(
            kind="chat.completion",
            id=self._id,
            created=self._created,
            status="completed",
            body=stored_completion(fold.body(), self._request.metadata),
        )
        messages = [Item(item.id, item.body) for item in stored_messages(self._kept, self._id)]
        await self._services.records.put(self._context.tenant, record, messages)

    async def stream(self, stream: EventStream) -> None:
        """The answer as events."""
        writer = ChatStream.for_request(
            self._request, id=self._id, created=self._created, visibility=self._visibility
        )
        fold = self._fold() if self._request.store else None
        services, context = self._services, self._context
        stream.open()  # Comments go out while it waits for its turn as well.
        async with services.policy.admit(context, self._served, self._size):
            with watched(services.policy.watch(context, self._served)) as watch:
                await self._run(watch, fold.feed if fold else None, writer.feed, stream)
                if fold is not None:
                    await self._keep(fold)
                last = transcript_comment(watch) + writer.finish()
        await stream.end(last)

    async def _run(
        self,
        watch: TurnWatch,
        fold: Callable[[int, Sequence[TurnEvent]], object] | None,
        written: Callable[[int, Sequence[TurnEvent]], bytes] | None = None,
        stream: EventStream | None = None,
    ) -> None:
        """Run the turn, or the turns. Their events go to the watch, the fold and the client."""
        request = self._request
        shown = None
        if self._tools:
            shown = ServedEvents(request.citing, request.view(self._visibility))

        def take(events: Sequence[TurnEvent], index: int = 0) -> bool:
            watch.events(index, events)
            if shown is not None:
                events = shown.feed(events)
            if fold is not None:
                fold(index, events)
            data = written(index, events) if written is not None else b""
            return not data or stream is None or stream.push(data)

        runner = self._services.runner(self._served)
        if request.n == 1:
            observer = watch.choice(0)
            if self._tools:
                turn = self._tools.run(runner, request.turn, observer=observer)
            else:
                turn = runner.run(request.turn, observer=observer, sink=take)
            async with aclosing(turn) as batches:
                async for events in batches:
                    if not (events and take(events)) and stream is not None:
                        await stream.flush()
            return
        from antiphon.turn.choices import run_choices

        turns = run_choices(runner, request.turn, request.n, observe=watch.choice)
        async with aclosing(turns) as several:
            async for index, events in several:
                if not (events and take(events, index)) and stream is not None:
                    await stream.flush()


async def chat_tools(
    services: Services, context: RequestContext, served: Served, body: bytes
) -> RequestTools:
    """The tools of a chat that the server itself runs. Raises ApiError."""
    if b'"web_search' not in body and b'"code_interpreter"' not in body:
        return NO_TOOLS
    raw, options = tool_fields(body)
    named = [tool for tool in named_tools(raw) if tool.type != "mcp"]
    if isinstance(options, dict) and not any(tool.type.startswith("web_") for tool in named):
        named.append(NamedTool(-1, "web_search_options", "web_search", search_fields(options)))
    if not named:
        return NO_TOOLS
    asked = Asked(context=context, served=served, given=given_text(body))
    return await services.tools.open(named, asked)


def prompt_policy(settings: Settings, served: Served, context: RequestContext) -> PromptPolicy:
    """What holds for a prompt where the request is silent: the key, the model, the server."""
    prompt = settings.prompt
    key_effort = context.key.effort if context.key is not None else None
    return PromptPolicy(
        effort=key_effort or served.settings.effort or prompt.effort,
        effort_line=prompt.effort_line,
        identity=prompt.identity,
        knowledge_cutoff=prompt.knowledge_cutoff,
        on_media=prompt.on_media,
        responses_on_media=settings.responses.on_media,
        summaries=settings.responses.summaries,
        strict_parameters=settings.strict_parameters,
        max_choices=settings.turn.choices,
        max_stop_strings=settings.turn.stop_strings,
    )


def visibility(settings: Settings, context: RequestContext) -> Visibility:
    """What this caller may see: the key's word, else the server's."""
    wanted, key = settings.visibility, context.key
    reasoning, preambles = wanted.reasoning, wanted.preambles
    if key is not None:
        reasoning = reasoning if key.show_reasoning is None else key.show_reasoning
        preambles = key.preambles or preambles
    return Visibility(
        reasoning=reasoning, preambles=preambles, reasoning_fields=wanted.reasoning_fields
    )
