"""Public conformance suites, each as it is shipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MUSTS = {"models": 4, "chat": 101, "responses": 95, "completions": 3}
"""What llmprobe checks of each surface that we have."""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def comply(server: Serving, model: str, kind: str) -> dict[str, tuple[str, Any]]:
    """What became of each of llm-comply's tests, and what it found."""
    tool = Path(sys.executable).with_name("llm-comply")
    done = run(tool, "-u", server.base_url, "-k", "x", "-m", model, "--format", kind, "--json")
    report = json.loads(done.stdout)
    results = {r["name"]: (r["status"], r.get("errors")) for r in report["results"]}
    assert done.returncode == 0, results
    return results


@pytest.mark.parametrize("model", ["gpt-oss-120b", "gpt-5-oss-alias"])
@pytest.mark.parametrize(("kind", "tests"), [("openai-chat", 9), ("open-responses", 13)])
def test_llm_comply_passes_whole(
    server: Serving, open_responses: Serving, kind: str, tests: int, model: str
) -> None:
    """The second name is one of those for which it runs its test of reasoning as well."""
    results = comply(open_responses if kind == "open-responses" else server, model, kind)
    skipped = [name for name, (status, _) in results.items() if status == "skipped"]
    assert len(skipped) == (model == "gpt-oss-120b"), results
    assert {status for name, (status, _) in results.items() if name not in skipped} == {"passed"}
    assert len(results) == tests


def test_canitoolcall_passes_whole(server: Serving, tmp_path: Path) -> None:
    done = run(
        *(sys.executable, "-m", "canitoolcall", "probe"),
        *("--base-url", server.base_url, "--model", "gpt-oss-120b"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "summary: 27 pass, 0 fail, 0 error, 0 skip" in done.stdout


@pytest.fixture(scope="module")
def llmprobe(open_responses: Serving, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("llmprobe") / "report.json"
    program = NODE_FOLDER / "node_modules" / "llmprobe" / "bin" / "dist" / "llmprobe.mjs"
    done = run(
        *(node(), program, open_responses.base_url, "-m", "scripted"),
        *("--no-bench", "--no-save", "--no-color", "--json", "--full", "--save", file),
        cwd=file.parent,
    )
    assert file.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(file.read_text("utf-8"))


def test_llmprobe_finds_every_must_kept(llmprobe: Any) -> None:
    conformance = llmprobe["conformance"]
    failed = [r for r in conformance["results"] if r["outcome"] == "fail"]
    assert not failed
    assert conformance["passed"] == conformance["total"]
    assert {s["surface"]: s["passed"] for s in conformance["bySurface"]} == MUSTS


def test_llmprobe_has_nothing_to_warn_of(llmprobe: Any) -> None:
    assert llmprobe["conformance"]["warnings"] == []
