"""Metrics: what is counted, and that their page is complete."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.gateway.governing import LogLines, Model, answering, chat
from tests.gateway.serving import Gateway, OneModel, StepEngine, final, until

from antiphon.errors import EngineError
from antiphon.gateway.metrics import MAX_MODELS, OTHER, Metrics
from antiphon.settings.model import LimitSettings, Settings
from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, START
from antiphon.vocab.tokenizer import default_tokenizer

ROOT = Path(__file__).parents[2]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def thoughts(text: str = "Thinking about it.") -> list[int]:
    encode = default_tokenizer().encode
    return [CHANNEL, *encode("analysis"), MESSAGE, *encode(text), END]


def call(arguments: str, name: str = "get_weather") -> list[int]:
    encode = default_tokenizer().encode
    return [
        CHANNEL,
        *encode(f"commentary to=functions.{name} "),
        CONSTRAIN,
        *encode("json"),
        MESSAGE,
        *encode(arguments),
        CALL,
    ]


def then() -> list[int]:
    return [START, *default_tokenizer().encode("assistant")]


class Read:
    """The samples of a gateway's metrics."""

    def __init__(self, gateway: Gateway) -> None:
        answer = gateway.send("GET", "/metrics")
        assert answer.status == 200
        self.text = answer.body.decode()
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"antiphon_{name}", frozenset(labels.items())))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self.samples if found == f"antiphon_{name}"]


M: dict[str, Any] = {"model": "m", "mode": "harmony"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_is_counted_the_same_whole_and_streamed(stream: bool) -> None:
    engine = StepEngine([*thoughts(), *then(), *final("Hello there.")])
    with Gateway(engine, log=LogLines().log) as gateway:
        chat(gateway, stream=stream)
        read = Read(gateway)
        usage = chat(gateway).json["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert read("turns_total", finish="stop", **M) == 1
    assert read("tokens_total", channel="prompt", **M) == usage["prompt_tokens"]
    assert read("tokens_total", channel="analysis", **M) == reasoning > 0
    assert read("tokens_total", channel="final", **M) == usage["completion_tokens"] - reasoning
    assert read("tokens_total", channel="commentary", **M) is None
    assert read("time_to_first_token_seconds_count", **M) == 1
    assert read("turn_seconds_count", **M) == 1
    assert read("tokens_per_second_count", **M) == 1


def test_requests_are_counted_by_route_model_mode_and_status() -> None:
    with answering() as gateway:
        chat(gateway)
        chat(gateway, temperature="hot")
        gateway.send("GET", "/v1/models/m")
        gateway.send("GET", "/v1/models/unknown-model")
        gateway.send("GET", "/some/path/of/a/scanner")
        gateway.send("POST", "/v1/chat/completions", {"model": "secret-name", "messages": []})
        read = Read(gateway)
    route = "/v1/chat/completions"
    assert read("requests_total", route=route, status="200", **M) == 1
    assert read("requests_total", route=route, status="400", **M) == 1
    none = {"model": "", "mode": ""}
    assert read("requests_total", route=route, status="404", **none) == 1
    assert read("requests_total", route="/v1/models/{id}", status="404", **none) == 1
    assert read("requests_total", route="other", status="404", **none) == 1
    assert read("refused_total", code="model_not_found") == 2
    assert "secret-name" not in read.text
    assert "scanner" not in read.text


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [('{"city":"Oslo"}', "valid"), ('{"city":"Oslo"', "repaired"), ("????", "raw")],
)
def test_tool_calls_are_counted_by_what_their_arguments_were(arguments: str, kind: str) -> None:
    tool = {**TOOL, "function": {**TOOL["function"], "parameters": {"type": "object"}}}
    with Gateway(StepEngine(call(arguments)), log=LogLines().log) as gateway:
        chat(gateway, tools=[tool])
        read = Read(gateway)
    assert read("tool_calls_total", arguments=kind, **M) == 1
    assert read("turns_total", finish="tool_calls", **M) == 1
    assert (read("tokens_total", channel="commentary", **M) or 0) > 0
    assert read("tokens_total", channel="final", **M) is None


def test_mends_are_counted_by_their_code() -> None:
    encode = default_tokenizer().encode
    twice = [CHANNEL, *encode("final"), CHANNEL, *final("Hi.")]
    with Gateway(StepEngine(twice), log=LogLines().log) as gateway:
        chat(gateway)
        read = Read(gateway)
    assert read("recoveries_total", model="m", code="repeated-channel") == 1


def test_all_choices_of_a_request_are_counted() -> None:
    with answering() as gateway:
        chat(gateway, n=3)
        read = Read(gateway)
    assert read("turns_total", finish="stop", **M) == 3


def test_a_failing_engine_is_counted_as_errors() -> None:
    engine = StepEngine(thoughts(), EngineError("broken"))
    with Gateway(engine, log=LogLines().log) as gateway:
        assert chat(gateway).status == 502
        chat(gateway, stream=True)
        read = Read(gateway)
    assert read("turns_total", finish="error", **M) == 2
    assert read("refused_total", code="engine_error") == 2


def test_what_a_broken_turn_used_is_counted() -> None:
    engine = StepEngine(thoughts("One two three four."), EngineError("broken"))
    with Gateway(engine, log=LogLines().log) as gateway:
        chat(gateway)
        read = Read(gateway)
    assert (read("tokens_total", channel="prompt", **M) or 0) > 20


def test_refusals_and_ignored_parameters_are_counted() -> None:
    settings = Settings(limits=LimitSettings(requests_per_minute=1))
    with answering(settings=settings) as gateway:
        chat(gateway, no_such_parameter=1, nor_this=2)
        chat(gateway)
        read = Read(gateway)
    assert read("ignored_parameters_total") == 2
    assert read("refused_total", code="rate_limit_exceeded") == 1


def test_engines_are_shown_as_they_are_now() -> None:
    engine = StepEngine(final("Hi."))
    catalog = OneModel(engine)
    with Gateway(engine, catalog=catalog, log=LogLines().log) as gateway:
        up = Read(gateway)
        catalog.state = "down"
        down = Read(gateway)
    assert up("engine_up", engine="step engine") == 1
    assert up("engine_state", engine="step engine", state="up") == 1
    assert down("engine_up", engine="step engine") == 0
    assert down("engine_state", engine="step engine", state="down") == 1
    assert up("build_info", version=up.labels("build_info")[0]["version"]) == 1


def test_the_event_loops_lag_is_measured() -> None:
    with answering() as gateway:
        until(lambda: Read(gateway)("event_loop_lag_seconds_count"))


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    with answering() as gateway:
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = gateway.send("GET", "/metrics", None, accept)
        plain = gateway.send("GET", "/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain")


def test_names_that_clients_choose_make_no_end_of_series() -> None:
    metrics = Metrics()
    labels = [metrics.model(f"model-{n}") for n in range(MAX_MODELS * 2)]
    assert len(set(labels)) == MAX_MODELS + 1
    assert labels[-1] == OTHER
    assert metrics.model("model-0") == "model-0"
    assert len({metrics.code(f"code-{n}") for n in range(10_000)}) < 1000


def test_two_applications_share_no_metrics() -> None:
    with answering() as first, answering() as second:
        chat(first)
        assert Read(second)("turns_total", finish="stop", **M) is None


class Passing:
    """An engine's own route, byte by byte."""

    def __init__(self, kind: str, *pieces: bytes | Exception, status: int = 200) -> None:
        self.kind, self.pieces, self.status = kind, pieces, status

    @asynccontextmanager
    async def open(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Any, None]:
        async def pieces() -> AsyncGenerator[bytes, None]:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece

        kind = {"content-type": self.kind}
        yield SimpleNamespace(status=self.status, headers=kind, pieces=pieces)


def passed(passing: Passing, **body: Any) -> tuple[Read, Any]:
    from antiphon.settings.model import ModelSettings

    engine = StepEngine()
    catalog = Model(engine, ModelSettings(mode="standard"), passthrough=passing)
    with Gateway(engine, catalog=catalog, log=LogLines().log) as gateway:
        answer = chat(gateway, **body)
        return Read(gateway), answer


S: dict[str, Any] = {"model": "m", "mode": "standard"}
WHOLE = (
    b'{"choices":[{"index":0,"finish_reason":"tool_calls","message":{"tool_calls":['
    b'{"function":{"name":"f","arguments":"{}"}},{"function":{"name":"f","arguments":"{"}}]}}],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":7,'
    b'"completion_tokens_details":{"reasoning_tokens":3}}}'
)


def test_the_other_arm_is_counted_by_the_same_metrics() -> None:
    read, answer = passed(Passing("application/json", WHOLE[:40], WHOLE[40:]))
    assert answer.body == WHOLE
    assert read("turns_total", finish="tool_calls", **S) == 1
    assert read("tool_calls_total", arguments="valid", **S) == 1
    assert read("tool_calls_total", arguments="raw", **S) == 1
    assert read("tokens_total", channel="prompt", **S) == 11
    assert read("tokens_total", channel="analysis", **S) == 3
    assert read("tokens_total", channel="final", **S) == 4
    assert read("time_to_first_token_seconds_count", **S) == 1


def test_a_passed_stream_is_read_along() -> None:
    frames = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":'
        b'{"name":"f","arguments":"{\\"a\\""}}]}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":'
        b'{"arguments":":1}"}}]}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}\n\n'
        b"data: [DONE]\n\n"
    )
    pieces = [frames[n : n + 7] for n in range(0, len(frames), 7)]
    read, answer = passed(Passing("text/event-stream", *pieces), stream=True)
    assert answer.body == frames
    assert read("turns_total", finish="tool_calls", **S) == 1
    assert read("tool_calls_total", arguments="valid", **S) == 1
    assert read("tokens_total", channel="final", **S) == 9


@pytest.mark.parametrize(
    "passing",
    [
        Passing("application/json", b"{{{", b"\xff\xfe"),
        Passing("application/json", b"[" * 100_000),
        Passing("application/json", b'{"choices":3,"usage":"none"}'),
        Passing("application/json", b'{"choices":[{"message":{"tool_calls":[7]}}]}'),
        Passing("text/event-stream", b'data: {"usage": [\n\n', b"\xff"),
        Passing("text/plain", b"hello"),
        Passing("application/json"),
    ],
)
def test_what_is_not_understood_is_passed_on_all_the_same(passing: Passing) -> None:
    read, answer = passed(passing)
    assert answer.body == b"".join(piece for piece in passing.pieces if isinstance(piece, bytes))
    assert read("turns_total", finish="stop", **S) == 1


def test_errors_of_the_other_arm_are_counted_as_errors() -> None:
    read, answer = passed(Passing("application/json", b'{"error":{"message":"no"}}', status=500))
    assert answer.status == 500
    assert read("turns_total", finish="error", **S) == 1
    broken = Passing("text/event-stream", b"data: {}\n\n", EngineError("gone"))
    read, _ = passed(broken, stream=True)
    assert read("turns_total", finish="error", **S) == 1


def test_the_page_lists_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = re.findall(r"^\| `(antiphon_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    metrics = Metrics()
    metrics.watch_engines(lambda: ())
    actual = {}
    for family in metrics.registry.collect():
        if not family.name.startswith("antiphon_"):
            continue
        name = f"{family.name}_{'total' if family.type == 'counter' else 'info'}"
        name = name if family.type in ("counter", "info") else family.name
        collector: Any = metrics.registry._names_to_collectors[family.name]
        labels = set(getattr(collector, "_labelnames", ()))
        actual[name] = (family.type, labels)
    for name, labels in (("engine_up", {"engine"}), ("engine_state", {"engine", "state"})):
        actual[f"antiphon_{name}"] = ("gauge", labels)
    actual["antiphon_build_info"] = ("info", {"version"})
    assert documented == actual
