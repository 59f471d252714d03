"""OpenTelemetry: one span a turn, in the trace that the request belongs to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from tests.gateway.governing import LogLines, chat
from tests.gateway.serving import Gateway, StepEngine, final

from antiphon.errors import EngineError
from antiphon.gateway import tracing
from antiphon.gateway.policy import GatewayPolicy
from antiphon.gateway.reload import Reloadable
from antiphon.gateway.services import system_clock
from antiphon.settings.model import Settings
from antiphon.store.memory import MemoryStore

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def spans(engine: StepEngine, headers: dict[str, str], **body: Any) -> list[Any]:
    exporter = in_memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    policy = GatewayPolicy(
        Reloadable(Settings()),
        store=MemoryStore(),
        clock=system_clock.monotonic,
        now=system_clock.now,
        log=LogLines().log,
        tracer=tracing.OtelTracer(provider),
    )
    with Gateway(engine, policy=policy) as gateway:
        chat(gateway, headers, **body)
    provider.shutdown()
    return list(exporter.get_finished_spans())


def test_a_turn_is_a_span_of_its_requests_trace() -> None:
    (span,) = spans(StepEngine(final("Hi.")), {"traceparent": PARENT, "x-request-id": "r1"})
    assert span.name == "chat m"
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    told = dict(span.attributes)
    assert told[tracing.REQUEST_ID] == "r1"
    assert told[tracing.REQUEST_MODEL] == "m"
    assert told[tracing.MODE] == "harmony"
    assert told[tracing.OUTPUT_TOKENS] > 0
    assert told[tracing.INPUT_TOKENS] > 0
    assert told[tracing.FINISH_REASONS] == ("stop",)
    assert [event.name for event in span.events] == ["first_token"]
    assert span.status.is_ok or span.status.is_unset


def test_each_choice_is_a_span() -> None:
    found = spans(StepEngine(final("Hi.")), {}, n=3)
    assert sorted(dict(span.attributes)[tracing.CHOICE] for span in found) == [0, 1, 2]


def test_a_turn_that_fails_is_an_error() -> None:
    (span,) = spans(StepEngine(EngineError("gone")), {})
    assert dict(span.attributes)[tracing.ERROR_TYPE] == "engine_error"
    assert not span.status.is_ok
    assert not span.status.is_unset


def test_a_damaged_trace_header_starts_a_trace_of_its_own() -> None:
    (span,) = spans(StepEngine(final("Hi.")), {"traceparent": "nonsense"})
    assert span.parent is None


def test_without_opentelemetry_there_are_no_spans() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from antiphon.gateway.tracing import NoTracer, make_tracer\n"
        "assert isinstance(make_tracer(), NoTracer)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_gateway_does_not_load_opentelemetry_to_be_imported() -> None:
    code = (
        "import sys, antiphon.gateway.app\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
