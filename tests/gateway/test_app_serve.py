"""``antiphon serve`` as a process: what it says, what its exit codes are, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.here import run_here

from antiphon.cli.app import COMMANDS
from antiphon.settings.options import options

COMMAND = [sys.executable, "-m", "antiphon.cli", "serve"]
WAIT = 60.0


def environment(home: Path, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    home.mkdir(exist_ok=True)
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), **extra}


class Served:
    """A server that runs, and the lines it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        first = self.until("serves")
        self.port = int(first.rsplit(":", 1)[1].removesuffix("/v1\n"))

    def until(self, text: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"it never said {text!r}: {self.lines}")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT)


@contextmanager
def serving(home: Path, *arguments: str, **extra: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home.parent,
        env=environment(home, **extra),
    )
    try:
        yield Served(process)
    finally:
        process.kill()
        process.communicate()


def run(home: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT,
        cwd=home.parent,
        env=environment(home, **extra),
    )


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_it_says_where_and_what_it_serves_and_ends_well(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "home", "--engine", "scripted") as served:
        served.until("keys:")
        body = {"model": "any", "messages": [{"role": "user", "content": "What is 2+2?"}]}
        status, answer = served.ask("POST", "/v1/chat/completions", body)
        assert served.end(number) == 0
    assert status == 200
    assert "4" in answer["choices"][0]["message"]["content"]
    assert re.fullmatch(r"antiphon [\d.]+ serves http://127\.0\.0\.1:\d+/v1\n", served.lines[0])
    assert any("mode harmony" in line and "gpt-oss" in line for line in served.lines)
    assert not any("\x1b" in line for line in served.lines)


def test_settings_come_from_file_environment_and_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "antiphon.toml"
    file.write_text('engine = "nonsense:"\nmode = "auto"\n[turn]\nseconds = 7\n')
    arguments = ["--check", "--engine", "scripted", "--set", "turn.idle_seconds=9"]
    arguments += ["--turn-stop-strings", "3"]
    env = environment(tmp_path / "home", ANTIPHON_TURN_CHOICES="2")
    done = run_here(["serve", *arguments], capsys, folder=tmp_path, environment=env)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert {
        'engine = "scripted"',
        "turn.seconds = 7.0",
        "turn.idle_seconds = 9.0",
        "turn.choices = 2",
        "turn.stop_strings = 3",
    } <= set(said)
    assert said[-1] == "the settings are good"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "turn.secnds=7"], "did you mean turn.seconds?"),
        (["--set", "nothing"], "NAME=VALUE"),
        (["--port", "many"], "server.port"),
        (["--host", "0.0.0.0"], "antiphon keys add"),
        (["--host", "192.0.2.1", "--set", "keys.file=/dev/null"], "192.0.2.1"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    env = environment(tmp_path / "home")
    done = run_here(["serve", *arguments], capsys, folder=tmp_path, environment=env)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_an_engine_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "--engine", "scripted:missing.jsonl", "--port", "0")
    assert done.returncode in (1, 2)
    assert "missing.jsonl" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(tmp_path / "home", "--engine", "scripted", "--port", port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose" in done.stderr


def test_a_hangup_reads_the_settings_again(tmp_path: Path) -> None:
    file = tmp_path / "antiphon.toml"
    file.write_text("[turn]\nchoices = 1\n")
    body = {"model": "x", "n": 2, "messages": [{"role": "user", "content": "Hi"}]}
    with serving(tmp_path / "home", "--engine", "scripted") as served:
        served.until("keys:")
        assert served.ask("POST", "/v1/chat/completions", body)[0] == 400
        file.write_text("[turn]\nchoices = 2\n")
        served.process.send_signal(signal.SIGHUP)
        served.until("reload")
        status, answer = served.ask("POST", "/v1/chat/completions", body)
        assert served.end() == 0
    assert status == 200
    assert len(answer["choices"]) == 2


def test_every_simple_setting_is_a_flag() -> None:
    command = COMMANDS["serve"].load()
    flags = {name for parameter in command.params for name in parameter.opts}
    for option in options():
        if "table" not in option.expected:
            short = "--" + option.path.rpartition(".")[2].replace("_", "-")
            assert {option.flag, short} & flags, option.path
