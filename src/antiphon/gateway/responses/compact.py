"""``POST /v1/responses/compact`` and ``POST /v1/responses/input_tokens``."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.responses.compaction import Compaction, plan_compaction
from antiphon.api.responses.conversations import compaction_body, input_tokens_body
from antiphon.api.responses.request import decode_response_request, references
from antiphon.api.responses.usage import param_of
from antiphon.api.responses.window import pack_window, sealed_item
from antiphon.api.turn import PartEnd, PartKind, PartStart, TurnEnd, TurnRequest, TurnUsage
from antiphon.errors import AntiphonError
from antiphon.gateway.body import read_json_body
from antiphon.gateway.chat import prompt_policy
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.hooks import watched
from antiphon.gateway.responses.create import Opened, opened, request_tools, unpacked
from antiphon.gateway.services import Services

__all__ = ["CompactRoute", "InputTokensRoute"]


class CompactRoute:
    """A conversation made short: what stays, and the model's own summary of the rest, sealed."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, context = self._services, context_of(scope)
        body = await read_json_body(scope, receive, services.settings.server)
        found = await opened(services, scope, body)
        policy = prompt_policy(services.settings, found.served, context)
        plan = await asyncio.to_thread(
            plan_compaction,
            found.first,
            policy=policy,
            date=found.date,
            tenant=context.tenant,
            past=found.past,
            unseal=lambda text: services.sealer.open(context.tenant, text),
        )
        summary, usage = "", TurnUsage(completions=0)
        if plan.turn is not None:
            work = self._summary(scope, found, plan.turn, len(body))
            summary, usage = await services.lifecycle.run(receive, work, context.presence)
        await send_json(send, self._body(context.tenant, plan, summary, usage))

    def _body(self, tenant: str, plan: Compaction, summary: str, usage: TurnUsage) -> bytes:
        services = self._services

        def seal(data: bytes) -> str:
            return services.sealer.seal(tenant, data)

        items = [*plan.before, *plan.after]
        if plan.turn is not None:
            items = [item.body for item in plan.output(summary, new_id=services.new_id, seal=seal)]
        output = [sealed_item(seal(pack_window(items)), services.new_id)]
        created = int(services.clock.now().timestamp())
        return compaction_body(f"resp_{services.new_id()}", created, output, usage)

    async def _summary(
        self, scope: Scope, found: Opened, turn: TurnRequest, size: int
    ) -> tuple[str, TurnUsage]:
        """What the model writes down. Raises ApiError if it writes nothing."""
        services, context = self._services, context_of(scope)
        standard = context.mode == "standard"
        runner = services.ordinary(found.served) if standard else services.runner(found.served)
        texts: list[str] = []
        usage = TurnUsage()
        kind: PartKind | None = None
        try:
            async with services.policy.admit(context, found.served, size):
                with watched(services.policy.watch(context, found.served)) as watch:
                    async with aclosing(runner.run(turn, observer=watch.choice(0))) as batches:
                        async for batch in batches:
                            watch.events(0, batch)
                            for event in batch:
                                if isinstance(event, PartStart):
                                    kind = event.kind
                                elif isinstance(event, PartEnd) and kind is PartKind.ANSWER:
                                    texts.append(event.text)
                                elif isinstance(event, TurnEnd):
                                    usage = event.usage
        except AntiphonError as error:
            raise param_of(as_api_error(error)) from error
        summary = "\n\n".join([text for text in texts if text.strip()])
        if not summary:
            raise ApiError(
                "the model wrote no summary of the conversation",
                status=502,
                type="engine_error",
                code="compaction_failed",
            )
        return summary, usage


class InputTokensRoute:
    """How many tokens a request would be."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, context = self._services, context_of(scope)
        body = await read_json_body(scope, receive, services.settings.server)
        first = await asyncio.to_thread(references, body)
        served = services.catalog.find(first.model)
        context.serves(served)
        first = unpacked(services, context.tenant, first)
        past, chain = await services.chains.past(context.tenant, first)
        first = await services.chains.recalled(context.tenant, first)
        policy = prompt_policy(services.settings, served, context)
        found = Opened(served, first, past, chain, "", None)
        tools = await request_tools(services, context, found, "")
        date = services.clock.now().date().isoformat() if services.settings.prompt.date else None

        def count() -> int:
            from antiphon.turn.prompt import renderer

            request = decode_response_request(
                first,
                policy=policy,
                date=date,
                tenant=context.tenant,
                past=past,
                unseal=lambda text: services.sealer.open(context.tenant, text),
                counting=True,
                served=tools.served,
            )
            context.ignored = request.ignored
            return len(renderer().for_completion(request.turn.conversation))

        await send_json(send, input_tokens_body(await asyncio.to_thread(count)))
