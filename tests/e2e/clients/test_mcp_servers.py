"""MCP servers from the registries in the agent's loop: one from PyPI, one from npm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import command

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

FILES = NODE_FOLDER / "node_modules" / "@modelcontextprotocol/server-filesystem/dist/index.js"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "note.txt").write_text("the word is heron", encoding="utf-8")
    (tmp_path / "hidden.txt").write_text("nobody reads this", encoding="utf-8")
    servers: dict[str, Any] = {
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time"]},
        "files": {
            "command": str(node()),
            "args": [str(FILES), "${SEEN}"],
            "trust": True,
        },
    }
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return tmp_path


def run(folder: Path, question: str, *options: str) -> list[dict[str, Any]]:
    """The events of a run on the scripted engine."""
    mcp = ("--mcp", str(folder / "mcp.json"))
    done = subprocess.run(
        [*command(), "run", "--engine", "scripted", *mcp, "--json", *options, question],
        env=os.environ | {"SEEN": str(folder / "seen")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode in (0, 4), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def result(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the one call came to."""
    (ended,) = [event for event in events if event["type"] == "tool-ended"]
    return ended


def test_the_time_server_is_called_and_answers(folder: Path) -> None:
    events = run(
        folder,
        "Call time_convert_time with source_timezone Europe/Oslo, time 12:00 and"
        " target_timezone Europe/Helsinki",
        "--yes",
    )
    ended = result(events)
    assert not ended["failed"], ended
    assert json.loads(ended["text"])["time_difference"] == "+1.0h"
    assert events[-1]["answer"].startswith("time_convert_time says: ")


def test_a_call_of_an_untrusted_server_is_refused_where_nobody_can_be_asked(folder: Path) -> None:
    events = run(folder, "Call time_get_current_time with timezone Europe/Oslo")
    assert result(events)["refused"]


def test_a_trusted_file_server_reads_unasked_and_stays_in_its_folder(folder: Path) -> None:
    note = folder / "seen" / "note.txt"
    ended = result(run(folder, f"Call files_read_text_file with path {note}"))
    assert (ended["failed"], ended["text"]) == (False, "the word is heron")
    ended = result(run(folder, f"Call files_read_text_file with path {folder / 'hidden.txt'}"))
    assert ended["failed"]
    assert "Access denied" in ended["text"]
    ended = result(run(folder, f"Call files_write_file with path {note} and content x"))
    assert ended["refused"]
    assert note.read_text(encoding="utf-8") == "the word is heron"
