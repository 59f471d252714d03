"""The tiny model behind the gateway against llama.cpp's own chat route, in the same server."""

from __future__ import annotations

import json
import statistics
import sys
import time
import urllib.request
from pathlib import Path

from gateway_child import Child

__all__ = ["tiny_rows"]

QUESTION = "Count from 1 to 20."


def _ask(url: str, body: dict[str, object]) -> tuple[float, int]:
    """Seconds of the streamed answer, and its tokens."""
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json"}
    call = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(asked).encode(), headers)
    begin = time.perf_counter()
    tokens = 0
    for line in urllib.request.urlopen(call, timeout=120):
        if line.startswith(b"data: {") and (usage := json.loads(line[6:]).get("usage")):
            tokens = usage["completion_tokens"]
    return time.perf_counter() - begin, tokens


def tiny_rows(folder: Path, *, quick: bool) -> list[tuple[str, str, str, str, bool]]:
    """One row: our tokens/s over llama.cpp's, asked in turn for as many tokens."""
    from antiphon.engines.tiny.model import MODEL_NAME, tiny_server

    print("\nTiny model in the real llama.cpp server")
    body: dict[str, object] = {
        "model": MODEL_NAME,
        "temperature": 0,
        "max_tokens": 200,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    with tiny_server() as server:
        command = [
            sys.executable, "-m", "antiphon.cli", "serve", "--engine", server.url, "--port", "0",
        ]  # fmt: skip
        with Child(*command, core=None, log=folder / "tiny.log") as child:
            log = child.wait_for("http://127.0.0.1:")
            while not (ours_url := _other_url(log, server.url)):
                time.sleep(0.1)
                log = child.log.read_text("utf-8", "replace")
            _, wanted = _ask(ours_url, body)
            # The chat route's own template turns the tiny model's words into something else; what
            # it writes does not matter, how fast it writes does.
            bare = {**body, "ignore_eos": True, "max_tokens": wanted}
            _ask(server.url, bare)
            ours, theirs = [], []
            for _ in range(3 if quick else 25):
                for url, asked, rates in ((server.url, bare, theirs), (ours_url, body, ours)):
                    seconds, tokens = _ask(url, asked)
                    if tokens != wanted:
                        raise RuntimeError(f"{url} wrote {tokens} tokens where {wanted} are due")
                    rates.append(tokens / seconds)
    ratio = statistics.median([a / b for a, b in zip(ours, theirs, strict=True)])
    return [
        (
            f"tiny model, streams of {wanted} tokens: tokens/s against llama.cpp's own chat route",
            "at least 0.95x",
            f"{ratio:.2f}x",
            f"{statistics.median(ours):.0f} and {statistics.median(theirs):.0f} tokens/s",
            ratio >= 0.95,
        )
    ]


def _other_url(log: str, url: str) -> str | None:
    for word in log.replace(",", " ").split():
        if word.startswith("http://127.0.0.1:") and not word.startswith(url):
            return word.rstrip("/.").removesuffix("/v1")
    return None
