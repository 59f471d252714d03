"""`antiphon serve` as a process of its own, on a port of its own, for tests over a real socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

START_SECONDS = 60.0
STOP_SECONDS = 30.0
_ADDRESS = re.compile(r"serves (http://\S+?)/v1")


class Serving(NamedTuple):
    """A running server. ``log`` is what it wrote to stderr so far."""

    url: str
    log: list[str]
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        """What OpenAI's clients want."""
        return f"{self.url}/v1"

    def says(self, text: str) -> str:
        """The log, once ``text`` is in it."""
        deadline = time.monotonic() + START_SECONDS
        while text not in (log := "".join(self.log)):
            assert time.monotonic() < deadline, f"it never said {text!r}: {log}"
            time.sleep(0.02)
        return log

    def post(self, path: str, body: Any) -> Any:
        """A JSON answer, whatever its status."""
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return json.load(refused)


def command() -> list[str]:
    """How `antiphon` is run: ANTIPHON_COMMAND, where tests run in an environment of their own."""
    given = os.environ.get("ANTIPHON_COMMAND")
    return shlex.split(given) if given else [sys.executable, "-m", "antiphon.cli"]


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Serving]:
    """Run ``antiphon serve`` with these arguments until the block ends.

    At the end it must stop by itself when told to, and have written no traceback.
    """
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("ANTIPHON_", "XDG_"))
    }
    env |= {"XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder), "HOME": str(folder)}
    if "ANTIPHON_CACHE" in os.environ:
        env["ANTIPHON_CACHE"] = os.environ["ANTIPHON_CACHE"]
    log: list[str] = []
    with subprocess.Popen(
        [*command(), "serve", "--port", "0", *arguments],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stderr is not None
        reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
        reader.start()
        try:
            url = _address(process, log)
            _healthy(url, process, log)
            yield Serving(url, log, process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            finally:
                reader.join(STOP_SECONDS)
    assert "Traceback" not in "".join(log), "".join(log)


def _address(process: subprocess.Popen[str], log: list[str]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = _ADDRESS.search("".join(log))
        if found:
            return found.group(1)
        time.sleep(0.02)
    raise AssertionError(f"the server did not start: {''.join(log)}")


def _healthy(url: str, process: subprocess.Popen[str], log: list[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.02)
    raise AssertionError(f"the server is not healthy: {''.join(log)}")
