"""What keeping responses costs: SQLite, SQLite encrypted and PostgreSQL, with 100,000 of them.

    python benchmarks/store.py                 every row
    python benchmarks/store.py --quick         2,000 responses, to see that it works
    python benchmarks/store.py --write         every row, and its part of benchmarks/RESULTS.md

Times are wall-clock times of one awaited call, as a request sees them. PostgreSQL's rows need its
server installed; they are left out without.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from gateway_client import percentile
from rows import Row, conclude, options_of, parser_for, row

from antiphon.settings.model import Settings, StoreSettings
from antiphon.store.open import Stores, open_stores
from antiphon.store.records import Item, Record

ROOT = Path(__file__).resolve().parents[1]
BODY_BYTES = 4_000
LONG_TOKENS = 20_000
BATCH = 50
"""Events of a stream that are written together."""


def response(number: int, size: int = BODY_BYTES, **fields: Any) -> Record:
    body = (b'{"id":"resp_%032x","text":"' % number) + b"words " * (size // 6) + b'"}'
    return Record(kind="response", id=f"resp_{number:032x}", created=number, body=body, **fields)


async def timed(count: int, call: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Seconds of each of ``count`` calls, one after the other."""
    times = []
    for number in range(count):
        start = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - start)
    return times


def judged(name: str, times: Sequence[float], milliseconds: int) -> tuple[str, bool | None]:
    """The target, and whether it is met; it is the SQLite file's."""
    if not name.startswith("SQLite"):
        return "", None
    return f"p99 under {milliseconds} ms", percentile(times, 0.99) < milliseconds / 1e3


def in_ms(times: Sequence[float]) -> str:
    return f"p99 {percentile(times, 0.99) * 1e3:.2f} ms"


def median(times: Sequence[float]) -> str:
    return f"p50 {percentile(times, 0.5) * 1e3:.2f} ms"


@asynccontextmanager
async def opened(url: str, folder: Path, **store: Any) -> AsyncIterator[Stores]:
    settings = Settings(store=StoreSettings(url=url, bytes=1 << 36, **store))
    stores = open_stores(settings, {"HOME": str(folder)})
    await stores.start()
    try:
        yield stores
    finally:
        await stores.aclose()


async def measure(name: str, stores: Stores, count: int) -> list[Row]:
    print(f"\n{name}")
    records = stores.records
    chance = random.Random(1)
    tenants = [f"key_{number}" for number in range(20)]

    async def put(number: int) -> None:
        items = [Item(f"msg_{number:x}", b'{"type":"message"}' * 10)]
        await records.put(tenants[number % 20], response(number), items)

    async def get(_: int) -> None:
        number = chance.randrange(count)
        found = await records.get(tenants[number % 20], "response", f"resp_{number:032x}")
        assert found is not None

    start = time.perf_counter()
    for first in range(0, count, 500):
        await asyncio.gather(*(put(number) for number in range(first, min(count, first + 500))))
    filled = time.perf_counter() - start
    rows = [
        row(f"{name}: put, 500 at a time, a second", "", f"{count / filled:,.0f}",
            f"{count:,} responses of 4 kB with an item in {filled:.0f} s")
    ]  # fmt: skip
    await timed(200, get)
    times = await timed(min(count, 5_000), get)
    target, ok = judged(name, times, 5)
    rows.append(
        row(f"{name}: get one of {count:,} by id", target, in_ms(times), median(times), ok=ok)
    )

    stop = asyncio.Event()

    async def write_on(writer: int) -> None:
        number = count + writer
        while not stop.is_set():
            await put(number)
            number += 4

    writers = [asyncio.create_task(write_on(writer)) for writer in range(4)]
    times = await timed(min(count, 3_000), get)
    stop.set()
    await asyncio.gather(*writers)
    target, ok = judged(name, times, 5)
    work = f"{name}: the same while 4 tasks put all the time"
    rows.append(row(work, target, in_ms(times), median(times), ok=ok))
    times = await timed(min(count, 2_000), lambda number: put(10 * count + number))
    rows.append(row(f"{name}: put one, alone", "", in_ms(times), median(times)))

    events = [b'{"type":"response.output_text.delta","delta":"word"}' * 2] * BATCH
    batches = min(LONG_TOKENS, count) // BATCH
    before = time.process_time()
    long = response(20 * count, status="in_progress")
    await records.put("t", long)
    for at in range(batches):
        await records.add_events("t", long.id, at * BATCH, events)
    cpu = (time.process_time() - before) / (batches * BATCH)
    rows.append(
        row(f"{name}: CPU for each event of a stream, {BATCH} at a time", "", f"{cpu * 1e6:.1f} µs")
    )

    async def finish(number: int) -> None:
        done = response(30 * count + number, LONG_TOKENS * 6, status="completed")
        await records.put("t", done)

    times = await timed(200, finish)
    target, ok = judged(name, times, 20)
    work = f"{name}: put a response of 20,000 tokens"
    rows.append(row(work, target, in_ms(times), median(times), ok=ok))
    take = await timed(
        1_000,
        lambda _: stores.state.take("rate", "key", 1, capacity=1e9, per_second=1),
    )
    rows.append(row(f"{name}: take from a rate limit", "", in_ms(take), median(take)))
    return rows


async def measure_all(folder: Path, count: int, server: Any) -> list[Row]:
    rows: list[Row] = []
    async with opened(f"sqlite:{folder}/plain.db", folder) as stores:
        rows += await measure("SQLite", stores, count)
    key_file = str(folder / "keys.json")
    async with opened(f"sqlite:{folder}/sealed.db", folder, key_file=key_file) as stores:
        rows += await measure("SQLite, encrypted", stores, count)
    async with opened(f"sqlite:{folder}/full.db", folder, sync="full") as stores:
        rows += await measure("SQLite, sync full", stores, count // 10)
    if server is not None:
        async with opened(server.new_database(), folder) as stores:
            rows += await measure("PostgreSQL", stores, count)
    return rows


def _server() -> Any:
    sys.path.insert(0, str(ROOT))
    from tests.store.postgres_server import find_server, postgres_server

    if find_server() is None:
        print("PostgreSQL's server is not installed: no rows of it")
        return nullcontext()
    return postgres_server()


def main() -> int:
    options = _options()
    begin = time.monotonic()
    count = 2_000 if options.quick else 100_000
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, _server() as server:
        rows = asyncio.run(measure_all(Path(folder), count, server))
    conclude(
        rows,
        options,
        time.monotonic() - begin,
        heading="# The store",
        script="store.py",
        packages=("antiphon", "asyncpg", "cryptography"),
        others=[f"SQLite {sqlite3.sqlite_version}"],
        method=METHOD,
    )
    return 0


METHOD = """\
Wall-clock times of one awaited call. Responses have 4 kB and one input item and belong to 20 \
keys. PostgreSQL runs on the same machine, with fsync off as the tests have it."""


def _options() -> argparse.Namespace:
    parser = parser_for(__doc__)
    parser.add_argument("--folder", type=Path, help="where to make the files")
    return options_of(parser)


if __name__ == "__main__":
    sys.exit(main())
