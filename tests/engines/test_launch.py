"""Starting a ``llama-server`` of the user's: flags, waiting, failing, and never outliving us."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.test_registry import model

from antiphon.engines.launch import external
from antiphon.engines.launch.external import ExternalServer
from antiphon.engines.launch.plan import LaunchPlan, flags, plan
from antiphon.engines.launch.start import server_for
from antiphon.engines.llama_server.process import LlamaServer
from antiphon.engines.registry.entries import ModelEntry
from antiphon.errors import EngineError
from antiphon.settings.model import LaunchSettings

FAKE = Path(__file__).with_name("fake_llama_server.py")
DEADLINE = 20_000
"""Milliseconds in which a process that must end has to; it normally takes a few."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The fake, as the program ``llama-server`` in a folder of its own."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable} -S\nexec(open({os.fspath(FAKE)!r}).read())\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(model())
    return path


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "record"
    monkeypatch.setenv("FAKE_RECORD", str(path))
    return path


def make(gguf: Path, **changes: Any) -> LaunchPlan:
    entry = ModelEntry(checkpoint=str(gguf), **changes.pop("entry", {}))
    return plan("m", entry, LaunchSettings(**changes), {})


def ended(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(DEADLINE))
    finally:
        os.close(descriptor)


def arguments(gguf: Path, help_text: str = "--no-jinja --slots", **changes: Any) -> list[str]:
    return flags(make(gguf, **changes), 1234, help_text)


def option(given: list[str], name: str) -> str:
    return given[given.index(name) + 1]


# Flags


def test_gpt_oss_runs_without_the_template_engine_and_others_with_it(gguf: Path) -> None:
    assert "--no-jinja" in arguments(gguf)
    assert "--jinja" not in arguments(gguf)
    gguf.write_bytes(model("qwen3"))
    assert "--jinja" in arguments(gguf)
    assert "--no-jinja" not in arguments(gguf)


def test_flags_a_version_does_not_have_are_left_out(gguf: Path) -> None:
    given = arguments(gguf, help_text="")
    assert not {"--no-jinja", "--slots", "--metrics", "--no-webui"} & set(given)


def test_the_context_is_for_each_request_and_at_most_what_was_trained(gguf: Path) -> None:
    assert option(arguments(gguf, context=1000, parallel=3), "--ctx-size") == "3000"
    assert option(arguments(gguf, context=10**6, parallel=1), "--ctx-size") == "131072"
    assert option(arguments(gguf, context=0, parallel=1), "--ctx-size") == "131072"


def test_an_entry_wins_over_the_settings_and_extra_arguments_come_last(gguf: Path) -> None:
    given = arguments(
        gguf,
        context=1000,
        gpu_layers=5,
        extra_args=("--a", "1"),
        entry={"context": 2000, "parallel": 1, "gpu_layers": 0, "extra_args": ("--b",)},
    )
    assert option(given, "--ctx-size") == "2000"
    assert option(given, "--n-gpu-layers") == "0"
    assert given[-3:] == ["--a", "1", "--b"]
    assert "--n-gpu-layers" not in arguments(gguf)
    assert option(arguments(gguf, threads=3), "--threads") == "3"


def test_only_this_computer_is_listened_to(gguf: Path) -> None:
    given = arguments(gguf)
    assert (option(given, "--host"), option(given, "--port")) == ("127.0.0.1", "1234")


# Which server


def test_the_embedded_server_is_used_if_it_is_installed(gguf: Path, program: Path) -> None:
    pytest.importorskip("xllamacpp")
    environ = {"PATH": str(program.parent)}
    assert isinstance(server_for(make(gguf), environ), LlamaServer)
    with_arguments = make(gguf, extra_args=("--a",))
    assert isinstance(server_for(with_arguments, environ), ExternalServer)
    with pytest.raises(EngineError, match="takes no extra_args"):
        server_for(make(gguf, server="embedded", extra_args=("--a",)), environ)


def test_without_the_embedded_server_the_one_on_the_path_is_used(
    gguf: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.engines.launch.start.find_spec", lambda name: None)
    assert isinstance(server_for(make(gguf), {"PATH": str(program.parent)}), ExternalServer)
    with pytest.raises(EngineError, match=r"antiphon\[local\].*llama-server on the PATH"):
        server_for(make(gguf), {"PATH": "/nowhere"})


def test_a_chosen_program_has_to_be_there(gguf: Path, program: Path) -> None:
    assert isinstance(server_for(make(gguf, server=str(program)), {}), ExternalServer)
    with pytest.raises(EngineError, match="no program '/no/server' to start"):
        server_for(make(gguf, server="/no/server"), {})


# Its life


def test_it_is_up_when_it_has_started_and_gone_when_it_was_stopped(
    gguf: Path, program: Path, record: Path
) -> None:
    exits: list[bool] = []
    server = ExternalServer(program, make(gguf), on_exit=lambda: exits.append(True))
    server.start()
    try:
        with urllib.request.urlopen(f"{server.url}/health") as answer:
            assert answer.status == 200
        assert server.exit_cause() is None
    finally:
        server.stop()
    pid = json.loads(record.read_text())["pid"]
    assert ended(pid)
    assert server.pid is None
    assert exits == [True]
    assert "--no-jinja" in json.loads(record.read_text())["args"]
    server.stop()


def test_it_is_waited_for_while_it_loads(
    gguf: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "slow")
    monkeypatch.setattr(external, "POLL_SECONDS", 0.01)
    server = ExternalServer(program, make(gguf)).start()
    server.stop()


def test_one_that_takes_too_long_is_stopped(
    gguf: Path, program: Path, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "deaf")
    server = ExternalServer(program, make(gguf, start_seconds=1.0))
    with pytest.raises(EngineError, match=r"did not load m.gguf within 1 s \(launch.start_sec"):
        server.start()
    if record.exists():
        assert ended(json.loads(record.read_text())["pid"])
    assert server.pid is None


def test_one_that_fails_gives_its_own_reason(
    gguf: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "exit")
    with pytest.raises(EngineError, match=r"exited with status 3; error: tensor 'x' is not there"):
        ExternalServer(program, make(gguf)).start()


def test_what_is_no_program_is_said(gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    path.write_bytes(b"\x00not a program")
    path.chmod(0o755)
    with pytest.raises(EngineError, match=r"cannot run .*server: Exec format error"):
        ExternalServer(path, make(gguf)).start()


def test_it_starts_only_once(gguf: Path, program: Path) -> None:
    server = ExternalServer(program, make(gguf)).start()
    server.stop()
    with pytest.raises(RuntimeError, match="started once"):
        server.start()


PARENT = """
import os, sys
from pathlib import Path
from antiphon.engines.launch.external import ExternalServer
from antiphon.engines.launch.plan import plan
from antiphon.engines.registry.entries import ModelEntry
from antiphon.settings.model import LaunchSettings

made = plan("m", ModelEntry(checkpoint=sys.argv[2]), LaunchSettings(), {})
server = ExternalServer(Path(sys.argv[1]), made).start()
print(server.pid, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def parent(program: Path, gguf: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(program), str(gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    yield process, pid
    process.kill()
    process.communicate()
    assert ended(pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_dies_with_us(parent: tuple[subprocess.Popen[str], int], how: signal.Signals) -> None:
    process, pid = parent
    process.send_signal(how)
    process.wait()
    assert ended(pid)


def test_it_dies_with_a_parent_that_forgot_it(parent: tuple[subprocess.Popen[str], int]) -> None:
    process, pid = parent
    process.communicate("return without stopping it\n")
    assert process.returncode == 0
    assert ended(pid)
