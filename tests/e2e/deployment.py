"""The worked example of docs/deployment.md, run: its own files, with other addresses and folders.

Two gateways, one PostgreSQL and nginx in front, all real, on one machine.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.serving import command
from tests.fakes.certificate import make_certificate
from tests.ports import free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment"
WAIT = 60.0


def find_nginx() -> str:
    """nginx's program. Without one, the test is skipped, or fails where all must run."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = "nginx is not installed (Debian's package: nginx-light)"
        if os.environ.get("ANTIPHON_TEST_EVERYTHING"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def replaced(name: str, changes: dict[str, str]) -> str:
    """A file of the example with what differs here; each change must have its place in it."""
    text = (EXAMPLE / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    return text


class Client:
    """One key at one address. Each request has a connection of its own."""

    def __init__(self, url: str, key: str, context: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.key = key
        self._context = context
        self.headers: Any = {}
        self.status = 0

    def open(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        """An answer that is still to be read."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=WAIT, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT)
        data = None if body is None else json.dumps(body)
        headers = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Connection": "close",
            **headers,
        }
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        self.status, self.headers = answer.status, answer.headers
        return answer

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A whole answer, JSON or text."""
        with self.open(method, path, body, **headers) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()


class Machine:
    """One gateway, as the example's service starts it, with folders and addresses of its own."""

    def __init__(self, folder: Path, name: str, *, store: str, engine: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.trace = self.folder / "trace.jsonl"
        self.config = self.folder / "antiphon.toml"
        self.config.write_text(
            replaced(
                "antiphon.toml",
                {
                    'host = "0.0.0.0"': 'host = "127.0.0.1"',
                    "port = 8000": f"port = {self.port}",
                    "/etc/antiphon/": f"{self.folder}/",
                    "postgresql://antiphon@10.0.0.20/antiphon": store,
                },
            ),
            encoding="utf-8",
        )
        self._engine = engine
        self.log: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What the service gives it: nothing of this test's, and the file of secrets."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANTIPHON_", "XDG_"))
        }
        lines = (EXAMPLE / "gateway.env").read_text(encoding="utf-8").splitlines()
        given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        return {**kept, **given, "HOME": str(self.folder), "TMPDIR": str(self.folder)}

    def run(self, *arguments: str) -> str:
        """A command of ``antiphon`` on this machine: its standard output."""
        done = subprocess.run(
            [*command(), *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it. The engines of the example are not there, so this one is: scripted."""
        unit = (EXAMPLE / "antiphon.service").read_text(encoding="utf-8")
        (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        program, *arguments = shlex.split(line.removeprefix("ExecStart="))
        assert program == "/opt/antiphon/bin/antiphon"
        arguments = [a.replace("/etc/antiphon/", f"{self.folder}/") for a in arguments]
        self.process = subprocess.Popen(
            [*command(), *arguments, "--engine", self._engine, "--trace", str(self.trace)],
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._reader.start()
        assert ready.wait(WAIT), self.log

    def kill(self) -> None:
        """Everything of it, at once, as when the machine is gone."""
        pids = [self.process.pid]
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            pids += map(int, task.read_text(encoding="ascii").split())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self._end()
        deadline = time.monotonic() + WAIT
        while any(map(_runs, pids)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> int:
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        status = self.process.wait(WAIT)
        self._reader.join(WAIT)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read(self, ready: threading.Event) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if " serves http" in line:
                ready.set()

    def prompts(self) -> list[list[int]]:
        """The ids of all prompts that its engine got."""
        if not self.trace.exists():
            return []
        lines = [json.loads(line) for line in self.trace.read_text("utf-8").splitlines()]
        return [completion["prompt"] for line in lines for completion in line["completions"]]


class Deployment:
    """All of it. ``a`` and ``b`` are the gateways themselves, ``front`` is nginx."""

    def __init__(self, folder: Path, store: str, engine: str) -> None:
        self.folder = folder
        self.machines = [Machine(folder, name, store=store, engine=engine) for name in ("a", "b")]
        first, second = self.machines
        # As the page says: made on one machine, copied to the others.
        self.keys = {
            name: first.run("keys", "add", "--config", str(first.config), *more, name).split()[-1]
            for name, more in {
                "laptop": (),
                "ops": ("--operator",),
                "few": ("--requests-per-minute", "6"),
            }.items()
        }
        first.run("store", "info", "--config", str(first.config))
        for name in ("keys.toml", "seal-keys.json"):
            shutil.copy(first.folder / name, second.folder / name)
            (second.folder / name).chmod(0o400)
        self.nginx = Nginx(folder, [machine.port for machine in self.machines])

    def client(self, where: str, key: str = "laptop") -> Client:
        """``a``, ``b`` or ``front``, with one of the keys."""
        if where == "front":
            return Client(self.nginx.url, self.keys[key], self.nginx.trust())
        return Client(self.machines["ab".index(where)].url, self.keys[key])


class Nginx:
    """nginx with the example's configuration, and a certificate that was made for this."""

    def __init__(self, folder: Path, gateways: list[int]) -> None:
        self._program = find_nginx()
        self._folder = folder / "nginx"
        self._folder.mkdir()
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        make_certificate(self._folder, "localhost")
        site = replaced(
            "nginx.conf",
            {
                "10.0.0.11:8000": f"127.0.0.1:{gateways[0]}",
                "10.0.0.12:8000": f"127.0.0.1:{gateways[1]}",
                "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
                "/etc/nginx/": f"{self._folder}/",
            },
        )
        (self._folder / "site.conf").write_text(site, encoding="utf-8")
        paths = "".join(
            f"{kind}_temp_path {self._folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        (self._folder / "nginx.conf").write_text(
            f"{user}daemon off;\nworker_processes 1;\npid {self._folder}/pid;\n"
            f"error_log {self._folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}include {self._folder}/site.conf;\n}}\n",
            encoding="utf-8",
        )

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._folder / "antiphon.crt"))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")],
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            time.sleep(0.02)
        raise AssertionError(f"nginx did not start: {self.stop()}")

    def stop(self) -> str:
        """What it wrote to stderr."""
        self._process.terminate()
        _, said = self._process.communicate(timeout=WAIT)
        return said


@contextlib.contextmanager
def deployed(folder: Path, store: str, engine: str) -> Iterator[Deployment]:
    """Run it until the block ends."""
    deployment = Deployment(folder, store, engine)
    with contextlib.ExitStack() as stack:
        for machine in deployment.machines:
            machine.start()
            stack.callback(_stopped, machine)
        deployment.nginx.start()
        stack.callback(deployment.nginx.stop)
        yield deployment


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _stopped(machine: Machine) -> None:
    if machine.process.poll() is None:
        assert machine.stop() == 0
    assert "Traceback" not in "".join(machine.log), "".join(machine.log)
