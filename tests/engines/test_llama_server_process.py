"""The server's life: it starts or says why not, and it never outlives us, however we end."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp")

from antiphon.engines.llama_server import process as module
from antiphon.engines.llama_server.process import LlamaServer
from antiphon.errors import EngineError, MissingExtraError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by pidfd")

DEADLINE = 20_000
"""Milliseconds in which a process that must end has to; it normally takes a few."""

PARENT = """
import os, signal, sys, threading
from antiphon.engines.llama_server.process import LlamaServer

server = LlamaServer(sys.argv[1], context=512, parallel=1, threads=1)
when = sys.argv[2]
if when == "loading":
    threading.Thread(target=server.start, daemon=True).start()
    while server.pid is None:
        pass
elif when == "from-a-thread":
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
else:
    server.start()
print(server.pid, flush=True)
sys.stdin.readline()
"""


class Watched:
    """A process that may not be our child. Its pidfd stays right if its number is used again."""

    def __init__(self, pid: int) -> None:
        self.descriptor = os.pidfd_open(pid)

    def ended(self, timeout_ms: int = DEADLINE) -> bool:
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        return bool(poller.poll(timeout_ms))


@pytest.fixture
def watch() -> Iterator[type[Watched] | object]:
    watched: list[Watched] = []

    def start(pid: int | None) -> Watched:
        assert pid is not None
        watched.append(Watched(pid))
        return watched[-1]

    yield start
    for one in watched:
        if not one.ended(0):
            signal.pidfd_send_signal(one.descriptor, signal.SIGKILL)
        os.close(one.descriptor)


def start_parent(model: Path, when: str) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model), when],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def small(model: Path, **settings: object) -> LlamaServer:
    return LlamaServer(model, context=512, parallel=1, threads=1, **settings)  # type: ignore[arg-type]


def test_it_listens_when_it_has_started_and_is_gone_when_it_was_stopped(
    micro_model_path: Path, watch
) -> None:
    with small(micro_model_path) as server:
        child = watch(server.pid)
        with urllib.request.urlopen(f"{server.url}/health") as answer:
            assert answer.status == 200
        assert server.exit_cause() is None
    assert child.ended(0)
    assert server.pid is None
    server.stop()


def test_it_is_stopped_when_the_with_block_raises(micro_model_path: Path, watch) -> None:
    watched = []

    def fail() -> None:
        with small(micro_model_path) as server:
            watched.append(watch(server.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert watched[0].ended(0)


@pytest.mark.parametrize("when", ["running", "loading"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, signal.SIGTERM])
def test_it_dies_with_its_parent(
    micro_model_path: Path, watch, when: str, how: signal.Signals
) -> None:
    parent, pid = start_parent(micro_model_path, when)
    child = watch(pid)
    assert not child.ended(0)
    os.kill(parent.pid, how)
    parent.communicate()
    assert child.ended()


def test_it_dies_with_its_parent_while_it_is_deaf(tiny_model_path: Path, watch) -> None:
    """Loading a whole vocabulary holds the GIL for seconds, in which no Python code runs."""
    parent, pid = start_parent(tiny_model_path, "loading")
    child = watch(pid)
    parent.kill()
    parent.communicate()
    assert child.ended()


def test_it_dies_with_a_parent_that_forgot_it(micro_model_path: Path, watch) -> None:
    parent, pid = start_parent(micro_model_path, "running")
    child = watch(pid)
    parent.communicate("return without stopping it\n")
    assert parent.returncode == 0
    assert child.ended()


def test_it_outlives_the_thread_that_started_it(micro_model_path: Path, watch) -> None:
    parent, pid = start_parent(micro_model_path, "from-a-thread")
    child = watch(pid)
    assert not child.ended(200)
    parent.kill()
    parent.communicate()
    assert child.ended()


def test_a_frozen_server_is_stopped_by_force(micro_model_path: Path, watch, monkeypatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.05)
    server = small(micro_model_path).start()
    child = watch(server.pid)
    signal.pidfd_send_signal(child.descriptor, signal.SIGSTOP)
    server.stop()
    assert child.ended(0)


def test_a_server_that_was_killed_says_so(micro_model_path: Path, watch) -> None:
    with small(micro_model_path) as server:
        child = watch(server.pid)
        signal.pidfd_send_signal(child.descriptor, signal.SIGKILL)
        assert child.ended()
        server.stop()
        assert "was killed by SIGKILL (out of memory?)" in (server.exit_cause() or "")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no model file at .*nowhere\.gguf"):
        LlamaServer(tmp_path / "nowhere.gguf").start()


def test_a_file_that_is_no_model_gives_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"this is not a model")
    with pytest.raises(EngineError, match=r"cannot start llama.cpp's server: .*'this'.*GGUF"):
        LlamaServer(path).start()


def test_a_truncated_model_gives_the_cause(micro_model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    with micro_model_path.open("rb") as whole:
        path.write_bytes(whole.read(9_000))
    with pytest.raises(EngineError, match=r"cannot start llama.cpp's server: \S"):
        LlamaServer(path).start()


def test_a_port_in_use_gives_the_cause(micro_model_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"cannot start .*{port}"):
            small(micro_model_path, port=port).start()


def test_a_server_that_takes_too_long_is_stopped(micro_model_path: Path) -> None:
    before = threading.active_count()
    server = small(micro_model_path, start_timeout=0.01)
    with pytest.raises(EngineError, match=r"did not start within 0.01 s \(start_timeout\)"):
        server.start()
    assert server.pid is None
    assert threading.active_count() == before


def test_without_xllamacpp_the_error_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[local\]'"):
        LlamaServer(tmp_path / "any.gguf").start()


def test_a_server_starts_only_once(micro_model_path: Path) -> None:
    with small(micro_model_path) as server, pytest.raises(RuntimeError, match="started once"):
        server.start()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = LlamaServer(micro_model_path).url
