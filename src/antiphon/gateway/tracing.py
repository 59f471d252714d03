"""OpenTelemetry spans, where its API is installed (``antiphon[otel]``); else nothing at all.

The conventions for generative AI are not stable, so every name stands here, once. Which exporter
receives the spans is OpenTelemetry's own configuration (``OTEL_*``), not ours.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from antiphon.api.turn import TurnUsage
from antiphon.gateway.context import RequestContext

__all__ = ["NoTracer", "OtelTracer", "Span", "Tracer", "make_tracer"]

INSTRUMENTATION: Final = "antiphon"
OPERATION: Final = "gen_ai.operation.name"
CHAT: Final = "chat"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
ERROR_TYPE: Final = "error.type"
REQUEST_ID: Final = "antiphon.request_id"
MODE: Final = "antiphon.mode"
ENGINE: Final = "antiphon.engine"
CHOICE: Final = "antiphon.choice"
RECOVERED: Final = "antiphon.recovered"


class Span(Protocol):
    """One turn, while it runs."""

    def first_token(self) -> None: ...

    def end(
        self,
        usage: TurnUsage | None,
        *,
        finish: str | None,
        recovered: tuple[str, ...],
        error: str | None,
    ) -> None: ...


class Tracer(Protocol):
    """Starts spans."""

    def turn(self, context: RequestContext, index: int) -> Span | None: ...


class NoTracer:
    """OpenTelemetry is not installed."""

    def turn(self, context: RequestContext, index: int) -> Span | None:
        return None


class OtelTracer:
    """Spans through OpenTelemetry's API. ``provider``: None for the process's own."""

    def __init__(self, provider: Any = None) -> None:
        from opentelemetry import propagate, trace

        self._trace = trace
        self._extract = propagate.extract
        self._tracer = trace.get_tracer(INSTRUMENTATION, tracer_provider=provider)

    def turn(self, context: RequestContext, index: int) -> Span | None:
        span = self._tracer.start_span(
            f"{CHAT} {context.model}",
            context=self._extract(context.trace),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                OPERATION: CHAT,
                PROVIDER: INSTRUMENTATION,
                REQUEST_MODEL: context.model or "",
                REQUEST_ID: context.request_id,
                MODE: context.mode or "",
                ENGINE: context.engine or "",
                CHOICE: index,
            },
        )
        if not span.is_recording():
            return None
        return _OtelSpan(span, self._trace.Status(self._trace.StatusCode.ERROR))


class _OtelSpan:
    def __init__(self, span: Any, failed: Any) -> None:
        self._span = span
        self._failed = failed

    def first_token(self) -> None:
        self._span.add_event("first_token")

    def end(
        self,
        usage: TurnUsage | None,
        *,
        finish: str | None,
        recovered: tuple[str, ...],
        error: str | None,
    ) -> None:
        span = self._span
        if usage is not None:
            span.set_attribute(INPUT_TOKENS, usage.prompt_tokens)
            span.set_attribute(OUTPUT_TOKENS, usage.completion_tokens)
            span.set_attribute(CACHED_TOKENS, usage.cached_tokens)
            span.set_attribute(REASONING_TOKENS, usage.reasoning_tokens)
        if finish is not None:
            span.set_attribute(FINISH_REASONS, (finish,))
        if recovered:
            span.set_attribute(RECOVERED, recovered)
        if error is not None:
            span.set_attribute(ERROR_TYPE, error)
            span.set_status(self._failed)
        span.end()


def make_tracer() -> Tracer:
    """Spans if OpenTelemetry is installed."""
    try:
        return OtelTracer()
    except ImportError:
        return NoTracer()
