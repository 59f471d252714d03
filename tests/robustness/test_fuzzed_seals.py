"""Sealed requests that were tampered with, thousands of them: refused cleanly, all in one way.

The default run takes a seeded part, `make test-slow` 10,000, `make soak` 100,000. A failure names
its seed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from tests.gateway.sealing_client import CHAT, chat, message, seal_chunks, seal_whole, sealing
from tests.robustness.direct import Answer, Direct, running

from antiphon.gateway.sealed.routes import _REFUSAL
from antiphon.seal import (
    BinaryHttpDecoder,
    ChunkedRequestSealer,
    ChunkedResponseOpener,
    Content,
    KeyConfig,
    ResponseHead,
    decode_keys,
    decode_response,
    encode_request,
    open_response,
    seal_request,
)
from antiphon.seal.media import CHUNKED_REQUEST, KEY_PROBLEM, REQUEST, WELL_KNOWN_GATEWAY
from antiphon.settings.model import Settings, TurnSettings

SOAK = int(os.environ.get("ANTIPHON_SOAK", "1"))
SEED = os.environ.get("ANTIPHON_FUZZ_SEED", "1")
COUNTS = [
    pytest.param(1_000 * SOAK, id="some"),
    pytest.param(10_000 * SOAK, id="many", marks=pytest.mark.slow),
]
INNER_COUNTS = [
    pytest.param(400 * SOAK, id="some"),
    pytest.param(2_000 * SOAK, id="many", marks=pytest.mark.slow),
]
REFUSED = "refused"
UNKNOWN = "unknown key"


def mutated(random: Random, sealed: bytes) -> bytes:
    """Other bytes than ``sealed``, by one to three changes of the kinds that happen."""
    data = bytearray(sealed)
    while bytes(data) == sealed:
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data) + 1)
            match random.randrange(9):
                case 0 | 1 | 2 if at < len(data):
                    data[at] ^= 1 << random.randrange(8)
                case 3:
                    data[at:at] = random.randbytes(random.randint(1, 40))
                case 4:
                    del data[at : at + random.randint(1, 40)]
                case 5:
                    del data[at:]
                case 6:  # the header, where the numbers are
                    place = random.randrange(min(8, len(data) + 1))
                    data[place : place + 1] = random.randbytes(1)
                case 7:
                    piece = data[at : at + random.randint(1, 300)]
                    other = random.randrange(len(data) + 1)
                    data[other:other] = piece
                case 8:
                    data += random.randbytes(random.choice((1, 16, 70_000)))
                case _:
                    pass
    return bytes(data)


def judge(answer: Answer) -> str:
    """What it was refused as. Raises AssertionError for anything else."""
    assert answer.status == 400, (answer.status, answer.body[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.body == _REFUSAL:
        return REFUSED
    assert msgspec.json.decode(answer.body)["type"] == KEY_PROBLEM
    return UNKNOWN


def at_gateway(folder: Path, work: Callable[[Direct, KeyConfig], Awaitable[None]]) -> None:
    """Run ``work`` beside a gateway, which must report no trouble."""
    base = Settings(engine="scripted", turn=TurnSettings(output_tokens=50))

    async def run() -> None:
        async with running(folder, sealing(folder, base)) as client:
            ring = client.app.state.services.sealed.ring
            (config,) = decode_keys(ring.published(time.time()))
            await work(client, config)
            assert not client.problems, client.problems

    asyncio.run(run())


async def post(client: Direct, body: bytes, kind: str) -> Answer:
    headers: dict[str, Any] = {"content-type": kind}
    return await client.post(body, WELL_KNOWN_GATEWAY, **headers)


@pytest.mark.parametrize("count", COUNTS)
def test_a_mutated_envelope_is_refused_like_every_other(tmp_path: Path, count: int) -> None:
    seen: Counter[str] = Counter()

    async def work(client: Direct, config: KeyConfig) -> None:
        long, short = chat("x" * 40_000), message("/v1/models")
        bases = [
            (seal(config, request)[0], kind)
            for request in (long, short, chat(stream=True))
            for seal, kind in ((seal_chunks, CHUNKED_REQUEST), (seal_whole, REQUEST))
        ]
        for number in range(count):
            random = Random(f"{SEED}:{number}")
            sealed, kind = random.choice(bases)
            body = mutated(random, sealed)
            try:
                seen[judge(await post(client, body, kind))] += 1
            except Exception as error:
                raise AssertionError(f"{SEED}:{number}: {kind} {body[:200].hex()}") from error
        for sealed, kind in bases:  # What was mutated was good.
            assert (await post(client, sealed, kind)).status == 200

    at_gateway(tmp_path, work)
    print(f"seed {SEED}: {dict(seen)}")
    assert set(seen) == {REFUSED, UNKNOWN}
    assert seen[REFUSED] > count / 2


@pytest.mark.parametrize("count", INNER_COUNTS)
def test_a_mutated_message_inside_a_good_seal_is_answered_inside_it(
    tmp_path: Path, count: int
) -> None:
    seen: Counter[int] = Counter()

    async def work(client: Direct, config: KeyConfig) -> None:
        for number in range(count):
            random = Random(f"{SEED}:{number}")
            request = random.choice((chat("Hi"), message("/v1/models"), message(CHAT, {})))
            plain = mutated(random, encode_request(request))
            try:
                seen[await _ask(client, config, plain, chunked=random.random() < 0.5)] += 1
            except Exception as error:
                raise AssertionError(f"{SEED}:{number}: {plain[:300]!r}") from error

    at_gateway(tmp_path, work)
    print(f"seed {SEED}: {dict(seen)}")
    assert {200, 400} <= set(seen)
    assert not [status for status in seen if status >= 500]


async def _ask(client: Direct, config: KeyConfig, plain: bytes, *, chunked: bool) -> int:
    """The status inside."""
    if chunked:
        sealer = ChunkedRequestSealer(config)
        body, secret = sealer.seal(plain) + sealer.finish(), sealer.response
    else:
        sealed = seal_request(config, plain)
        body, secret = sealed.body, sealed.response
    answer = await post(client, body, CHUNKED_REQUEST if chunked else REQUEST)
    assert answer.status == 200, (answer.status, answer.body[:300])
    if not chunked:
        whole = decode_response(open_response(secret, answer.body))
        head, content = whole.head, whole.content
    else:
        opener, decoder = ChunkedResponseOpener(secret), BinaryHttpDecoder("response")
        events = [e for chunk in opener.feed(answer.body) for e in decoder.feed(chunk)]
        events += decoder.feed(opener.eof()) + decoder.eof()
        assert isinstance(events[0], ResponseHead)
        head, content = events[0], b"".join([e.data for e in events if isinstance(e, Content)])
    assert b"Traceback" not in content
    if head.status >= 400:
        assert "error" in msgspec.json.decode(content)
    return head.status
