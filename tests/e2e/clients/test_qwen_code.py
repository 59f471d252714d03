"""Qwen Code, a coding agent: one tool loop, on files of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


def qwen(server: Serving, folder: Path, prompt: str) -> list[dict[str, object]]:
    """The messages of one headless run."""
    home = folder / "home"
    work = folder / "work"
    home.mkdir()
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            node(),
            NODE_FOLDER / "node_modules" / ".bin" / "qwen",
            *("--bare", "--yolo", "--auth-type", "openai", "--output-format", "json"),
            prompt,
        ],
        cwd=work,
        env=os.environ
        | {
            "HOME": str(home),
            "OPENAI_API_KEY": "unused",
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_MODEL": "gpt-oss-120b",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout[done.stdout.index("[") :])  # type: ignore[no-any-return]


def test_it_reads_a_file_with_its_tool_and_tells_what_is_in_it(
    server: Serving, tmp_path: Path
) -> None:
    notes = tmp_path / "work" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("The code word is zebra-42.", encoding="utf-8")
    said = qwen(server, tmp_path, f"Use the read_file tool on {notes} and tell me what it says.")
    calls = [
        part
        for message in said
        if message["type"] == "assistant"
        for part in message["message"]["content"]  # type: ignore[index]
        if part["type"] == "tool_use"
    ]
    assert [(c["name"], c["input"]["file_path"]) for c in calls] == [("read_file", str(notes))]
    assert said[-1]["subtype"] == "success"
    assert "zebra-42" in str(said[-1]["result"])


def test_it_writes_a_file_with_its_shell(server: Serving, tmp_path: Path) -> None:
    target = tmp_path / "work" / "made.txt"
    said = qwen(
        server,
        tmp_path,
        "Use the run_shell_command tool, command `printf zebra > made.txt`, is_background false.",
    )
    assert said[-1]["subtype"] == "success"
    assert target.read_text("utf-8") == "zebra"
