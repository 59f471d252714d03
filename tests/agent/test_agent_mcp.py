"""The agent's loop with tools of MCP servers, on the scripted engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("mcp")

ROUGH = Path(__file__).parents[1] / "tools" / "rough_mcp_server.py"
COMMAND = (sys.executable, "-m", "antiphon.cli", "run", "--engine", "scripted")


def run(
    folder: Path, question: str, *options: str, trust: bool = False
) -> tuple[list[dict[str, Any]], str]:
    servers = {
        "rough": {
            "command": sys.executable,
            "args": [str(ROUGH), str(folder / "notes")],
            "trust": trust,
        },
        "absent": {"command": "no-such-program"},
    }
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "--mcp", str(file), "--json", *options, question],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode in (0, 4), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def ended(events: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [event for event in events if event["type"] == "tool-ended"]
    return found


def test_a_tool_of_a_server_is_called_and_the_model_reads_its_result(tmp_path: Path) -> None:
    events, said = run(tmp_path, "Call rough_echo with text heron", "--yes")
    assert "the MCP server absent cannot be used: there is no program no-such-program" in said
    assert "rough_echo" in events[0]["tools"]
    assert (ended(events)["text"], ended(events)["failed"]) == ("heron", False)
    assert "heron" in events[-1]["answer"]
    assert (tmp_path / "notes").read_text().splitlines()[-1] == "end"


def test_only_what_a_trusted_server_calls_reading_is_called_unasked(tmp_path: Path) -> None:
    assert ended(run(tmp_path, "Call rough_echo with text heron")[0])["refused"]
    assert not ended(run(tmp_path, "Call rough_echo with text heron", trust=True)[0])["refused"]
    assert ended(run(tmp_path, "Call rough_fail with text heron", trust=True)[0])["refused"]


def test_a_server_that_dies_in_a_call_ends_no_conversation(tmp_path: Path) -> None:
    events, _ = run(tmp_path, "Call rough_die with text heron", "--yes")
    assert "it ended with status 7" in ended(events)["text"]
    assert events[-1]["reason"] == "answer"


def test_without_tools_no_server_is_started(tmp_path: Path) -> None:
    events, _ = run(tmp_path, "Hello", "--tools", "none")
    assert events[0]["tools"] == []
    assert not (tmp_path / "notes").exists()
