"""The gateway's cost, against the bare upstream and against LiteLLM's proxy, in one run.

    python benchmarks/gateway.py                        every row, ten minutes of sustained load
    python benchmarks/gateway.py --minutes 0.5 --quick  small and inexact, to see that it works
    python benchmarks/gateway.py --write                every row, and benchmarks/RESULTS.md
    python benchmarks/gateway.py --write --only tiny    the tiny model's part of it

The upstream is a wire fake of llama.cpp's server (gateway_upstream.py). The gateway runs alone on
core 0; load and fake share core 1. CPU is the process's own, from /proc, for each upstream token;
every token reaches the client as an event of its own, and the run fails if one does not.
``--litellm FILE`` is LiteLLM's command (`make bench` installs it); without it, no row of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gateway_child import Child, cpu_seconds, rss_bytes
from gateway_client import CHAT, Answer, chat_body, open_streams, percentile, request
from gateway_tiny import tiny_rows
from gateway_upstream import MODEL
from rows import Row, conclude, options_of, parser_for, row

HERE = Path(__file__).parent
GATEWAY_CORE, LOAD_CORE = 0, 1
CONTROL_TOKENS = 30
"""Upstream tokens that are headers and stops, and no client's text."""


class Stage:
    """The upstream, and what stands in front of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream_port = 0

    @contextlib.contextmanager
    def upstream(self) -> Iterator[None]:
        command = [sys.executable, str(HERE / "gateway_upstream.py"), "0"]
        with Child(*command, core=LOAD_CORE, log=self.folder / "upstream.log") as child:
            self.upstream_port = _port_of(child)
            yield

    @contextlib.contextmanager
    def gateway(
        self, lag: Path | None = None, *, store: str = "", more: Sequence[str] = ()
    ) -> Iterator[tuple[Child, int]]:
        """``store``: its file; without one, a new one. ``more``: arguments."""
        file = store or f"{self.folder}/store-{time.monotonic_ns()}.db"
        serve = [
            "serve", "--engine", f"http://127.0.0.1:{self.upstream_port}", "--port", "0",
            "--set", "limits.concurrent=512", "--set", f"store.url=sqlite:{file}",
            "--set", f"store.seal_file={self.folder}/seal.json", *more,
        ]  # fmt: skip
        what = ["lag", str(lag), "--"] if lag is not None else ["plain", "--"]
        command = [sys.executable, str(HERE / "gateway_child.py"), *what, *serve]
        with Child(*command, core=GATEWAY_CORE, log=self.folder / "gateway.log") as child:
            log = child.wait_for("http://127.0.0.1:")
            for found in log.split("http://127.0.0.1:")[1:]:
                digits = found[: len(found) - len(found.lstrip("0123456789"))]
                if digits and int(digits) != self.upstream_port:
                    _wait_until_ready(int(digits))
                    yield child, int(digits)
                    return
            raise RuntimeError(f"the gateway did not say where it listens:\n{log}")

    @contextlib.contextmanager
    def copy(self) -> Iterator[tuple[Child, int]]:
        """In the gateway's place: what only copies bytes."""
        command = [sys.executable, str(HERE / "gateway_copy.py"), str(self.upstream_port)]
        with Child(*command, core=GATEWAY_CORE, log=self.folder / "copy.log") as child:
            yield child, _port_of(child)

    @contextlib.contextmanager
    def litellm(self, command: str) -> Iterator[tuple[Child, int]]:
        port = 4000 + os.getpid() % 1000
        config = self.folder / "litellm.yaml"
        config.write_text(
            json.dumps(
                {
                    "model_list": [
                        {
                            "model_name": MODEL,
                            "litellm_params": {
                                "model": f"openai/{MODEL}",
                                "api_base": f"http://127.0.0.1:{self.upstream_port}/v1",
                                "api_key": "none",
                            },
                        }
                    ]
                }
            )
        )
        arguments = ["--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
        with Child(
            command, *arguments, core=GATEWAY_CORE, log=self.folder / "litellm.log",
            env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
                 "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
        ) as child:  # fmt: skip
            _wait_until_ready(port, "/health/liveliness", 180)
            yield child, port

    def pace(self, tokens: int, rate: float, tail: int = 0) -> None:
        """How the upstream answers. ``tail``: only so many tokens at the end keep to the rate."""
        body = json.dumps({"tokens": tokens, "rate": rate, "tail": tail}).encode()
        url = f"http://127.0.0.1:{self.upstream_port}/pace"
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=10).read()

    def seen(self) -> dict[str, float]:
        """When the upstream was asked last, and when it sent the last token of an answer."""
        url = f"http://127.0.0.1:{self.upstream_port}/seen"
        found: dict[str, float] = json.loads(urllib.request.urlopen(url, timeout=10).read())
        return found


def _port_of(child: Child) -> int:
    """Where a script of ours says that it listens."""
    return int(child.wait_for("listening on ").split("listening on ")[1].split()[0])


def _wait_until_ready(port: int, path: str = "/ready", seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).read()
            return
        time.sleep(0.05)
    raise RuntimeError(f"what should listen on port {port} does not become ready")


def check(answers: Sequence[Answer], tokens: int, who: str) -> None:
    """Every stream ended well, and no token was joined to another."""
    for answer in answers:
        if not answer.done or answer.status != 200 or answer.events < tokens - CONTROL_TOKENS:
            raise RuntimeError(f"{who}: a stream went wrong: {answer}"[:1000])


# Burst


def burst(
    port: int,
    pid: int,
    tokens: int,
    rounds: int,
    who: str,
    *,
    path: str = CHAT,
    body: Callable[[int], bytes] = lambda seed: chat_body(seed=seed),
) -> tuple[list[float], list[float]]:
    """CPU µs a token, and seconds to the first token, of one stream after the other."""

    async def run() -> tuple[list[float], list[float]]:
        check([await request(port, body(0), path=path) for _ in range(3)], tokens, who)
        costs, firsts = [], []
        for seed in range(rounds):
            before = cpu_seconds(pid)
            answer = await request(port, body(seed), path=path)
            await asyncio.sleep(0.05)
            costs.append((cpu_seconds(pid) - before) / tokens * 1e6)
            firsts.append(answer.first)
            check([answer], tokens, who)
        return costs, firsts

    return asyncio.run(run())


def burst_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    tokens, rounds = 2000, 3 if options.quick else 21
    stage.pace(tokens, 0)
    print("\nBurst: one stream of 2,000 tokens, as fast as it comes")
    with stage.gateway() as (child, port):
        ours, first = burst(port, child.pid, tokens, rounds, "gateway")
    cost = statistics.median(ours)
    spread = f"{min(ours):.1f} to {max(ours):.1f}"
    rows = [
        row("burst, one stream of 2,000 tokens: CPU a token", "at most 15 µs", f"{cost:.1f} µs",
            spread, ok=cost <= 15)
    ]  # fmt: skip
    bare = [asyncio.run(request(stage.upstream_port, chat_body())) for _ in range(rounds)]
    base = statistics.median([answer.first for answer in bare])
    if options.litellm:
        with stage.litellm(options.litellm) as (child, port):
            theirs, their_first = burst(
                port, child.pid, tokens, 2 if options.quick else 5, "LiteLLM"
            )
        ratio = statistics.median(theirs) / cost
        rows.append(
            row("burst: less CPU than LiteLLM's proxy", "at least 50x", f"{ratio:.0f}x",
                f"LiteLLM {statistics.median(theirs):,.0f} µs a token", ok=ratio >= 50)
        )  # fmt: skip
        rows.append(
            row("burst: added to the first token", "",
                f"{(statistics.median(first) - base) * 1e3:.1f} ms",
                f"LiteLLM {(statistics.median(their_first) - base) * 1e3:.1f} ms")
        )  # fmt: skip
    return rows


# Paced


def paced(
    port: int, streams: int, tokens: int, rounds: int, who: str, pid: int | None = None
) -> tuple[list[float], list[float]]:
    """CPU µs a token of each round, and every stream's seconds to its first token, 8k tokens of
    history each."""

    async def run() -> tuple[list[float], list[float]]:
        check([await request(port, chat_body(8000))], tokens, who)
        costs, firsts = [], []
        for number in range(rounds):
            bodies = [chat_body(8000, seed=number * streams + n) for n in range(streams)]
            before = cpu_seconds(pid) if pid else 0.0
            answers = await open_streams(port, bodies, spread=1.0)
            spent = cpu_seconds(pid) - before if pid else 0.0
            check(answers, tokens, who)
            costs.append(spent / (streams * tokens) * 1e6)
            firsts += [answer.first for answer in answers]
        return costs, firsts

    return asyncio.run(run())


def paced_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    streams, rate = 50, 40.0
    tokens, rounds = (60, 1) if options.quick else (400, 9)
    stage.pace(tokens, rate)
    print(
        f"\nPaced: 50 streams of 40 tokens/s, {tokens / rate:g} seconds long, with 8k tokens of"
        " cached history"
    )
    _, bare = paced(stage.upstream_port, streams, tokens, max(rounds // 2, 1), "upstream")
    base = statistics.median(bare)
    with stage.gateway() as (child, port):
        costs, firsts = paced(port, streams, tokens, rounds, "gateway", child.pid)
    with stage.copy() as (child, port):
        copied, _ = paced(port, streams, tokens, max(rounds // 3, 1), "copy", child.pid)
    cost, least = statistics.median(costs), statistics.median(copied)
    p50 = (percentile(firsts, 0.5) - base) * 1e3
    p99 = (percentile(firsts, 0.99) - base) * 1e3
    bare99 = (percentile(bare, 0.99) - base) * 1e3
    rows = [
        row("50 streams of 40 tokens/s: CPU a token", "at most 80 µs", f"{cost:.1f} µs",
            f"{min(costs):.1f} to {max(costs):.1f}; {cost * streams * rate / 1e4:.0f}% of a core;"
            f" copying the bytes and no more: {least:.1f} µs", ok=cost <= 80),
        row("first token with 8k tokens of history, added, p50", "at most 3 ms", f"{p50:.1f} ms",
            f"bare upstream {base * 1e3:.1f} ms", ok=p50 <= 3),
        row("first token with 8k tokens of history, added, p99", "at most 15 ms", f"{p99:.1f} ms",
            f"bare upstream's own p99 is {bare99:.1f} ms above its p50", ok=p99 <= 15),
    ]  # fmt: skip
    if options.litellm:
        few = 10  # more than it can carry with one core
        with stage.litellm(options.litellm) as (child, port):
            (theirs,), their_firsts = paced(port, few, tokens, 1, "LiteLLM", child.pid)
        added = (percentile(their_firsts, 0.5) - base) * 1e3
        rows.append(
            row(f"LiteLLM, {few} such streams: CPU a token; first token added, p50", "",
                f"{theirs:,.0f} µs; {added:.0f} ms")
        )  # fmt: skip
    return rows


# Sustained


def sustained_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    streams, rate = 200, 10.0
    seconds = options.minutes * 60
    tokens = 150 if seconds < 60 else 300
    stage.pace(tokens, rate)
    print(f"\nSustained: 200 streams of 10 tokens/s for {options.minutes:g} minutes")
    idle_file, lag_file = stage.folder / "idle", stage.folder / "lag"
    idle = [sys.executable, str(HERE / "gateway_child.py"), "idle", str(idle_file)]
    with Child(*idle, core=GATEWAY_CORE, log=stage.folder / "idle.log") as child:
        child.wait_for("sampling")
        time.sleep(10 if seconds >= 60 else 3)
    with stage.gateway(lag_file) as (child, port):
        answers, memory = asyncio.run(_sustain(port, child.pid, streams, tokens, seconds, stage))
    durations = [answer.last for answer in answers]
    median, slowest = statistics.median(durations), max(durations)
    ratio = slowest / median
    lag = (_p999(lag_file) - _p999(idle_file)) * 1e3
    rows = [
        row("200 streams of 10 tokens/s: slowest against the median", "at most 2x", f"{ratio:.2f}x",
            f"{len(answers)} streams, median {median:.1f} s", ok=ratio <= 2),
        row("event loop's lag above an idle loop's, p99.9, with prompts of 200 kB in between",
            "at most 20 ms", f"{lag:.1f} ms", f"idle {_p999(idle_file) * 1e3:.1f} ms",
            ok=lag <= 20),
    ]  # fmt: skip
    late = [(when, size) for when, size in memory if when >= 120]
    if len(late) >= 10:
        slope = statistics.linear_regression(*zip(*late, strict=True)).slope * 60 / 1e6
        rows.append(
            row("memory's slope after minute 2", "under 1 MB/min", f"{slope:.2f} MB/min",
                f"{late[-1][1] / 1e6:.0f} MB at the end", ok=slope < 1)
        )  # fmt: skip
    else:
        rows.append(row("memory at the end", "", f"{memory[-1][1] / 1e6:.0f} MB"))
    return rows


async def _sustain(
    port: int, pid: int, streams: int, tokens: int, seconds: float, stage: Stage
) -> tuple[list[Answer], list[tuple[float, int]]]:
    answers: list[Answer] = []
    memory: list[tuple[float, int]] = []
    begin = time.monotonic()
    over = begin + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(number * 5 / streams)
        seed = number
        while time.monotonic() < over:
            answer = await request(port, chat_body(1000, seed=seed))
            check([answer], tokens, "gateway")
            answer.gaps.clear()
            answers.append(answer)
            seed += streams

    async def watch() -> None:
        while time.monotonic() < over:
            memory.append((time.monotonic() - begin, rss_bytes(pid)))
            await asyncio.sleep(min(2.0, seconds / 5))

    async def large() -> None:
        seed = 0
        while time.monotonic() < over:
            await request(port, chat_body(50_000, seed=10_000 + seed))
            seed += 1

    background = [asyncio.ensure_future(watch()), asyncio.ensure_future(large())]
    await asyncio.gather(*[one(n) for n in range(streams)])
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    return answers, memory


def _p999(file: Path) -> float:
    late = array("d")
    late.frombytes(file.read_bytes())
    return percentile(list(late), 0.999)


# Report


def main() -> int:
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    begin = time.monotonic()
    parts = {"burst": burst_rows, "paced": paced_rows, "sustained": sustained_rows}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        with stage.upstream():
            for name, part in parts.items():
                if options.only in ("", name):
                    rows += part(stage, options)
        if options.only != "tiny":
            conclude(
                rows,
                options,
                time.monotonic() - begin,
                heading="# The gateway",
                script=f"gateway.py --minutes {options.minutes:g}",
                packages=("antiphon", "uvicorn", "starlette", "aiohttp"),
                others=["LiteLLM 1.106.2"] if options.litellm else [],
                method=METHOD,
            )
        if options.only in ("", "tiny"):
            begin = time.monotonic()
            tiny = [row(*r[:4], ok=r[4]) for r in tiny_rows(stage.folder, quick=options.quick)]
            conclude(
                tiny,
                options,
                time.monotonic() - begin,
                heading="# The gateway on the tiny model",
                script="gateway.py --only tiny",
                packages=("antiphon", "uvicorn", "xllamacpp"),
                method=TINY_METHOD,
            )
    return 0


METHOD = """\
Upstream: a wire fake of llama.cpp's server, one event a token, which shares core 1 with the load; \
the gateway has core 0. CPU is the gateway's process, kernel time included, for each upstream \
token. Every token arrives as an event of its own. The physical limit of a stream of single events \
is two system calls a token, one to read it and one to write it, and a sleep between two: what \
that costs here, in the same minutes, stands beside the row (`gateway_copy.py`). Answers at \
40 tokens/s are 400 long, and what their requests cost, with 8k tokens of history, is in the \
figure."""


TINY_METHOD = """\
The real llama.cpp server with the tiny model, asked by its own chat route and by the gateway in \
front of it in turn, for as many tokens, streamed."""


def _options() -> argparse.Namespace:
    parser = parser_for(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of sustained load (10)")
    parser.add_argument("--only", default="", choices=["burst", "paced", "sustained", "tiny"])
    parser.add_argument("--litellm", metavar="FILE", help="LiteLLM's command")
    return options_of(parser, whole=["tiny"])


if __name__ == "__main__":
    sys.exit(main())
