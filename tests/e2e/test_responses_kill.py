"""A server that is killed at any moment: what it acknowledged is whole then, or has failed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

pytest.importorskip("starlette")

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.e2e.serving import command

WAIT = 60.0
LINES = [
    {
        "emit": "<|channel|>analysis<|message|>One two three.<|end|><|start|>assistant"
        "<|channel|>final<|message|>Four five six seven.<|return|>",
        "delay_ms": 10,
    }
]


class Server:
    """`antiphon serve` over one SQLite file, which is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        trace = folder / "trace.jsonl"
        trace.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
        self._arguments = ["--engine", f"scripted:{trace}", "--port", "0"]
        self._arguments += ["--set", f"store.url=sqlite:{folder / 'store.db'}"]
        self._arguments += ["--set", "responses.background=64"]
        self._arguments += ["--set", "responses.background_per_key=0"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def start(self) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ANTIPHON_", "XDG_"))}
        env["HOME"] = str(self.folder)
        self.process = subprocess.Popen(
            [*command(), "serve", *self._arguments], stderr=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "serves http" in line:
                self.url = line.split("serves ")[1].split("/v1")[0]
                break
        self._drain = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._drain.start()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(WAIT)
        self._drain.join(WAIT)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=WAIT) as answer:
            data: bytes = answer.read()
        return data

    def ask(self, acknowledged: dict[str, Any], **parameters: Any) -> None:
        """One request. What of it came before the server died is acknowledged."""
        body = {"model": "m", "input": "Hi", **parameters}
        request = urllib.request.Request(
            f"{self.url}/v1/responses",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=WAIT) as answer:
                if not parameters.get("stream"):
                    response = json.loads(answer.read())
                    acknowledged[response["id"]] = response
                    return
                for line in answer:
                    if line.startswith(b"data: {") and line.endswith(b"\n"):
                        event = json.loads(line.removeprefix(b"data: "))
                        if "response" in event:
                            acknowledged[event["response"]["id"]] = event["response"]
        except (OSError, ValueError, urllib.error.HTTPError):
            return
        except Exception:  # noqa: BLE001 - http.client has many words for a server that is gone
            return


KINDS: list[dict[str, Any]] = [
    {},
    {"stream": True},
    {"background": True},
    {"background": True, "stream": True},
]


def rounds(folder: Path, kills: int) -> dict[str, int]:
    with Server(folder) as server:
        return killed(server, kills)


def killed(server: Server, kills: int) -> dict[str, int]:
    """How many answers were acknowledged, by what became of them over the `kills`."""
    counts: dict[str, int] = {}
    for kill in range(kills):
        acknowledged: dict[str, Any] = {}
        server.start()
        gone = threading.Event()
        threads = [
            threading.Thread(target=_ask_until, args=(server, gone, acknowledged, 8 * kill + which))
            for which in range(8)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + WAIT
        while not acknowledged and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.Random(kill).uniform(0, 0.5))
        server.kill()
        gone.set()
        for thread in threads:
            thread.join(WAIT)
        server.start()
        for id_, told in acknowledged.items():
            found = json.loads(server.get(f"/v1/responses/{id_}"))
            check_response(found)
            assert found["status"] in ("completed", "failed", "cancelled")
            if told["status"] == "completed":
                assert found == told
            events = read_sse(server.get(f"/v1/responses/{id_}?stream=true"))
            check_events(events)
            assert events[-1]["response"] == found
            counts[found["status"]] = counts.get(found["status"], 0) + 1
        server.kill()
    return counts


def _ask_until(
    server: Server, gone: threading.Event, acknowledged: dict[str, Any], seed: int
) -> None:
    """Asks without a pause, so that the kill always finds answers under way."""
    chosen = random.Random(seed)
    while not gone.is_set():
        server.ask(acknowledged, **chosen.choice(KINDS))


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    counts = rounds(tmp_path, 1)
    assert counts["failed"] > 0


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_again_and_again(tmp_path: Path) -> None:
    counts = rounds(tmp_path, 8)
    assert counts["failed"] > 0
    assert counts["completed"] > 0
