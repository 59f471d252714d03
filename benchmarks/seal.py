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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

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


@dataclass
class Answer:
    """One stream, in seconds since before its request was sealed."""

    status: int = 0
    first: float = 0.0
    chunks: int = 0
    """Pieces in which it came: sealed chunks, or reads."""
    size: int = 0
    events: int = 0
    done: bool = False


class _Plain:
    """Reads an answer in the clear."""

    def __init__(self, body: bytes) -> None:
        self.kind, self.path, self.body = "application/json", CHAT, body

    def open(self, data: bytes) -> list[bytes]:
        return [data]


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


class _Http:
    """What httptools calls."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


async def ask(port: int, body: bytes, config: KeyConfig | None, *, later: bool = False) -> Answer:
    """One streamed answer, sealed if there is a key for it.

    ``later``: it is read when it has ended. Where the gateway's CPU is measured, the client must
    not open chunks at that time: the two cores may be threads of one.
    """
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
    tail = b""
    try:
        while not http.complete and (data := await reader.read(1 << 18)):
            parser.feed_data(data)
            now = time.perf_counter() - begin
            if later and not http.complete:
                continue
            for piece in http.pieces:
                for plain in exchange.open(piece):
                    answer.chunks += 1
                    answer.size += len(plain)
                    text = tail + plain
                    answer.events += text.count(_EVENTS) - tail.count(_EVENTS)
                    if not answer.first and _FIRST.search(text):
                        answer.first = now
                    answer.done = answer.done or b"[DONE]" in text
                    tail = text[-200:]
            http.pieces.clear()
        if isinstance(exchange, _Sealed):
            exchange._opener.eof()
            answer.done = True  # Nothing was cut off; the last event was in the final chunk.
    finally:
        writer.close()
    answer.status = parser.get_status_code()
    return answer


def check(answer: Answer, tokens: int) -> None:
    if answer.status != 200 or not answer.done or answer.events < tokens - CONTROL_TOKENS:
        raise RuntimeError(f"a stream went wrong: {answer}")


def keys_of(port: int) -> KeyConfig:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ohttp-keys", timeout=10) as answer:
        return decode_keys(answer.read())[0]


def in_turn(
    port: int,
    config: KeyConfig,
    bodies: Callable[[int], bytes],
    rounds: int,
    tokens: int,
    pid: int,
    *,
    later: bool = False,
) -> tuple[list[tuple[Answer, float]], list[tuple[Answer, float]]]:
    """Plain and sealed answers, each with the gateway's CPU seconds; who is first changes."""

    async def run() -> tuple[list[tuple[Answer, float]], list[tuple[Answer, float]]]:
        taken: dict[bool, list[tuple[Answer, float]]] = {False: [], True: []}
        for number in range(rounds + 2):
            for sealed in (True, False) if number % 2 else (False, True):
                before = cpu_seconds(pid)
                key = config if sealed else None
                answer = await ask(port, bodies(number), key, later=later)
                check(answer, tokens)
                await asyncio.sleep(0.02)
                if number >= 2:
                    taken[sealed].append((answer, cpu_seconds(pid) - before))
        return taken[False], taken[True]

    return asyncio.run(run())


def _added(plain: Sequence[tuple[Answer, float]], sealed: Sequence[tuple[Answer, float]]) -> float:
    """Milliseconds more until the first token, p50 against p50."""
    firsts = [statistics.median([answer.first for answer, _ in side]) for side in (sealed, plain)]
    return (firsts[0] - firsts[1]) * 1e3


def _p50(side: Sequence[tuple[Answer, float]]) -> float:
    return statistics.median([answer.first for answer, _ in side]) * 1e3


def first_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    print("\nFirst token: short requests, one after the other")
    stage.pace(60, 0)
    sides = in_turn(port, config, lambda n: chat_body(seed=n), 10 if quick else 300, 60, pid)
    added = _added(*sides)
    contexts = hpke_contexts(config)
    warm, cold = best(contexts) / 1e3, rested(contexts) / 1e3
    return [
        row("sealed: added to the first token, p50", "at most 2 ms", f"{added:.2f} ms",
            f"plain {_p50(sides[0]):.1f} ms; one X25519 is {x25519() / 1e3:.2f} ms, HPKE's two"
            f" contexts are {warm:.2f} ms, and {cold:.2f} ms after five of sleep", ok=added <= 2)
    ]  # fmt: skip


def chunk_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    tokens, rounds = (300, 3) if quick else (2000, 24)
    print(f"\nChunks: streams of {tokens} tokens, one after the other, 1,000 tokens a second")
    stage.pace(tokens, 1000)
    cost, chunks, size = chunk_cost(port, config, tokens, pid, rounds)
    rows = [
        row("sealed: CPU added to a streamed chunk", "at most 12 µs", f"{cost:.1f} µs",
            f"{chunks:.0f} chunks of {size} bytes for {tokens} tokens; the bare AEAD of one is"
            f" {aead(size):.1f} µs, and {aead_rested(size):.1f} µs a millisecond after the last",
            ok=cost <= 12)
    ]  # fmt: skip
    print("\nThe same, as fast as they come")
    stage.pace(tokens, 0)
    cost, chunks, size = chunk_cost(port, config, tokens, pid, rounds)
    rows.append(
        row("the same tokens as fast as they come: CPU added to a token", "",
            f"{cost * chunks / tokens:.1f} µs",
            f"what arrives together is sealed together: {chunks:.0f} chunks of {size} bytes")
    )  # fmt: skip
    return rows


def chunk_cost(
    port: int, config: KeyConfig, tokens: int, pid: int, rounds: int
) -> tuple[float, float, int]:
    """Microseconds of CPU that a chunk takes more than a piece in the clear, chunks of a stream,
    bytes of a chunk.
    """
    plain, sealed = in_turn(
        port, config, lambda n: chat_body(seed=n), rounds, tokens, pid, later=True
    )
    pairs = [
        (after - before) / answer.chunks * 1e6
        for (_, before), (answer, after) in zip(plain, sealed, strict=True)
    ]
    chunks = statistics.median([answer.chunks for answer, _ in sealed])
    size = round(statistics.median([answer.size / answer.chunks for answer, _ in sealed]))
    return statistics.median(pairs), chunks, size


def large_rows(stage: Stage, port: int, config: KeyConfig, pid: int, *, quick: bool) -> list[Row]:
    print("\nA request of 1 MB")
    stage.pace(60, 0)

    def body(number: int) -> bytes:
        # A field that is read and has no meaning: the prompt's own work would hide the seal's.
        filled = json.loads(chat_body(seed=number))
        filled["ballast"] = os.urandom(MEGABYTE // 2).hex()
        return json.dumps(filled).encode()

    sides = in_turn(port, config, body, 4 if quick else 60, 60, pid)
    added = _added(*sides)
    return [
        row("sealed: a request of 1 MB, added to the first token, p50", "at most 15 ms",
            f"{added:.1f} ms",
            f"plain {_p50(sides[0]):.1f} ms; the bare AEAD of it, twice, is"
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
is the cryptography alone, which nothing can avoid: warm, and as it is where tokens come one by \
one and the processor has turned to other things between them."""


if __name__ == "__main__":
    sys.exit(main())
