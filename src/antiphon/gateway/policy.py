"""What governs requests, put together: keys, limits, modes, admission, metrics, logs, traces.

The routes see it as `antiphon.gateway.hooks.Policy`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Literal, Protocol

from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.engines.served import EngineHealth, Served
from antiphon.gateway.admission import Admission
from antiphon.gateway.auth import require_model
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.door import (
    METRICS_PATH,
    OPEN_PATHS,
    RAW_HEADER,
    SEAL_PATHS,
    Door,
    Gatekeeper,
    header_of,
)
from antiphon.gateway.keyfile import KeyFile, key_file_path
from antiphon.gateway.logs import Log, bind_request, unbind_request
from antiphon.gateway.metrics import Metrics
from antiphon.gateway.modes import MODE_HEADER, decide
from antiphon.gateway.passed import PassedWatch
from antiphon.gateway.reload import Outcome, Reloadable
from antiphon.gateway.sealed.scope import is_sealed
from antiphon.gateway.trace import TraceFile
from antiphon.gateway.tracing import Tracer, make_tracer
from antiphon.gateway.watch import RequestWatch, Watchers
from antiphon.gateway.workers.place import Place
from antiphon.settings.model import Settings
from antiphon.store.protocol import StateStore

__all__ = ["LAG_SECONDS", "GatewayPolicy", "make_policy"]

LAG_SECONDS: Final = 0.1
"""How often the event loop's lag is measured."""
_MAX_TOLD: Final = 1000
"""Models whose detection is logged; an engine that answers to any name has no end of them."""
_TURN_SCALE: Final = 1000.0
_TICKS_A_NOTE: Final = 10
"""Other workers may know how our engines are, each second."""


class _Clock(Protocol):
    def monotonic(self) -> float: ...
    def now(self) -> datetime: ...


class GatewayPolicy:
    """One application's policy."""

    def __init__(
        self,
        live: Reloadable,
        *,
        store: StateStore,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        log: Log | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        trace: TraceFile | None = None,
        place: Place | None = None,
    ) -> None:
        self.live: Final = live
        self.metrics: Final = metrics or Metrics()
        self.log: Final = log or Log(live.settings.log)
        self.admission: Final = Admission(lambda: live.settings.limits, clock=clock)
        self._gatekeeper = Gatekeeper(live=live, store=store, now=now)
        self._clock = clock
        self._trace = trace
        self._place = place
        self._to = Watchers(self.metrics, self.log, tracer or make_tracer(), clock, trace)
        self._told: set[str] = set()
        self._lag: asyncio.TimerHandle | None = None
        self._ticks = 0
        live.on_change(self._changed)
        live.on_report(self._reported)

    # For the application.

    def layers(self) -> Sequence[Middleware]:
        return (Middleware(Door, gatekeeper=self._gatekeeper),)

    def routes(self) -> Sequence[BaseRoute]:
        return (Route(METRICS_PATH, _MetricsRoute(self.metrics), methods=["GET"]),)

    async def reload(self, apply: Callable[[Settings], Awaitable[None]]) -> bool:
        """`antiphon.gateway.reload.Reloadable.reload`."""
        return await self.live.reload(apply)

    def opened(self, health: Callable[[], Sequence[EngineHealth]]) -> None:
        """The server starts, in the event loop that it will run in."""
        self.metrics.watch_engines(health)
        self._tick(asyncio.get_running_loop())

    def closed(self) -> None:
        """The server has ended."""
        if self._lag is not None:
            self._lag.cancel()
            self._lag = None
        if self._trace is not None:
            self._trace.close()

    @property
    def has_keys(self) -> bool:
        """Whether there are API keys, or one is asked for anyway."""
        return bool(self.live.keys) or self.live.keys_required

    def tools_opened(self, offered: Sequence[str]) -> None:
        """The server runs these tools for its clients from now on."""
        has_keys = self.has_keys
        write = self.log.info if has_keys or not offered else self.log.warning
        why = None if has_keys else "no request has an API key: make one with 'antiphon keys add'"
        fields = {"offered": list(offered), "why": why}
        write(
            "server_tools", **{name: value for name, value in fields.items() if value is not None}
        )

    def tool_ran(self, context: RequestContext, name: str, ended: str, seconds: float) -> None:
        """A call of one of them is over."""
        label = self.metrics.tool(name)
        self.metrics.server_tool_calls.labels(label, ended).inc()
        self.metrics.server_tool_seconds.labels(label).observe(seconds)
        calls = context.notes.get("server_tool_calls", 0)
        context.notes["server_tool_calls"] = calls + 1
        self.log.info(
            "server_tool",
            request_id=context.request_id,
            key=context.tenant,
            model=context.model,
            tool=label,
            ended=ended,
            ms=round(seconds * _TURN_SCALE, 1),
        )

    def finished(self, scope: Scope, context: RequestContext) -> None:
        """A request is over, whatever became of it."""
        seconds = self._clock() - context.started
        route = _route(scope)
        mode = context.mode or ""
        metrics = self.metrics
        metrics.requests.labels(
            route, metrics.model(context.model), mode, str(context.status)
        ).inc()
        metrics.request_seconds.labels(route, mode).observe(seconds)
        if context.error is not None:
            metrics.refused.labels(metrics.code(context.error)).inc()
        if context.ignored:
            metrics.ignored.inc(len(context.ignored))
        path, sealed = scope["path"], is_sealed(scope)
        quiet = path in OPEN_PATHS or path == METRICS_PATH
        if path in SEAL_PATHS and not sealed and context.error is None:
            quiet = context.status == 200  # The request inside has a line of its own.
        write = self.log.warning if context.status >= 500 else self.log.info
        if quiet and context.status < 500:
            write = self.log.debug
        fields = {
            "request_id": context.request_id,
            "method": scope.get("method", "GET"),
            "route": route,
            "status": context.status,
            "ms": round(seconds * _TURN_SCALE, 1),
            "key": context.tenant,
            "model": context.model,
            "mode": context.mode,
            "engine": context.engine,
            "stream": context.streamed or None,
            "sealed": sealed or None,
            "error": context.error,
            "ignored": list(context.ignored) or None,
            **context.notes,
        }
        write(
            "request", **{name: value for name, value in fields.items() if value not in (None, "")}
        )

    # For the routes.

    @asynccontextmanager
    async def message(
        self, scope: Scope, context: RequestContext, size: int
    ) -> AsyncGenerator[None, None]:
        tokens = bind_request(context.request_id)
        try:
            self._gatekeeper.identify(scope, context)
            await self._gatekeeper.charge(context, size)
            yield
        except ApiError as error:
            context.status = context.status or error.status
            context.error = context.error or error.code
            raise
        finally:
            unbind_request(tokens)
            if context.lease is not None:
                await context.lease.settle()
            self.finished(scope, context)

    def mode(
        self, scope: Scope, served: Served, conversation: str
    ) -> Literal["harmony", "standard"]:
        context = context_of(scope)
        self._tell(served)
        require_model(context.key, _names(served))
        decision = decide(
            model=served.name,
            gpt_oss=served.gpt_oss,
            has_standard=served.passthrough is not None,
            header=header_of(scope, MODE_HEADER),
            key=context.key,
            settings=served.settings,
            server=self.live.settings.mode,
            conversation=conversation,
        )
        context.notes["why"] = decision.reason
        return decision.mode

    @asynccontextmanager
    async def admit(
        self, context: RequestContext, served: Served, body_bytes: int
    ) -> AsyncGenerator[None, None]:
        require_model(context.key, _names(served))
        limit = None if context.key is None else context.key.concurrent
        if limit is not None and self._place is not None:
            limit = self._place.portion(limit)
        admission, asked = self.admission, self._clock()
        ticket = admission.ask(context.who, limit=limit)
        try:
            self._gauge()
            await ticket.wait()
            waited = self._clock() - asked
            self.metrics.queue_seconds.observe(waited)
            if waited * _TURN_SCALE >= 1:
                context.notes["queued_ms"] = round(waited * _TURN_SCALE, 1)
            self._gauge()
            yield
        finally:
            ticket.leave()
            self._gauge()

    def watch(self, context: RequestContext, served: Served) -> RequestWatch:
        return RequestWatch(self._to, context)

    def watch_passed(self, context: RequestContext, served: Served) -> PassedWatch:
        if context.raw:
            raise ApiError(
                "A request that is passed through has no raw transcript.",
                param=RAW_HEADER,
                code="raw_not_possible",
            )
        return PassedWatch(self._to, context)

    # Inside.

    def _gauge(self) -> None:
        self.metrics.running.set(self.admission.running)
        self.metrics.waiting.set(self.admission.waiting)

    def _tell(self, served: Served) -> None:
        if served.name not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(served.name)
            self.log.info(
                "detected",
                model=served.name,
                engine=served.engine.name,
                gpt_oss=served.gpt_oss,
                why="; ".join(served.reasons),
            )

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float | None = None) -> None:
        now = loop.time()
        if due is not None:
            self.metrics.lag.observe(max(0.0, now - due))
        self._ticks += 1
        if self._ticks % _TICKS_A_NOTE == 0:
            self.metrics.note_engines()
        at = now + LAG_SECONDS
        self._lag = loop.call_at(at, self._tick, loop, at)

    def _changed(self, settings: Settings) -> None:
        self.log.configure(settings.log)
        self.admission.wake()

    def _reported(self, outcome: Outcome, text: str) -> None:
        self.metrics.reloads.labels(outcome).inc()
        (self.log.info if outcome == "ok" else self.log.error)("reload", why=text)


def make_policy(
    settings: Settings,
    *,
    store: StateStore,
    clock: _Clock,
    read: Callable[[], Settings] | None = None,
    log: Log | None = None,
    place: Place | None = None,
) -> GatewayPolicy:
    """The policy that the settings describe; ``place`` is one of several workers'.

    Raises SettingsError if the keys cannot be read, or the trace file not be written.
    """
    live = Reloadable(
        settings,
        key_file=KeyFile(key_file_path(settings.keys.file, os.environ)),
        read=read,
        clock=clock.monotonic,
    )
    return GatewayPolicy(
        live,
        store=store,
        clock=clock.monotonic,
        now=clock.now,
        log=log,
        metrics=Metrics(place),
        place=place,
        trace=None if settings.log.trace is None else TraceFile(settings.log.trace),
    )


def _names(served: Served) -> tuple[str, ...]:
    return (served.name, *served.settings.aliases)


class _MetricsRoute:
    """``GET /metrics``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, kind = self._metrics.render(header_of(scope, "accept") or "")
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


_ROUTES: Final = frozenset(
    {
        *SEAL_PATHS,
        "/health",
        "/metrics",
        "/openapi.json",
        "/ready",
        "/rerank",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/conversations",
        "/v1/embeddings",
        "/v1/models",
        "/v1/rerank",
        "/v1/responses",
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v1/score",
    }
)
_FAMILIES: Final = {
    "/v1/containers/": "/v1/containers/{id}",
    "/v1/models/": "/v1/models/{id}",
    "/v1/responses/": "/v1/responses/{id}",
    "/v1/conversations/": "/v1/conversations/{id}",
    "/v1/chat/completions/": "/v1/chat/completions/{id}",
}


def _route(scope: Scope) -> str:
    """The route's name for labels: paths are the client's to choose."""
    path: str = scope["path"]
    if path in _ROUTES:
        return path
    return next((name for start, name in _FAMILIES.items() if path.startswith(start)), "other")
