"""``antiphon serve --workers``: several processes that are one server, and stay one."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.api.responses_grammar import check_events, read_sse
from tests.gateway.test_app_serve import WAIT, Served, run, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no workers"),
]

SLOW = [
    {
        "emit": "<|channel|>analysis<|message|>" + "One two three. " * 20 + "<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Done.<|return|>",
        "delay_ms": 40,
    }
]
HELLO = {"model": "m", "input": "What is 2+2?"}


@contextmanager
def workers(folder: Path, *arguments: str, count: int = 3, **extra: str) -> Iterator[Served]:
    given = ("--workers", str(count), "--engine", "scripted", *arguments)
    store = ("--set", f"store.url=sqlite:{folder / 'store.db'}")
    with serving(folder / "home", *given, *store, **extra) as served:
        yield served


def slow_trace(folder: Path) -> str:
    trace = folder / "slow.jsonl"
    trace.write_text("\n".join(map(json.dumps, SLOW)), encoding="utf-8")
    return f"scripted:{trace}"


def until(condition: Callable[[], Any]) -> Any:
    """What ``condition`` says once it is true."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to be")


class Kept:
    """A connection that is kept, so that it stays with the worker that accepted it."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
        self.worker: int = self.ask("GET", "/health")["worker"]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json", **headers}
        self.connection.request(method, path, data, headers)
        answer = self.connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def stream(self) -> http.client.HTTPResponse:
        """A response that has begun to be streamed."""
        body = json.dumps({**HELLO, "stream": True})
        self.connection.request("POST", "/v1/responses", body, {"content-type": "application/json"})
        answer = self.connection.getresponse()
        assert answer.readline() == b"event: response.created\n"
        return answer


@contextmanager
def one_to_each(served: Served, count: int) -> Iterator[list[Kept]]:
    """A connection to each worker, by number."""
    found: dict[int, Kept] = {}
    spare = []
    try:
        deadline = time.monotonic() + WAIT
        while len(found) < count and time.monotonic() < deadline:
            kept = Kept(served.port)
            if found.setdefault(kept.worker, kept) is not kept:
                spare.append(kept)
        yield [found[number] for number in range(count)]
    finally:
        for kept in (*found.values(), *spare):
            kept.connection.close()


def pids(metrics: str) -> set[str]:
    return set(re.findall(r'^process_start_time_seconds\{worker="(\w+)"\}', metrics, re.MULTILINE))


def value(metrics: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def children(of: int) -> list[int]:
    """Processes that ``of`` started."""
    threads = Path(f"/proc/{of}/task").glob("*/children")
    return [int(pid) for thread in threads for pid in thread.read_text(encoding="ascii").split()]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_metrics_are_the_sum_whoever_is_asked_and_never_go_down(tmp_path: Path) -> None:
    asked = 'antiphon_requests_total{mode="harmony",model="m",route="/v1/responses",status="200"}'
    with workers(tmp_path) as served, one_to_each(served, 3) as each:
        for kept in each:
            for _ in range(2):
                kept.ask("POST", "/v1/responses", HELLO)
        # A request is counted once its answer has gone out, so a client may ask before that.
        until(lambda: value(each[0].ask("GET", "/metrics"), asked) == 6)
        answers = [kept.ask("GET", "/metrics") for kept in each]
        for metrics in answers:
            assert value(metrics, asked) == 6
            assert value(metrics, "antiphon_workers") == 3
            assert value(metrics, "antiphon_running_turns") == 0
            assert value(metrics, 'antiphon_turn_seconds_count{mode="harmony",model="m"}') == 6
            assert pids(metrics) == {"0", "1", "2", "supervisor"}
            for number in range(3):
                up = f'antiphon_engine_up{{engine="scripted engine",worker="{number}"}}'
                assert value(metrics, up) == 1
        wanted = "application/openmetrics-text"
        assert each[0].ask("GET", "/metrics", accept=wanted).endswith("# EOF\n")

        (victim,) = [
            pid
            for pid in children(served.process.pid)
            if _is_worker(pid) and _number(pid, served) == 1
        ]
        os.kill(victim, signal.SIGKILL)
        served.until("worker 1 was killed by SIGKILL")
        assert value(each[0].ask("GET", "/metrics"), asked) == 6
        until(lambda: value(each[2].ask("GET", "/metrics"), "antiphon_workers") == 3)
        with one_to_each(served, 3) as again:
            again[1].ask("POST", "/v1/responses", HELLO)
            until(lambda: value(again[0].ask("GET", "/metrics"), asked) == 7)
            assert [value(kept.ask("GET", "/metrics"), asked) for kept in again] == [7, 7, 7]
        assert served.end() == 0


def _is_worker(pid: int) -> bool:
    return b"antiphon.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _number(pid: int, served: Served) -> int:
    """Which worker a process is: it says so in the folder they share."""
    (folder,) = _folders(served)
    (file,) = [f for f in folder.glob("process-*") if f.read_text("ascii") == str(pid)]
    return int(file.name.removeprefix("process-"))


def _folders(served: Served) -> list[Path]:
    """The folders that belong to this server."""
    import tempfile

    found = []
    for file in Path(tempfile.gettempdir()).glob("antiphon-*/process-supervisor"):
        with suppress(FileNotFoundError):  # It was another server's, which has ended.
            if file.read_text("ascii") == str(served.process.pid):
                found.append(file.parent)
    return found


@pytest.mark.slow
def test_the_first_lines_come_once_and_the_end_is_clean(tmp_path: Path) -> None:
    with workers(tmp_path) as served:
        served.until("keys:")
        folders, processes = _folders(served), children(served.process.pid)
        assert len(processes) == 3
        assert served.end(signal.SIGINT) == 0
        assert served.process.stderr is not None
        said = served.lines + served.process.stderr.readlines()
    assert sum(" serves http" in line for line in said) == 1
    assert not any("Traceback" in line for line in said)
    assert not any(map(is_alive, processes))
    assert [folder for folder in folders if folder.exists()] == []


@pytest.mark.slow
def test_no_worker_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with workers(tmp_path, "--engine", slow_trace(tmp_path)) as served:
        with one_to_each(served, 3) as each:
            each[0].stream()
            folders, processes = _folders(served), children(served.process.pid)
            assert len(processes) == 3
            os.kill(served.process.pid, signal.SIGKILL)
            until(lambda: not any(map(is_alive, processes)))
        assert len(folders) == 1
        until(lambda: not folders[0].exists())


@pytest.mark.slow
def test_a_stream_finishes_while_the_server_stops(tmp_path: Path) -> None:
    with workers(tmp_path, "--engine", slow_trace(tmp_path)) as served:
        with one_to_each(served, 3) as each:
            answer = each[2].stream()
            served.process.send_signal(signal.SIGTERM)
            served.until("stopping: 3 workers")
            assert b"response.completed" in answer.read()
        assert served.process.wait(WAIT) == 0


@pytest.mark.slow
def test_all_workers_reload(tmp_path: Path) -> None:
    config = tmp_path / "antiphon.toml"
    config.write_text("[turn]\nchoices = 8\n", encoding="utf-8")
    two = {"model": "m", "n": 2, "messages": [{"role": "user", "content": "Hi"}]}
    with (
        workers(tmp_path, "--config", str(config)) as served,
        one_to_each(served, 3) as each,
    ):
        for kept in each:
            kept.ask("POST", "/v1/chat/completions", two)
            assert kept.status == 200
        config.write_text("[turn]\nchoices = 1\n[server]\nworkers = 5\n", encoding="utf-8")
        served.process.send_signal(signal.SIGHUP)
        said = [json.loads(served.until('"event":"reload"')) for _ in range(3)]
        assert sorted(line["worker"] for line in said) == [0, 1, 2]
        for kept in each:
            kept.ask("POST", "/v1/chat/completions", two)
            assert kept.status == 400
        assert len(children(served.process.pid)) == 3


@pytest.mark.slow
def test_workers_share_responses_streams_limits_and_reasoning(tmp_path: Path) -> None:
    engine = slow_trace(tmp_path)
    limits = ("--set", "limits.requests_per_minute=12")
    with workers(tmp_path, "--engine", engine, *limits) as served, one_to_each(served, 3) as each:
        made = each[0].ask("POST", "/v1/responses", {**HELLO, "background": True})
        assert made["status"] in ("queued", "in_progress")
        found = each[1].ask("GET", f"/v1/responses/{made['id']}")
        assert found["id"] == made["id"]
        cancelled = each[2].ask("POST", f"/v1/responses/{made['id']}/cancel")
        assert cancelled["status"] == "cancelled"
        path = f"/v1/responses/{made['id']}?stream=true"
        whole = read_sse(each[1].ask("GET", path).encode())
        check_events(whole)
        assert read_sse(each[1].ask("GET", f"{path}&starting_after=1").encode()) == whole[2:]
        left = []
        for kept in each:
            kept.ask("POST", "/v1/responses", {**HELLO, "background": True})
            left.append(int(kept.headers["x-ratelimit-remaining-requests"]))
        # Eight in all, of which no worker alone saw more than four; one comes back in five seconds.
        assert max(left) < 12 - 2


def test_a_worker_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "--workers", "3", "--engine", "scripted:none.jsonl", "--port=0")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "none.jsonl" in line


def test_workers_need_a_store_that_they_can_share(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "--check", "--workers", "2", "--set", "store.url=memory")
    assert done.returncode == 1
    assert "2 workers share nothing with store.url = 'memory'" in done.stderr


@pytest.mark.slow
def test_one_model_server_serves_all_workers(tmp_path: Path, tiny_model_path: Path) -> None:
    model, cache = (
        ("--model", str(tiny_model_path)),
        {"ANTIPHON_CACHE": str(tiny_model_path.parent)},
    )
    store = ("--set", f"store.url=sqlite:{tmp_path / 'store.db'}")
    say = {"model": tiny_model_path.stem, "max_output_tokens": 8, "input": "Hi"}

    def answers(kept: Kept) -> bool:
        answer = kept.ask("POST", "/v1/responses", say)
        return bool(answer.get("object") == "response")

    with (
        serving(tmp_path / "home", "--workers", "2", *model, *store, **cache) as served,
        one_to_each(served, 2) as each,
    ):
        units = [kept.ask("GET", "/antiphon/models")["units"][0] for kept in each]
        assert [unit["state"] for unit in units] == ["up", "up"]
        assert units[0]["pid"] == units[1]["pid"]
        servers = [pid for pid in children(served.process.pid) if not _is_worker(pid)]
        assert servers == [units[0]["pid"]]
        for kept in each:
            assert kept.ask("POST", "/v1/responses", say)["object"] == "response"

        named = {"model": units[0]["name"]}
        unloaded = each[0].ask("POST", "/antiphon/models/unload", named)
        assert unloaded["state"] == "idle"
        until(
            lambda: (
                [k.ask("GET", "/antiphon/models")["units"][0]["state"] for k in each]
                == ["idle", "idle"]
            )
        )
        until(lambda: not is_alive(servers[0]))

        each[1].ask("POST", "/antiphon/models/load", named)
        states = [k.ask("GET", "/antiphon/models")["units"][0]["state"] for k in each]
        assert states == ["up", "up"]
        for kept in each:
            assert kept.ask("POST", "/v1/responses", say)["object"] == "response"
        (now,) = [pid for pid in children(served.process.pid) if not _is_worker(pid)]

        os.kill(now, signal.SIGKILL)  # All workers notice, and one new server serves them.
        until(lambda: not is_alive(now))
        for kept in each:
            until(partial(answers, kept))
        assert len([p for p in children(served.process.pid) if not _is_worker(p)]) == 1
        assert served.end() == 0
