"""The benchmarks run and find equal outputs. Their figures are nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CODEC = BENCHMARKS / "codec.py"
GATEWAY = BENCHMARKS / "gateway.py"
SEAL = BENCHMARKS / "seal.py"
RESPONSES = BENCHMARKS / "responses.py"
TOOLS = BENCHMARKS / "tools.py"
AGENT = BENCHMARKS / "agent.py"


def run(*arguments: str, script: Path = CODEC) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_rows_are_measured_after_their_outputs_were_found_equal() -> None:
    pytest.importorskip("openai_harmony")
    done = run(
        "--quick",
        "--only",
        "own API, messages of 20|own feed, ASCII|own API, cold, 50 messages of 20|random emoji, id",
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("  ok", "  short"))]
    assert len(rows) == 4, done.stdout
    for named in ("API, messages of 20", "own feed, ASCII", "cold, 50", "random emoji, ids"):
        assert sum(named in row for row in rows) == 1, done.stdout


def test_every_row_is_listed_once() -> None:
    rows = run("--list").stdout.splitlines()
    assert len(rows) == len(set(rows)) > 40


def test_a_pattern_without_rows_is_a_usage_error() -> None:
    done = run("--only", "no such row")
    assert done.returncode == 2
    assert "no row matches" in done.stderr


@pytest.mark.parametrize(
    ("script", "part"),
    [
        (CODEC, ("--only", "import antiphon")),
        pytest.param(GATEWAY, ("--quick",), marks=pytest.mark.slow),
        pytest.param(SEAL, ("--quick",), marks=pytest.mark.slow),
        pytest.param(AGENT, ("--quick",), marks=pytest.mark.slow),
        pytest.param(RESPONSES, ("--only", "read"), marks=pytest.mark.slow),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_results_are_written_only_from_a_full_run(script: Path, part: tuple[str, ...]) -> None:
    done = run("--write", *part, script=script)
    assert done.returncode == 2
    assert "needs every row" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_the_gateway_carries_every_token_of_two_hundred_streams_as_an_event_of_its_own() -> None:
    """Thirty seconds of the load that `make bench` puts on it for ten minutes."""
    done = run("--quick", "--minutes", "0.5", "--only", "sustained", script=GATEWAY)
    assert done.returncode == 0, done.stderr
    assert "slowest against the median" in done.stdout
    assert "event loop's lag" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_sealed_streams_are_measured_against_plain_ones() -> None:
    done = run("--quick", script=SEAL)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("  ok", "  short"))]
    assert len(rows) == 4, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_the_responses_apis_rows_are_measured_and_each_streams_whole() -> None:
    pytest.importorskip("cryptography")
    done = run("--quick", script=RESPONSES)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("  ok", "  short"))]
    assert len(rows) == 7, done.stdout
    for named in ("CPU a token", "behind its commit", "of a chain", "over HTTP", "store alone"):
        assert sum(named in row for row in rows) == 1, done.stdout


@pytest.mark.slow
def test_pages_are_opened_and_read() -> None:
    pytest.importorskip("lxml")
    done = run("--quick", script=TOOLS)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "browser.open, " in line]
    assert len(rows) == 3, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc and a pseudo-terminal")
def test_the_agents_rows_are_measured_in_a_real_terminal() -> None:
    for package in ("textual", "lxml"):
        pytest.importorskip(package)
    done = run("--quick", script=AGENT)
    assert done.returncode == 0, done.stderr
    for named in (
        "from Enter to the first byte",
        "a key on the screen",
        "run --help",
        "python tool",
    ):
        assert named in done.stdout
