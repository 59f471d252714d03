"""Thousands of requests, many of them left half-way: nothing of them stays in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from tests.robustness.corpus import BODIES
from tests.robustness.direct import Direct, running

SOAK = int(os.environ.get("ANTIPHON_SOAK", "1"))
REQUESTS = 1_000 * SOAK
"""In each of two rounds."""
AT_A_TIME = 50
SLACK_OBJECTS = 40
"""Objects of one of our types that may come and go: caches that fill up to their bound."""
MAX_GROWTH = 12 * 1024 * 1024
"""Bytes of resident memory that the second round may add, whatever its length."""


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def living() -> Counter[str]:
    """How many objects there are of each type that a request is made of."""
    gc.collect()
    counted: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        module = str(kind.__module__)
        if module.startswith(("antiphon.gateway", "antiphon.turn", "antiphon.api")) or kind in (
            asyncio.Task,
            asyncio.Future,
            asyncio.TimerHandle,
        ):
            counted[f"{module}.{kind.__qualname__}"] += 1
    return counted


def bodies() -> list[bytes]:
    """Streams and whole answers over every kind of request; ids that no two of them share."""
    return [json.dumps({**body, "stream": True}).encode() for body in BODIES]


async def rounds(client: Direct, seed: int, count: int) -> None:
    random, streams = Random(seed), bodies()
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            body = random.choice(streams)
            # A conversation of its own, so that nothing is remembered twice.
            own = body[:-1] + b',"prompt_cache_key":"%d-%d"}' % (seed, number)
            await client.post(own, gone_after=random.choice([None, 0, 1, 2, 3, 5, 9, 20]))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(work())


@pytest.mark.slow
def test_streams_that_clients_leave_keep_no_memory(tmp_path: Path) -> None:
    """The first round fills what is kept on purpose; the second may add nothing."""

    async def run() -> None:
        async with running(tmp_path) as client:
            tasks = len(asyncio.all_tasks())
            await rounds(client, 0, 200)
            await rounds(client, 1, REQUESTS)
            before, memory = living(), resident()
            await rounds(client, 2, REQUESTS)
            after, grown = living(), resident() - memory
            assert not client.problems, client.problems
            more = {name: n - before[name] for name, n in after.items() if n > before[name]}
            assert all(n <= SLACK_OBJECTS for n in more.values()), more
            assert grown < MAX_GROWTH, f"{grown:,} bytes more"
            assert len(asyncio.all_tasks()) == tasks
            services = client.app.state.services
            assert services.lifecycle.active == 0
            assert (services.policy.admission.running, services.policy.admission.waiting) == (0, 0)

    asyncio.run(run())
