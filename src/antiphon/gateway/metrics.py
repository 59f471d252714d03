"""Metrics for Prometheus: what is counted, under which names, with which labels.

Every label has few values: a model's name counts up to `MAX_MODELS` of them, routes and codes are
our own. docs/operations.md explains each metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from antiphon import __version__
from antiphon.engines.served import EngineHealth
from antiphon.gateway.workers.place import Place

__all__ = ["MAX_MODELS", "OTHER", "Metrics"]

MAX_MODELS: Final = 100
"""Model names with series of their own; an engine that answers to any name has no end of them."""
MAX_TOOLS: Final = 200
"""Tools of the server with series of their own; those of MCP servers are as many as they like."""
OTHER: Final = "other"
_MAX_CODES: Final = 200
_UP: Final = ("up", "idle")
_STATE_TEXT: Final = "1 for the state an engine is in: up, down, starting, idle, failed."

_TURN_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800)
_FIRST_TOKEN: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_RATES: Final = (1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 300, 500, 1000)
_QUEUE: Final = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60)
_LAG: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)

_M = TypeVar("_M", Counter, Histogram)


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, place: Place | None = None) -> None:
        """``place``: one of several workers', which answers for all."""
        self.registry: Final = CollectorRegistry()
        self._shown = self.registry
        self._states: Gauge | None = None
        self._noted: set[tuple[str, str]] = set()
        self._health: Callable[[], Sequence[EngineHealth]] = tuple
        self._models: set[str] = set()
        self._codes: set[str] = set()
        self._tools: set[str] = set()
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self.requests = counter(
            "antiphon_requests",
            "HTTP requests; status 499: the client left before its answer.",
            "route model mode status",
        )
        self.request_seconds = histogram(
            "antiphon_request_seconds",
            "From the first byte of a request to the last of its answer.",
            "route mode",
            _TURN_SECONDS,
        )
        self.refused = counter(
            "antiphon_refused", "Requests answered with an error, by its code.", "code"
        )
        self.ignored = counter(
            "antiphon_ignored_parameters", "Request parameters that had no effect.", ""
        )
        self.turns = counter(
            "antiphon_turns",
            "Turns, by how they ended: stop, length, tool_calls, error, cancelled.",
            "model mode finish",
        )
        self.turn_seconds = histogram(
            "antiphon_turn_seconds",
            "From a place to run in to the end of the turn.",
            "model mode",
            _TURN_SECONDS,
        )
        self.first_token = histogram(
            "antiphon_time_to_first_token_seconds",
            "From a place to run in to the first piece of reasoning, text or call.",
            "model mode",
            _FIRST_TOKEN,
        )
        self.rate = histogram(
            "antiphon_tokens_per_second",
            "Completion tokens per second of a turn, after its first.",
            "model mode",
            _RATES,
        )
        self.tokens = counter(
            "antiphon_tokens",
            "Tokens: prompt, of which cached; and by channel analysis, commentary, final.",
            "model mode channel",
        )
        self.recoveries = counter(
            "antiphon_recoveries", "Malformed output that was mended, by code.", "model code"
        )
        self.tool_calls = counter(
            "antiphon_tool_calls",
            "Tool calls, by what their arguments were: valid, repaired, raw, custom, incomplete.",
            "model mode arguments",
        )
        self.server_tool_calls = counter(
            "antiphon_server_tool_calls",
            "Calls of tools that the server runs: ok, failed, timeout, cancelled.",
            "tool ended",
        )
        self.server_tool_seconds = histogram(
            "antiphon_server_tool_seconds",
            "How long such a call took, a wait for an interpreter included.",
            "tool",
            _TURN_SECONDS,
        )
        self.queue_seconds = histogram(
            "antiphon_queue_seconds", "How long a turn waited for a place.", "", _QUEUE
        )
        self.running = gauge("antiphon_running_turns", "Turns that have a place.")
        self.waiting = gauge("antiphon_waiting_turns", "Turns in the queue.")
        self.lag = histogram(
            "antiphon_event_loop_lag_seconds",
            "How late the event loop's timers fire, sampled.",
            "",
            _LAG,
        )
        self._gauge("antiphon_workers", "Processes that serve.").set(1)
        self.reloads = counter("antiphon_reloads", "Reloads of settings and keys.", "result")
        if place is not None:
            self._share(place)
        info = Info("antiphon_build", "The version that runs.", registry=self._shown)
        info.info({"version": __version__})
        if place is None:
            ProcessCollector(registry=self.registry)

    def watch_engines(self, health: Callable[[], Sequence[EngineHealth]]) -> None:
        """Report what ``health`` says whenever metrics are read."""
        if self._states is None:
            self.registry.register(_Engines(health))
        else:
            self._health = health
            self.note_engines()

    def note_engines(self) -> None:
        """Let the other workers know how this one's engines are."""
        if self._states is None:
            return
        now: set[tuple[str, str]] = {(e.name, e.state) for e in self._health()}
        for labels in self._noted - now:
            self._states.labels(*labels).set(0)
        for labels in now - self._noted:
            self._states.labels(*labels).set(1)
        self._noted = now

    def model(self, name: str | None) -> str:
        """The label for a model's name."""
        if not name:
            return ""
        return _bounded(name, self._models, MAX_MODELS)

    def tool(self, name: str) -> str:
        """The label for a tool of the server's."""
        return _bounded(name, self._tools, MAX_TOOLS)

    def code(self, code: str | None) -> str:
        """The label for an error's or recovery's code."""
        return _bounded(code or OTHER, self._codes, _MAX_CODES)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it as text, in the format that an Accept header asks for, and its content type."""
        self.note_engines()
        encode, kind = choose_encoder(accept)
        return encode(self._shown), kind

    def _share(self, place: Place) -> None:
        from antiphon.gateway.workers.metrics import ENGINE_STATES, SummedMetrics

        self._shown = CollectorRegistry()
        self._shown.register(SummedMetrics(place.folder, lambda state: state in _UP))
        self._states = Gauge(
            ENGINE_STATES,
            _STATE_TEXT,
            ("engine", "state"),
            registry=self.registry,
            multiprocess_mode="liveall",
        )

    def _counter(self, name: str, text: str, labels: str) -> Counter:
        return _quick(Counter(name, text, labels.split(), registry=self.registry))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, text: str, labels: str, buckets: Iterable[float]) -> Histogram:
        return _quick(
            Histogram(name, text, labels.split(), buckets=tuple(buckets), registry=self.registry)
        )


def _quick(metric: _M) -> _M:
    """``metric``, which remembers the series it was asked for: a request asks for ten, and finding
    one takes longer than counting in it.
    """
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric


class _Engines(Collector):
    """The engines as they are when somebody looks."""

    def __init__(self, health: Callable[[], Sequence[EngineHealth]]) -> None:
        self._health = health

    def describe(self) -> Iterable[Metric]:
        return (_engine_up(), _engine_state())

    def collect(self) -> Iterator[Metric]:
        up, states = _engine_up(), _engine_state()
        for engine in self._health():
            up.add_metric((engine.name,), float(engine.state in _UP))
            states.add_metric((engine.name, engine.state), 1.0)
        yield up
        yield states


def _engine_up() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "antiphon_engine_up",
        "1 for an engine that is up, or would start with a request.",
        labels=("engine",),
    )


def _engine_state() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "antiphon_engine_state",
        _STATE_TEXT,
        labels=("engine", "state"),
    )


def _bounded(name: str, known: set[str], limit: int) -> str:
    if name not in known:
        if len(known) >= limit:
            return OTHER
        known.add(name)
    return name
