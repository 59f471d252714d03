"""Sealed requests against plain ones, through the same gateway in one run.

    python benchmarks/seal.py            every row, four minutes
    python benchmarks/seal.py --quick    small and inexact, to see that it works
    python benchmarks/seal.py --write    every row, and benchmarks/RESULTS.md

The stage is that of gateway.py: the gateway alone on core 0; load and a fake of llama.cpp's server
on core 1. Plain and sealed requests take turns, so that what else the machine does falls on both.
Times are the client's: for sealed ones it seals the request and opens the answer within them. The
store is a SQLite file, in which each sealed request's nonce is claimed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TypeVar

import httptools
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gateway import CONTROL_TOKENS, LOAD_CORE, Stage
from gateway_child import cpu_seconds
from gateway_client import chat_body
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from rows import Row, conclude, options_of, parser_for, row

from antiphon.seal import (
    BinaryHttpDecoder,
    ChunkedRequestSealer,
    ChunkedResponseOpener,
    Content,
    KeyConfig,
    RequestHead,
    decode_keys,
    encode_content,
    encode_end,
    encode_head,
)
from antiphon.seal.media import CHUNKED_REQUEST, WELL_KNOWN_GATEWAY

MEGABYTE = 1_000_000
CHAT = "/v1/chat/completions"
_FIRST = re.compile(rb'"(?:reasoning_content|reasoning|content)": ?"[^"]')
_EVENTS = b"data: {"

Taken = TypeVar("Taken")


@dataclass
class Answer:
    """One stream, in seconds since before its request was sealed."""

    status: int = 0
    first: float = 0.0
    chunks: int = 0
    """Pieces in which it came: sealed chunks, or HTTP's."""
    size: int = 0
    events: int = 0
    done: bool = False
    tail: bytes = b""

    def take(self, plain: bytes, now: float) -> None:
        """One piece, which came at ``now``."""
        self.chunks += 1
        self.size += len(plain)
        text = self.tail + plain
        self.events += text.count(_EVENTS) - self.tail.count(_EVENTS)
        if not self.first and _FIRST.search(text):
            self.first = now
        self.done = self.done or b"[DONE]" in text
        self.tail = text[-200:]


class _Plain:
    """Reads an answer in the clear."""

    def __init__(self, body: bytes) -> None:
        self.kind, self.path, self.body = "application/json", CHAT, body

    def open(self, data: bytes) -> list[bytes]:
        return [data]

    def eof(self) -> None:
        """There is nothing to check."""


class _Sealed:
    """Seals a request, and opens its answer."""

    def __init__(self, body: bytes, config: KeyConfig) -> None:
        sealer = ChunkedRequestSealer(config)
        fields = (
            (b"content-type", b"application/json"),
            (b"date", formatdate(usegmt=True).encode()),
        )
        head = RequestHead(method="POST", authority="gateway", path=CHAT, fields=fields)
        plain = encode_head(head) + encode_content(body) + encode_end()
        self.kind, self.path, self.body = CHUNKED_REQUEST, WELL_KNOWN_GATEWAY, sealer.finish(plain)
        self._opener = ChunkedResponseOpener(sealer.response)
        self._decoder = BinaryHttpDecoder("response")

    def open(self, data: bytes) -> list[bytes]:
        return [
            b"".join([e.data for e in self._decoder.feed(chunk) if isinstance(e, Content)])
            for chunk in self._opener.feed(data)
        ]

    def eof(self) -> None:
        """Raises SealError for a stream that was cut off."""
        self._opener.eof()


class _Http:
    """What httptools calls."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


Opening = Callable[[], Answer]
"""Opens an answer that is all there."""


async def ask(port: int, body: bytes, config: KeyConfig | None) -> Answer:
    """One streamed answer, sealed if there is a key for it, opened as it comes."""
    return (await _asked(port, body, config, at_once=True))()


async def fetch(port: int, body: bytes, config: KeyConfig | None) -> Opening:
    """The same, not opened yet: where the gateway's CPU is measured, the client must not open
    chunks at that time, because the two cores may be threads of one.
    """
    return await _asked(port, body, config, at_once=False)


async def _asked(port: int, body: bytes, config: KeyConfig | None, *, at_once: bool) -> Opening:
    answer, http = Answer(), _Http()
    parser = httptools.HttpResponseParser(http)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    begin = time.perf_counter()
    exchange = _Plain(body) if config is None else _Sealed(body, config)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        % (exchange.path.encode(), port, exchange.kind.encode(), len(exchange.body))
    )
    writer.write(exchange.body)

    def opened() -> None:
        now = time.perf_counter() - begin
        for piece in http.pieces:
            for plain in exchange.open(piece):
                answer.take(plain, now)
        http.pieces.clear()

    def whole() -> Answer:
        opened()
        exchange.eof()
        # Nothing was cut off; the last event may have been in the final chunk.
        answer.done = answer.done or isinstance(exchange, _Sealed)
        return answer

    try:
        while not http.complete and (data := await reader.read(1 << 18)):
            parser.feed_data(data)
            if at_once:
                opened()
    finally:
        writer.close()
    answer.status = parser.get_status_code()
    return whole


def check(answer: Answer, tokens: int) -> None:
    if answer.status != 200 or not answer.done or answer.events < tokens - CONTROL_TOKENS:
        raise RuntimeError(f"a stream went wrong: {answer}")


def keys_of(port: int) -> KeyConfig:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ohttp-keys", timeout=10) as answer:
        return decode_keys(answer.read())[0]


async def in_turn(
    one: Callable[[int, KeyConfig | None], Awaitable[Taken]],
    config: KeyConfig,
    rounds: int,
    *,
    warm_up: int,
) -> list[tuple[Taken, Taken]]:
    """What ``one`` gives for plain and for sealed, round by round; who is first changes."""
    pairs: list[tuple[Taken, Taken]] = []
    for number in range(warm_up + rounds):
        turns = (config, None) if number % 2 else (None, config)
        taken = {key is not None: await one(number, key) for key in turns}
        pairs.append((taken[False], taken[True]))
    return pairs[warm_up:]


def answers(
    port: int, config: KeyConfig, bodies: Callable[[int], bytes], rounds: int, tokens: int
) -> list[tuple[Answer, Answer]]:
    """Plain and sealed ones, one after the other."""

    async def one(number: int, key: KeyConfig | None) -> Answer:
        answer = await ask(port, bodies(number), key)
        check(answer, tokens)
        await asyncio.sleep(0.02)
        return answer

    return asyncio.run(in_turn(one, config, rounds, warm_up=2))


def _added(pairs: Sequence[tuple[Answer, Answer]]) -> float:
    """Milliseconds more until the first token: the median of pairs whose halves are so close to
    each other that the machine is as fast in the one as in the other.
    """
    return statistics.median([sealed.first - plain.first for plain, sealed in pairs]) * 1e3


def _p50(pairs: Sequence[tuple[Answer, Answer]]) -> float:
    """Of the plain ones, milliseconds."""
    return statistics.median([plain.first for plain, _ in pairs]) * 1e3


def first_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    print("\nFirst token: short requests, one after the other")
    stage.pace(60, 0)
    pairs = answers(port, config, lambda n: chat_body(seed=n), 10 if quick else 300, 60)
    added = _added(pairs)
    contexts = hpke_contexts(config)
    warm, cold = best(contexts) / 1e3, rested(contexts) / 1e3
    return [
        row("sealed: added to the first token, p50", "at most 2 ms", f"{added:.2f} ms",
            f"plain {_p50(pairs):.1f} ms; one X25519 is {x25519() / 1e3:.2f} ms, HPKE's two"
            f" contexts are {warm:.2f} ms, and {cold:.2f} ms after five of sleep", ok=added <= 2)
    ]  # fmt: skip


def chunk_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    tokens, rounds = (100, 3) if quick else (1000, 10)
    streams, rate = 40, 200
    print(f"\nChunks: {streams} streams of {tokens} tokens side by side, {rate} a second in each")
    stage.pace(tokens, rate)
    cost = chunk_cost(port, config, tokens, pid, rounds, streams)
    rows = [
        _chunk_row(
            f"sealed: CPU added to a streamed chunk, {streams} streams side by side",
            cost,
            f"{rate} tokens/s in each; {cost.chunks:.0f} chunks of {cost.size} bytes for {tokens}"
            f" tokens, and {cost.plain:.0f} pieces in the clear; the bare AEAD of one is"
            f" {aead(cost.size):.1f} µs, and {aead_rested(cost.size):.1f} µs a millisecond after"
            " the last",
        )
    ]
    tokens, rounds = (300, 3) if quick else (2000, 12)
    print(f"\nOne stream alone: {tokens} tokens, 1,000 a second")
    stage.pace(tokens, 1000)
    cost = chunk_cost(port, config, tokens, pid, rounds)
    rows.append(
        _chunk_row(
            "the same in one stream of 1,000 tokens/s on an idle gateway",
            cost,
            f"{cost.chunks:.0f} chunks for {tokens} tokens, {cost.plain:.0f} pieces in the clear",
        )
    )
    print("\nThe same, as fast as they come")
    stage.pace(tokens, 0)
    cost = chunk_cost(port, config, tokens, pid, rounds)
    rows.append(
        row("the same tokens as fast as they come: CPU added to a token", "",
            f"{cost.added * cost.chunks / tokens:.1f} µs",
            f"what arrives together is sealed together: {cost.chunks:.0f} chunks of"
            f" {cost.size} bytes")
    )  # fmt: skip
    return rows


def _chunk_row(what: str, cost: ChunkCost, note: str) -> Row:
    return row(what, "at most 12 µs", f"{cost.added:.1f} µs", note, ok=cost.added <= 12)


@dataclass
class ChunkCost:
    added: float
    """Microseconds of CPU that a chunk takes more than a piece in the clear."""
    chunks: float
    """In a stream."""
    plain: float
    """Pieces of a stream in the clear."""
    size: int
    """Bytes of a chunk."""


def chunk_cost(
    port: int, config: KeyConfig, tokens: int, pid: int, rounds: int, streams: int = 1
) -> ChunkCost:
    """So many streams side by side, plain and sealed in turn."""

    async def one(number: int, key: KeyConfig | None) -> tuple[list[Answer], float]:
        before = cpu_seconds(pid)
        bodies = [chat_body(seed=number * streams + which) for which in range(streams)]
        fetched = await asyncio.gather(*[fetch(port, body, key) for body in bodies])
        await asyncio.sleep(0.02)
        spent = cpu_seconds(pid) - before
        opened = [opening() for opening in fetched]
        for answer in opened:
            check(answer, tokens)
        return opened, spent

    pairs = asyncio.run(in_turn(one, config, rounds, warm_up=1))
    added = [
        (after - before) / sum(answer.chunks for answer in sealed) * 1e6
        for (_, before), (sealed, after) in pairs
    ]
    plains = [answer for (plain, _), _ in pairs for answer in plain]
    seals = [answer for _, (sealed, _) in pairs for answer in sealed]
    return ChunkCost(
        added=statistics.median(added),
        chunks=statistics.median([answer.chunks for answer in seals]),
        plain=statistics.median([answer.chunks for answer in plains]),
        size=round(statistics.median([answer.size / answer.chunks for answer in seals])),
    )


def large_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    print("\nA request of 1 MB")
    stage.pace(60, 0)

    def body(number: int) -> bytes:
        # A field that is read and has no meaning: the prompt's own work would hide the seal's.
        filled = json.loads(chat_body(seed=number))
        filled["ballast"] = os.urandom(MEGABYTE // 2).hex()
        return json.dumps(filled).encode()

    pairs = answers(port, config, body, 4 if quick else 60, 60)
    added = _added(pairs)
    return [
        row("sealed: a request of 1 MB, added to the first token, p50", "at most 15 ms",
            f"{added:.1f} ms",
            f"plain {_p50(pairs):.1f} ms; the bare AEAD of it, twice, is"
            f" {2 * aead(MEGABYTE) / 1e3:.1f} ms", ok=added <= 15)
    ]  # fmt: skip


def best(work: Callable[[], object], seconds: float = 0.2) -> float:
    """Microseconds of the fastest of many."""
    fastest, end = 1e9, time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        work()
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest * 1e6


def aead(size: int) -> float:
    """Microseconds for AES-128-GCM over so many bytes."""
    cipher, data, nonce = AESGCM(os.urandom(16)), os.urandom(size), os.urandom(12)
    return best(lambda: cipher.encrypt(nonce, data, None))


def aead_rested(size: int) -> float:
    """The same in a process that has slept for a millisecond each time, as between two tokens."""
    cipher, data, nonce = AESGCM(os.urandom(16)), os.urandom(size), os.urandom(12)
    return rested(lambda: cipher.encrypt(nonce, data, None), 0.001, 600)


def rested(work: Callable[[], object], seconds: float = 0.005, rounds: int = 200) -> float:
    """Microseconds of ``work`` in a process that has slept so long each time; the median."""
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        works = number % 2 == 0
        time.sleep(seconds)
        begin = time.perf_counter()
        if works:
            work()
        took[works].append(time.perf_counter() - begin)
    return (statistics.median(took[True]) - statistics.median(took[False])) * 1e6


def hpke_contexts(config: KeyConfig) -> Callable[[], object]:
    """What sets up HPKE on both sides of a request: the library's work, none of ours."""
    suite = config.suites[0]
    cipher = CipherSuite.new(KEMId(suite.kem), KDFId(suite.kdf), AEADId(suite.aead))
    public = cipher.kem.deserialize_public_key(config.public_key)
    pair = cipher.kem.derive_key_pair(os.urandom(32))

    def both() -> None:
        cipher.create_sender_context(public)
        cipher.create_recipient_context(config.public_key, pair.private_key)

    return both


def x25519() -> float:
    """Microseconds for one exchange."""
    mine, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    return best(lambda: mine.exchange(theirs))


def main() -> int:
    options = options_of(parser_for(__doc__))
    os.sched_setaffinity(0, {LOAD_CORE})
    begin, rows = time.monotonic(), list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        more = [
            "--seal",
            "--set", f"seal.keys_file={folder}/ohttp-keys.json",
        ]  # fmt: skip
        with stage.upstream(), stage.gateway(more=more) as (child, port):
            config = keys_of(port)
            for part in (first_rows, chunk_rows, large_rows):
                rows += part(stage, port, config, child.pid, quick=options.quick)
    conclude(
        rows,
        options,
        time.monotonic() - begin,
        heading="# Sealed transport",
        script="seal.py",
        packages=("antiphon", "pyhpke", "cryptography", "uvicorn"),
        method=METHOD,
    )
    return 0


METHOD = """\
Plain and sealed requests in turn through the same gateway, X25519 and AES-128-GCM. Times are the \
client's, its own sealing and opening included; CPU is the gateway's. What is named beside a row \
is the cryptography alone, which nothing can avoid: warm, and as it is where the processor has \
turned to other things in between. A chunk has its target in streams side by side, as a gateway at \
work has them, and in one on an idle gateway, where each comes after a rest."""


if __name__ == "__main__":
    sys.exit(main())
