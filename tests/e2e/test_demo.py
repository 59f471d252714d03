"""``antiphon demo`` as people run it: a real process, a real server, the real tiny model."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd")

Start = Callable[..., "subprocess.Popen[str]"]

CONVERSATION = """\
user: What is 2 + 2?
analysis: We need 2 + 2 = 4.
final: 2 + 2 = 4.

user: What is the weather like in Paris?
analysis: Need to use function get_current_weather.
commentary to=functions.get_current_weather: {"location": "Paris"}
tool functions.get_current_weather: {"temperature": 20, "sunny": true}
final: It is 20 degrees in Paris.
"""


@pytest.fixture
def start(tiny_model_path: Path) -> Start:
    def demo(
        *arguments: str, cache: Path | None = None, output: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "antiphon.cli", "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env=os.environ | {"ANTIPHON_CACHE": str(cache or tiny_model_path.parent)},
            text=True,
        )

    return demo


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found


def ended(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(20_000))


def test_in_a_pipe_it_prints_whole_plain_lines(start: Start) -> None:
    demo = start()
    out, err = demo.communicate()
    assert (demo.returncode, err) == (0, "")
    opening, rest = out.split("\n\n", 1)
    conversation, summary = rest.rsplit("\n\n", 1)
    assert "test model" in opening.splitlines()[0]
    assert re.search(
        r"^tiny-gpt-oss, ready in .* s at http://127\.0\.0\.1:\d+$", opening, re.MULTILINE
    )
    assert conversation + "\n" == CONVERSATION
    assert re.fullmatch(
        r"75 tokens in 3 turns at \d+ tokens/s, from prompts of \d+ tokens\n", summary
    )
    assert "\x1b" not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effort", "thoughts"),
    [
        ("low", []),
        (
            "high",
            [
                "We need 2 + 2 = 4. Check: 2 + 2 = 4. Good.",
                "Need to use function get_current_weather. The location is Paris.",
                "We have the result. Answer now.",
            ],
        ),
    ],
)
def test_effort_decides_how_much_it_thinks(start: Start, effort: str, thoughts: list[str]) -> None:
    out, _ = start("--effort", effort).communicate()
    assert re.findall(r"^analysis: (.*)$", out, re.MULTILINE) == thoughts
    assert re.findall(r"^final: (.*)$", out, re.MULTILINE) == [
        "2 + 2 = 4.",
        "It is 20 degrees in Paris.",
    ]


@pytest.mark.slow
def test_json_gives_every_step_as_a_line(start: Start) -> None:
    out, _ = start("--json").communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    assert {"type": "text", "text": "We"} in steps
    starts = [step for step in steps if step["type"] == "start"]
    assert [step["channel"] for step in starts] == [
        "analysis",
        "final",
        "analysis",
        "commentary",
        "final",
    ]
    assert starts[3]["recipient"] == "functions.get_current_weather"
    assert starts[3]["content_type"] == "<|constrain|>json"
    assert [step["stop"] for step in steps if step["type"] == "end"] == [
        "<|end|>",
        "<|return|>",
        "<|end|>",
        "<|call|>",
        "<|return|>",
    ]
    assert steps[-1]["type"] == "summary"
    assert steps[-1]["completion_tokens"] == 75
    assert steps[-1]["tokens_per_second"] > 0


def test_on_a_terminal_tokens_appear_one_by_one_in_colour(start: Start) -> None:
    leader, follower = pty.openpty()
    demo = start(output=follower)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:
        pass  # Linux says EIO when the other end has closed.
    finally:
        os.close(leader)
    _, err = demo.communicate()
    assert (demo.returncode, err) == (0, "")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")
    assert CONVERSATION in text
    assert re.search(rb"We\x1b\[0m\x1b\[[0-9;]*m need", shown)


@pytest.mark.slow
def test_ctrl_c_ends_it_and_its_server(start: Start) -> None:
    demo = start()
    assert demo.stdout is not None
    while not demo.stdout.readline().startswith("user:"):
        pass
    children = [os.pidfd_open(child) for child in children_of(demo.pid)]
    assert children
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (130, "antiphon demo: interrupted\n")
    assert all(ended(child) for child in children)
    for child in children:
        os.close(child)


def test_ctrl_c_while_it_prepares_ends_it_and_its_server(start: Start) -> None:
    demo = start()
    assert demo.stdout is not None
    while "starting" not in demo.stdout.readline():
        pass
    children: list[int] = []
    while not children and demo.poll() is None:
        children = [os.pidfd_open(child) for child in children_of(demo.pid)]
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (130, "antiphon demo: interrupted\n")
    assert all(ended(child) for child in children)
    for child in children:
        os.close(child)


def test_a_reader_that_goes_away_is_no_error(start: Start) -> None:
    demo = start()
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    _, err = demo.communicate()
    assert (demo.returncode, err) == (0, "")


def test_a_cache_that_cannot_be_written_is_one_clear_line(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    demo = start(cache=tmp_path / "file" / "cache")
    _, err = demo.communicate()
    assert demo.returncode == 1
    assert re.fullmatch(r"antiphon demo: cannot keep a file in .*ANTIPHON_CACHE.*\n", err)


@pytest.mark.slow
def test_the_first_run_builds_the_model_and_the_second_does_not(
    start: Start, tmp_path: Path
) -> None:
    first, _ = start(cache=tmp_path).communicate()
    second, _ = start(cache=tmp_path).communicate()
    assert "... computing the token tables\n" in first
    assert "computing" not in second
    assert CONVERSATION in first
    assert CONVERSATION in second


@pytest.mark.slow
def test_make_demo_works_in_a_fresh_checkout(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    root = Path(__file__).parents[2]
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in files.split("\0"):
        if name and (root / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, tmp_path / name)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"ANTIPHON_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "... computing the token tables\n" in done.stdout
    assert CONVERSATION in done.stdout
