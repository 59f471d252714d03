"""``POST /v1/completions``: the engine's own raw route, or ours over an engine that has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from starlette.types import Receive, Scope, Send

from antiphon.api.chat.stream import DONE
from antiphon.engines.protocol import Chunk
from antiphon.engines.served import Served
from antiphon.gateway.body import read_json_body
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.hooks import TurnWatch, transcript_comment, watched, with_transcript
from antiphon.gateway.opening import read_opening
from antiphon.gateway.proxy import forward
from antiphon.gateway.rawprompt import RawAnswer, RawRequest, decode_raw
from antiphon.gateway.services import Services
from antiphon.gateway.sse import EventStream
from antiphon.gateway.streaming import serve_events
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["CompletionsRoute"]


class CompletionsRoute:
    """The route."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, context = self._services, context_of(scope)
        body = await read_json_body(scope, receive, services.settings.server)
        opening = read_opening(body)
        served = services.catalog.find(opening.model)
        context.serves(served)
        context.streamed = opening.stream
        if served.passthrough is not None:
            await forward(services, scope, receive, send, served, body)
            return
        request = await asyncio.to_thread(
            decode_raw,
            body,
            capabilities=served.engine.capabilities,
            tokenizer=default_tokenizer(),
        )
        context.ignored = request.ignored
        work = _Work(services, context, served, request, len(body))
        if request.stream:
            await serve_events(services, scope, receive, send, work.stream)
        else:
            answer = await services.lifecycle.run(receive, work.whole(), context.presence)
            await send_json(send, answer)


class _Work:
    """One completion of ours."""

    def __init__(
        self,
        services: Services,
        context: RequestContext,
        served: Served,
        request: RawRequest,
        size: int,
    ) -> None:
        self._services = services
        self._context = context
        self._served = served
        self._completion = request.completion
        self._size = size
        self._answer = RawAnswer(
            id=f"cmpl-{services.new_id()}",
            created=int(services.clock.now().timestamp()),
            request=request,
        )

    async def whole(self) -> bytes:
        async with self._place():
            with watched(self._services.policy.watch(self._context, self._served)) as watch:
                async with aclosing(self._chunks(watch)) as batches:
                    async for chunks in batches:
                        self._answer.feed(chunks)
                return with_transcript(self._answer.body(), watch)

    async def stream(self, stream: EventStream) -> None:
        stream.open()  # Comments go out while it waits for its turn as well.
        async with self._place():
            with watched(self._services.policy.watch(self._context, self._served)) as watch:
                async with aclosing(self._chunks(watch)) as batches:
                    async for chunks in batches:
                        text = self._answer.feed(chunks)
                        if text:
                            await stream.write(self._answer.event(text))
                last = transcript_comment(watch) + self._answer.last_events() + DONE
        await stream.end(last)

    def _place(self) -> AbstractAsyncContextManager[None]:
        return self._services.policy.admit(self._context, self._served, self._size)

    async def _chunks(self, watch: TurnWatch) -> AsyncGenerator[Sequence[Chunk], None]:
        engine, completion = self._served.engine, self._completion
        observer = watch.choice(0)
        observer.prompted(completion.prompt, engine.capabilities.reading, grammar=False)
        async with aclosing(engine.complete(completion)) as batches:
            async for chunks in batches:
                observer.received(chunks)
                yield chunks
