"""``antiphon run`` as people run it: a real process, real llama.cpp, the real tiny model."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.serving import command

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NOTE = "this is a test model that knows a few dozen questions by heart"


@pytest.fixture
def run(tiny_model_path: Path, tmp_path: Path) -> Run:
    ours = ("ANTIPHON_", "XDG_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {"ANTIPHON_CACHE": str(tiny_model_path.parent), "HOME": str(tmp_path)}

    def antiphon(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(), *arguments],
            cwd=tmp_path,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return antiphon


def test_the_tiny_model_calls_its_tool_and_answers(run: Run) -> None:
    done = run("run", "--engine", "tiny", "What is the weather like in Paris?")
    assert (done.returncode, done.stdout) == (0, "It is 20 degrees in Paris.\n"), done.stderr
    first, *lines, last = done.stderr.splitlines()
    assert NOTE in first
    assert lines == [
        "tiny-gpt-oss, llama.cpp with tiny-gpt-oss",
        "thinking: Need to use function get_current_weather.",
        'call get_current_weather {"location": "Paris"}',
        'result get_current_weather: {"temperature": 20, "sunny": true}',
    ]
    assert last.startswith("2 turns, 1 call, ")


@pytest.mark.slow
def test_a_session_goes_on_in_another_process(run: Run) -> None:
    first = run("run", "--engine", "tiny", "--save", "What is the weather like in Paris?")
    assert first.returncode == 0, first.stderr
    second = run("run", "--engine", "tiny", "--continue", "--json", "And in London?")
    assert second.returncode == 0, second.stderr
    events = [json.loads(line) for line in second.stdout.splitlines()]
    (call,) = [event for event in events if event["type"] == "call-made"]
    assert (call["tool"], json.loads(call["arguments"])) == (
        "get_current_weather",
        {"location": "London"},
    )
    # It was trained to make this call, not to answer the second of two.
    assert events[-1]["answer"].startswith("It is 20 degrees in ")
    id = run("sessions", "list").stdout.split()[0]
    shown = run("sessions", "show", id).stdout
    assert shown.count("## Call `get_current_weather`") == 2


@pytest.mark.slow
def test_a_preamble_is_told_apart_from_the_answer(run: Run) -> None:
    done = run("run", "--engine", "tiny", "Plan a trip to Oslo. Tell me your plan first.")
    assert done.stdout == "It is 20 degrees in Oslo.\n"
    assert "preamble: I will check the weather in Oslo first." in done.stderr.splitlines()


@pytest.mark.slow
def test_effort_decides_how_much_it_thinks(run: Run) -> None:
    low = run("run", "--engine", "tiny", "--effort", "low", "What is 2 + 2?")
    high = run("run", "--engine", "tiny", "--effort", "high", "What is 2 + 2?")
    assert low.stdout == high.stdout == "2 + 2 = 4.\n"
    assert "thinking" not in low.stderr
    assert "thinking: We need 2 + 2 = 4. Check: 2 + 2 = 4. Good." in high.stderr.splitlines()


@pytest.mark.slow
def test_it_offers_the_tiny_model_no_tool_that_it_cannot_call(run: Run) -> None:
    done = run("run", "--engine", "tiny", "--tools", "read", "Hello!")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "antiphon run: --tools: tiny-gpt-oss can call get_current_weather only"
    )
