"""The load: streams read from a server with as little work as possible, and what came when."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CHAT",
    "RESPONSES",
    "Answer",
    "chat_body",
    "open_streams",
    "percentile",
    "request",
    "response_body",
]

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
_FIRST = re.compile(rb'"(?:reasoning_content|reasoning|content|delta)": ?"[^"]')
_EVENTS = b"data: {"


@dataclass
class Answer:
    """One stream, in seconds since its request was sent."""

    status: int = 0
    first: float = 0.0
    last: float = 0.0
    events: int = 0
    done: bool = False
    error: str = ""
    ended: float = 0.0
    """When it was complete, by the clock that all processes of the machine share."""
    gaps: list[float] = field(default_factory=list)


def chat_body(prompt_tokens: int = 60, *, model: str = "gpt-oss-20b", seed: int = 0) -> bytes:
    """A request whose history is about ``prompt_tokens`` long, the same for every ``seed``'s turn
    but for the last question."""
    messages = [{"role": "system", "content": "You are a careful assistant."}]
    line = "Every boat that came in overnight was counted and its name written into the ledger. "
    for turn in range(max(prompt_tokens // 400, 0)):
        messages.append({"role": "user", "content": f"Question {turn}: " + line * 10})
        messages.append({"role": "assistant", "content": f"Answer {turn}: " + line * 13})
    messages.append({"role": "user", "content": f"Tell me about the canal, part {seed}."})
    return json.dumps({"model": model, "stream": True, "messages": messages}).encode()


def response_body(seed: int = 0, *, model: str = "gpt-oss-20b", **fields: Any) -> bytes:
    """A request for a streamed response, which is stored unless ``fields`` say otherwise."""
    asked = {"model": model, "input": f"Tell me about the canal, part {seed}.", "stream": True}
    return json.dumps({**asked, **fields}).encode()


async def request(port: int, body: bytes, *, path: str = CHAT) -> Answer:
    """One streamed answer."""
    answer = Answer()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer sk-benchmark\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), port, len(body), body)
        )
        begin = before = time.perf_counter()
        try:
            await _read(reader, answer, begin, before)
        finally:
            writer.close()
    except OSError as error:
        answer.error = str(error)
    return answer


async def _read(reader: asyncio.StreamReader, answer: Answer, begin: float, before: float) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    answer.status = int(head.split(b" ", 2)[1])
    tail = b""
    while data := await reader.read(1 << 18):
        now = time.perf_counter()
        text = tail + data
        answer.events += text.count(_EVENTS) - tail.count(_EVENTS)
        if not answer.first and _FIRST.search(text):
            answer.first = now - begin
        elif answer.first:
            answer.gaps.append(now - before)
        before = now
        if b"data: [DONE]" in text:
            answer.done, answer.last, answer.ended = True, now - begin, now
            return
        if answer.status != 200:
            answer.error = text.decode("utf-8", "replace")[-300:]
            if b"}" in data:
                return
        # An event, or the name of a field, may be cut in two: keep what could be its beginning.
        tail = text[-200:]


async def open_streams(
    port: int, bodies: Sequence[bytes], *, spread: float = 0.0, path: str = CHAT
) -> list[Answer]:
    """All at a time, their starts spread over ``spread`` seconds."""

    async def one(number: int, body: bytes) -> Answer:
        if spread:
            await asyncio.sleep(spread * number / len(bodies))
        return await request(port, body, path=path)

    return list(await asyncio.gather(*[one(n, body) for n, body in enumerate(bodies)]))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of them lie."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=1000, method="inclusive")[
        min(max(round(share * 1000) - 1, 0), 998)
    ]
