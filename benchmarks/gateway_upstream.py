"""A wire fake of llama.cpp's server that costs next to nothing: what the gateway talks to.

    python benchmarks/gateway_upstream.py PORT [--tokens 2000] [--rate 40]

It speaks ``/completion`` with ids and text, one event a token as the real server does, and
``/v1/chat/completions`` for those that do not speak Harmony. Every frame is made beforehand.
``POST /pace {"tokens": N, "rate": R}`` sets length and speed (tokens/s, 0: as fast as it goes; with
``"tail": T`` only the last T tokens keep to it, and answers that ask for fewer tokens come with 40
tokens/s). ``GET /seen`` tells when the last request came in
and when the last token of a whole answer went out, by the clock that all processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections.abc import Sequence
from functools import cache

import msgspec

from antiphon.vocab.control import CHANNEL, CONTROL_NAMES, END, MESSAGE, RETURN, START
from antiphon.vocab.table import token_bytes
from antiphon.vocab.tokenizer import default_tokenizer

MODEL = "gpt-oss-20b"
SEED = 7
ORDINARY_RATE = 40.0
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def completion(tokens: int) -> list[int]:
    """A reply of exactly ``tokens`` ids: a fifth of it reasoning, then the answer."""
    encode = default_tokenizer().encode
    analysis = [CHANNEL, *encode("analysis"), MESSAGE]
    final = [END, START, *encode("assistant"), CHANNEL, *encode("final"), MESSAGE]
    room = tokens - len(analysis) - len(final) - 1
    # Words in no order: text that repeats itself would rightly be taken for a runaway model.
    text = random.Random(SEED).choices(_words(), k=room)
    cut = room // 5
    return [*analysis, *text[:cut], *final, *text[cut:], RETURN]


@cache
def _words() -> list[int]:
    """Ordinary tokens that are a space and a word."""
    words = [token for token in range(1000, 20_000) if token_bytes(token)]
    return [t for t in words if re.fullmatch(rb" [a-z]{3,9}", token_bytes(t) or b"")]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(value: object) -> bytes:
    return _chunk(b"data: " + json.dumps(value).encode() + b"\n\n")


@cache
def raw_frames(tokens: int) -> Sequence[bytes]:
    """The events of ``/completion``."""
    frames = []
    for number, token in enumerate(completion(tokens), 1):
        text = "" if token in CONTROL_NAMES else (token_bytes(token) or b"").decode()
        frames.append(
            _event(
                {
                    "index": 0,
                    "content": text,
                    "tokens": [token],
                    "stop": False,
                    "id_slot": 0,
                    "tokens_predicted": number,
                    "tokens_evaluated": 100,
                }
            )
        )
    last = {
        "index": 0, "content": "", "tokens": [], "id_slot": 0, "stop": True, "stop_type": "eos",
        "stopping_word": "", "tokens_predicted": tokens, "tokens_evaluated": 100,
        "tokens_cached": 100 + tokens, "truncated": False,
        "timings": {"cache_n": 90, "prompt_n": 10, "prompt_ms": 1.0, "predicted_n": tokens,
                    "predicted_ms": 1.0},
    }  # fmt: skip
    frames.append(_event(last) + b"0\r\n\r\n")
    return frames


@cache
def chat_frames(tokens: int) -> Sequence[bytes]:
    """The events of the chat route, as the real server writes them."""

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        return _event(
            {
                "choices": [{"finish_reason": finish, "index": 0, "delta": delta}],
                "created": 1_790_000_000,
                "id": "chatcmpl-upstream",
                "model": MODEL,
                "system_fingerprint": "b1",
                "object": "chat.completion.chunk",
            }
        )

    frames = [event({"role": "assistant", "content": ""})]
    field = "reasoning_content"
    for token in completion(tokens):
        if token == END:
            field = "content"
        if token not in CONTROL_NAMES:
            frames.append(event({field: (token_bytes(token) or b"").decode()}))
    return [*frames, event({}, "stop"), _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]


class Upstream(asyncio.Protocol):
    """One connection. Requests on it are answered one after the other."""

    tokens, rate, tail = 2000, 0.0, 0
    came, last = 0.0, 0.0

    def __init__(self) -> None:
        self.rest = b""
        self.task: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(1 << 20)
        self.transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.rest += data
        head, found, body = self.rest.partition(b"\r\n\r\n")
        if not found:
            return
        line, *fields = head.split(b"\r\n")
        headers = dict(field.lower().split(b":", 1) for field in fields)
        length = int(headers.get(b"content-length", b"0"))
        if len(body) < length:
            return
        self.rest = body[length:]
        method, path, _ = line.decode().split(" ", 2)
        self.answer(method, path.partition("?")[0], body[:length])

    def answer(self, method: str, path: str, body: bytes) -> None:
        if path == "/completion":
            Upstream.came = time.perf_counter()
            limit = msgspec.json.decode(body).get("n_predict", -1)
            tokens = self.tokens if limit < 0 else min(limit, self.tokens)
            frames = raw_frames(max(tokens, 20))
            self.task = asyncio.ensure_future(self.stream(frames, 3, whole=tokens == self.tokens))
        elif path == "/v1/chat/completions":
            self.task = asyncio.ensure_future(self.stream(chat_frames(self.tokens), 1))
        elif path == "/pace":
            wanted = msgspec.json.decode(body)
            Upstream.tokens, Upstream.rate = wanted["tokens"], wanted["rate"]
            Upstream.tail = wanted.get("tail", 0)
            self.reply({"ok": True})
        elif path == "/seen":
            self.reply({"came": Upstream.came, "last": Upstream.last})
        elif path == "/tokenize":
            text = msgspec.json.decode(body)["content"]
            names = {name: token for token, name in CONTROL_NAMES.items()}
            self.reply({"tokens": [names[text]] if text in names else [1]})
        elif path == "/props":
            self.reply(
                {
                    "chat_template": "<|start|>system<|channel|><|message|>",
                    "model_path": f"/models/{MODEL}.gguf",
                    "total_slots": 512,
                    "build_info": "b1-fake",
                    "modalities": {},
                    "chat_template_caps": {},
                    "default_generation_settings": {"n_ctx": 131_072},
                }
            )
        elif path == "/health":
            self.reply({"status": "ok"})
        elif path == "/v1/models":
            model = {"id": MODEL, "object": "model", "owned_by": "llamacpp",
                     "meta": {"n_ctx_train": 131_072}}  # fmt: skip
            self.reply({"object": "list", "data": [model]})
        else:
            self.reply({"error": {"code": 404, "message": "not found", "type": "not_found"}}, 404)

    def reply(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.transport.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )

    async def stream(self, frames: Sequence[bytes], at_once: int, *, whole: bool = True) -> None:
        """``at_once``: so many frames come before the first text, which is not kept waiting."""
        write, rate = self.transport.write, self.rate
        if self.tail and not whole:
            rate = ORDINARY_RATE
        loop = asyncio.get_running_loop()
        write(_HEAD)
        begin = loop.time()
        paced_from = max(len(frames) - self.tail, 0) if self.tail and whole else 0
        for number, frame in enumerate(frames):
            if rate and number == paced_from > 0:
                begin, at_once = loop.time(), number
            if whole and number == len(frames) - 2:
                Upstream.last = time.perf_counter()
            if rate and number >= paced_from:
                # The event that says that it is over comes with the last token.
                due = min(number, len(frames) - 2) - at_once
                ahead = begin + due / rate - loop.time()
                if ahead > 0:
                    await asyncio.sleep(ahead)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            await self.writable.wait()
            write(frame)


async def serve(port: int, tokens: int, rate: float) -> None:
    Upstream.tokens, Upstream.rate = tokens, rate
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=1024)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    # Not uvloop: it would join the events of one turn of the loop into one write.
    asyncio.run(serve(options.port, options.tokens, options.rate))


if __name__ == "__main__":
    main()
