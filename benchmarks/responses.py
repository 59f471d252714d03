"""What the Responses API costs: stored streams, their end, long chains, reading what is stored.

    python benchmarks/responses.py             every row
    python benchmarks/responses.py --quick     small and inexact, to see that it works
    python benchmarks/responses.py --write     every row, and its part of benchmarks/RESULTS.md

Gateway, load and upstream are those of gateway.py: the gateway alone on core 0, load and a wire
fake of llama.cpp's server on core 1. Everything is stored in a SQLite file, as by default.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import uvloop
from gateway import GATEWAY_CORE, LOAD_CORE, Stage, burst, check
from gateway_client import RESPONSES, chat_body, percentile, request, response_body
from responses_chain import chained, copied
from rows import Row, conclude, options_of, parser_for, row
from store import in_ms, median, opened, response, timed

BURST_TOKENS = 2_000
LONG_TOKENS = 20_000
OTHER_TOKENS = 300
TAIL_TOKENS, TAIL_RATE = 100, 200.0
TURNS = 200
STORED = 100_000


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process on another core for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def limit(seconds: float, what: str) -> str:
    amount = f"{seconds * 1e3:.2f} ms" if seconds > 2e-4 else f"{seconds * 1e6:.2f} µs"
    return f"{what}: {amount}"


# CPU


def burst_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    rounds = 3 if options.quick else 21
    stage.pace(BURST_TOKENS, 0)
    print("\nBurst: one stream of 2,000 tokens, as fast as it comes")

    def unstored(seed: int) -> bytes:
        return response_body(seed, store=False)

    with stage.gateway() as (child, port):

        def cost(path: str, body: Callable[[int], bytes]) -> list[float]:
            return burst(port, child.pid, BURST_TOKENS, rounds, path, path=path, body=body)[0]

        stored = cost(RESPONSES, response_body)
        chat = cost("/v1/chat/completions", lambda seed: chat_body(seed=seed))
        plain = cost(RESPONSES, unstored)
    middle = statistics.median(stored)
    spread = f"{min(stored):.1f} to {max(stored):.1f}; "
    least = limit(_encoding(), "encoding a delta and framing its event")
    return [
        row("stored and streamed, 2,000 tokens: CPU a token", "at most 20 µs", f"{middle:.1f} µs",
            spread + least, ok=middle <= 20),
        row("the same with store: false", "", f"{statistics.median(plain):.1f} µs"),
        row("the same answer through chat completions", "", f"{statistics.median(chat):.1f} µs"),
    ]  # fmt: skip


def _encoding() -> float:
    """Seconds for the JSON of one delta as one event, with everything around it made before."""
    encode = msgspec.json.Encoder().encode
    head = b'{"type":"response.output_text.delta","item_id":"msg_%s","output_index":1,' % (
        b"0" * 29
    )
    head += b'"content_index":0,"delta":'
    words = [f" word{number}" for number in range(20_000)]
    begin = time.process_time()
    for number, word in enumerate(words):
        event = b'%b%b,"logprobs":[],"sequence_number":%d}' % (head, encode(word), number)
        b"event: response.output_text.delta\ndata: %b\n\n" % event
    return (time.process_time() - begin) / len(words)


# The end of a stored response


def terminal_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    answers = 5 if options.quick else 120
    stage.pace(LONG_TOKENS, TAIL_RATE, tail=TAIL_TOKENS)
    print("\nTerminal event: answers of 20,000 tokens")
    rows = []
    with stage.gateway() as (_, port):
        for busy in (False, True):
            waits = asyncio.run(_ends(stage, port, answers, busy=busy))
            p99 = percentile(waits, 0.99)
            what = (
                "the same while 10 others are streamed and stored, 40 tokens/s each, and 20 read"
                " a second"
            )
            rows.append(
                row(what if busy else "20,000 tokens: from the last token to the event behind its"
                    " commit", "p99 under 20 ms", in_ms(waits), median(waits), ok=p99 < 0.020)
            )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder, on_core(GATEWAY_CORE):
        commits = _commits(Path(folder))
    rows[0].other += "; " + limit(percentile(commits, 0.99), "SQLite's commit of as much, p99")
    return rows


async def _ends(stage: Stage, port: int, answers: int, *, busy: bool) -> list[float]:
    """Seconds from the upstream's last token to the client's last event."""
    over = asyncio.Event()

    async def stream(seed: int) -> None:
        await asyncio.sleep(seed * 0.07)
        while not over.is_set():
            body = response_body(seed, max_output_tokens=OTHER_TOKENS)
            check([await request(port, body, path=RESPONSES)], OTHER_TOKENS, "gateway")
            seed += 100

    async def reads() -> None:
        async with Reader(port) as reader:
            while not over.is_set():
                await reader.get(known)
                await asyncio.sleep(0.05)

    known = await _stored(port)
    tasks = [asyncio.ensure_future(stream(seed)) for seed in range(10)] if busy else []
    tasks += [asyncio.ensure_future(reads())] if busy else []
    waits = []
    for seed in range(answers + 1):
        answer = await request(port, response_body(1000 + seed), path=RESPONSES)
        check([answer], LONG_TOKENS, "gateway")
        seen = await asyncio.to_thread(stage.seen)
        waits.append(answer.ended - seen["last"])
    over.set()
    await asyncio.gather(*tasks)
    return waits[1:]


async def _stored(port: int) -> str:
    """The id of a response that is stored."""
    body = response_body(stream=False, max_output_tokens=20)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (RESPONSES.encode(), port, len(body), body)
    )
    answer = await reader.read()
    writer.close()
    found: str = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]
    return found


class Reader:
    """Fetches responses on one kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Reader:
        connection = asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        self._reader, self._writer = await connection
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def get(self, id: str) -> None:
        asked = f"GET {RESPONSES}/{id} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n"
        self._writer.write(asked.encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(size)
        if not head.startswith(b"HTTP/1.1 200") or id.encode() not in body:
            raise RuntimeError(f"reading a response went wrong: {head!r} {body[:500]!r}")


def _commits(folder: Path) -> list[float]:
    """Seconds that SQLite alone takes for the record of such an answer."""
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE records (id TEXT PRIMARY KEY, body BLOB)")
    body = os.urandom(LONG_TOKENS * 6)
    times = []
    for number in range(200):
        begin = time.perf_counter()
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO records VALUES (?, ?)", (str(number), body))
        db.execute("COMMIT")
        times.append(time.perf_counter() - begin)
    db.close()
    return times


# A chain


def chain_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    turns, rounds = (20, 3) if options.quick else (TURNS, 31)
    print(f"\nA chain of {turns} turns by previous_response_id")
    with on_core(GATEWAY_CORE):
        found = uvloop.run(chained(stage.folder / "chain.db", turns, rounds))
    rows = []
    for place, work, judged in (
        ("here", f"turn {turns} of a chain: before the engine's call", True),
        ("elsewhere", "the same in a process that never saw the chain, once", False),
    ):
        times = [seconds for seconds, _ in found[place]]
        tokens = found[place][0][1]
        allowed = 1.5e-3 + 60e-9 * tokens
        took = statistics.median(times)
        target = f"at most 1.5 ms + 60 ns a token: {allowed * 1e3:.2f} ms" if judged else ""
        least = limit(copied([0] * tokens), "copying the ids once")
        rows.append(
            row(work, target, f"{took * 1e3:.2f} ms", f"{tokens:,} tokens; {min(times) * 1e3:.2f}"
                f" to {max(times) * 1e3:.2f} ms; {least}", ok=took <= allowed if judged else None)
        )  # fmt: skip
    seconds, tokens = found["first"][0]
    rows.append(row("turn 2, for comparison", "", f"{seconds * 1e3:.2f} ms", f"{tokens:,} tokens"))
    return rows


# Reading


def read_rows(stage: Stage, options: argparse.Namespace) -> list[Row]:
    count, reads = (2_000, 200) if options.quick else (STORED, 5_000)
    stage.pace(BURST_TOKENS, 40.0)
    print(f"\nA file of {count:,} responses")
    file = stage.folder / "stored.db"
    alone, limits = asyncio.run(_fill(file, count, reads))
    with stage.gateway(store=str(file)) as (_, port):
        quiet = asyncio.run(_read(port, count, reads, streams=0))
        busy = asyncio.run(_read(port, count, reads, streams=20))
    target = "p99 under 5 ms"
    least = limit(percentile(limits, 0.99), "SQLite alone, p99")
    rows = []
    for work, times, more in (
        (f"GET one of {count:,} over HTTP", quiet, least),
        ("the same while 20 stored responses are streamed, 40 tokens/s each", busy, ""),
        (f"the store alone: get one of {count:,}", alone, ""),
    ):
        other = "; ".join(filter(None, (median(times), more)))
        ok = percentile(times, 0.99) < 5e-3
        rows.append(row(work, target, in_ms(times), other, ok=ok))
    return rows


async def _fill(file: Path, count: int, reads: int) -> tuple[list[float], list[float]]:
    """The store's own times, and those of SQLite for the same query."""
    chance = random.Random(1)
    now = int(time.time())

    async def put(number: int) -> None:
        made = msgspec.structs.replace(response(number, status="completed"), created=now)
        await stores.records.put("", made)

    async with opened(f"sqlite:{file}", file.parent, seal_file=f"{file}.seal") as stores:
        for at in range(0, count, 500):
            await asyncio.gather(*map(put, range(at, min(count, at + 500))))

        async def get(_: int) -> None:
            id_ = f"resp_{chance.randrange(count):032x}"
            assert await stores.records.get("", "response", id_) is not None

        await timed(200, get)
        alone = await timed(reads, get)
    db = sqlite3.connect(file)
    query = "SELECT * FROM records WHERE tenant = '' AND kind = 'response' AND id = ?"

    async def select(_: int) -> None:
        assert db.execute(query, (f"resp_{chance.randrange(count):032x}",)).fetchone()

    limits = await timed(reads, select)
    db.close()
    return alone, limits


async def _read(port: int, count: int, reads: int, *, streams: int) -> list[float]:
    """Seconds of each GET on one kept-alive connection."""
    over = asyncio.Event()

    async def stream(seed: int) -> None:
        while not over.is_set():
            body = response_body(seed, max_output_tokens=200)
            check([await request(port, body, path=RESPONSES)], 200, "gateway")

    tasks = [asyncio.ensure_future(stream(seed)) for seed in range(streams)]
    if streams:
        await asyncio.sleep(1.0)
    chance = random.Random(2)
    async with Reader(port) as reader:

        async def get(_: int) -> None:
            await reader.get(f"resp_{chance.randrange(count):032x}")

        await timed(200, get)
        times = await timed(reads, get)
    over.set()
    await asyncio.gather(*tasks)
    return times


# Report


PARTS = {"burst": burst_rows, "terminal": terminal_rows, "chain": chain_rows, "read": read_rows}


def main() -> int:
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    begin = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        stage = Stage(Path(folder))
        with stage.upstream():
            for name, part in PARTS.items():
                if options.only in ("", name):
                    rows += part(stage, options)
    conclude(
        rows,
        options,
        time.monotonic() - begin,
        heading="# The Responses API",
        script="responses.py",
        packages=("antiphon", "uvicorn", "aiohttp"),
        others=[f"SQLite {sqlite3.sqlite_version}"],
        method=METHOD,
    )
    return 0


METHOD = """\
Gateway, load and upstream as in the gateway's part, everything stored in a SQLite file, \
`store.sync = normal`. Every event of a stored response is stored too, beside its stream. The \
physical limit stands beside each target. The answers of 20,000 tokens come as fast as they can, \
but for their last 100 tokens, 200 a second, so that what waits in sockets is not counted; the \
wait is from the write of the last token in the upstream to the last event in the client. The \
chain is measured without sockets, up to the call of a fake engine, with instructions and five \
tools; each turn is about 220 tokens."""


def _options() -> argparse.Namespace:
    parser = parser_for(__doc__)
    parser.add_argument("--only", default="", choices=list(PARTS))
    parser.add_argument("--folder", type=Path, help="where to make the files")
    return options_of(parser)


if __name__ == "__main__":
    sys.exit(main())
