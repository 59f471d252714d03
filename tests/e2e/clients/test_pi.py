"""pi, a coding agent, over both APIs: one tool loop, and a second turn of the same session."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

PACKAGE = NODE_FOLDER / "node_modules" / "@earendil-works" / "pi-coding-agent"


class Pi:
    """A pi with a home and a working folder of its own."""

    def __init__(self, server: Serving, folder: Path, api: str) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        gateway = {
            "baseUrl": server.base_url,
            "api": api,
            "apiKey": "unused",
            "models": [{"id": "gpt-oss-120b", "reasoning": True}],
        }
        models = {"providers": {"gateway": gateway}}
        (self.home / "models.json").write_text(json.dumps(models), encoding="utf-8")

    def run(self, prompt: str, *flags: str) -> list[Any]:
        """The messages of one headless run."""
        done = subprocess.run(
            [
                *(node(), PACKAGE / "dist" / "bundle" / "cli.js"),
                *("--provider", "gateway", "--model", "gpt-oss-120b", "--mode", "json", "-p"),
                *flags,
                prompt,
            ],
            cwd=self.work,
            env=os.environ
            | {"HOME": str(self.home), "PI_CODING_AGENT_DIR": str(self.home), "PI_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return [event["message"] for event in events if event["type"] == "message_end"]


def parts(messages: list[Any], kind: str) -> list[Any]:
    return [
        part
        for message in messages
        if message["role"] == "assistant"
        for part in message["content"]
        if part["type"] == kind
    ]


@pytest.mark.parametrize("api", ["openai-responses", "openai-completions"])
def test_it_reads_a_file_and_knows_it_in_the_next_turn(
    server: Serving, tmp_path: Path, api: str
) -> None:
    pi = Pi(server, tmp_path, api)
    (pi.work / "notes.txt").write_text("The code word is zebra-42.", encoding="utf-8")
    said = pi.run("Use the read tool on path notes.txt and tell me what it says. My name is Ada.")
    (call,) = parts(said, "toolCall")
    assert (call["name"], call["arguments"]["path"]) == ("read", "notes.txt")
    assert "zebra-42" in parts(said, "text")[-1]["text"]
    assert parts(said, "thinking")
    assert said[-1]["usage"]["cacheRead"] > 0
    again = pi.run("Do not use any tool. What is my name?", "--continue")
    assert "Ada" in parts(again, "text")[-1]["text"]
