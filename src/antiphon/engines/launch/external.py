"""A ``llama-server`` of the user's own as a subprocess that never outlives us.

It ends with `ExternalServer.stop`, and with us however we die (`antiphon.engines.launch.guard`).
The thread that starts it waits for it, because on Linux its life is tied to that thread's.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from antiphon.engines.launch.plan import LaunchPlan, flags
from antiphon.engines.llama_server.process import LOG_LINES, MAX_LOG_LINE, STOP_TIMEOUT, ending
from antiphon.errors import EngineError

__all__ = ["ExternalServer"]

HELP_SECONDS: Final = 20.0
"""How long ``llama-server --help`` may take: drivers may be loaded first."""
POLL_SECONDS: Final = 0.1
"""Between two looks whether the model has loaded."""
HEALTH_SECONDS: Final = 5.0

_GUARD: Final = Path(__file__).with_name("guard.py")
_ERROR_WORDS: Final = (" E ", "error", "failed", "invalid", "unable", "cannot")
_log = logging.getLogger(__name__)


class ExternalServer:
    """``program`` serving a model on a free port of this computer; `start` it once.

    ``on_exit`` is called, in a thread of its own, when it has ended.
    """

    def __init__(
        self, program: Path, plan: LaunchPlan, *, on_exit: Callable[[], None] = lambda: None
    ) -> None:
        self._program = program
        self._plan = plan
        self._on_exit = on_exit
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._spawned = threading.Event()
        self._failure: str | None = None
        self._stopping = False
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> ExternalServer:
        """Start it and wait until the model has loaded. Raises EngineError with the cause."""
        if self._keeper is not None or self._stopping:
            raise RuntimeError("an ExternalServer can be started once; make a new one")
        self._port = _free_port()
        arguments = flags(self._plan, self._port, self._help())
        self._keeper = threading.Thread(
            target=self._keep, args=(arguments,), name="llama-server", daemon=True
        )
        self._keeper.start()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it, by force if it does not go by itself. May be called at any time."""
        self._stopping = True
        if self._keeper is None or not self._keeper.is_alive():
            return
        self._spawned.wait()
        if self._process is not None:
            self._process.terminate()
            self._keeper.join(STOP_TIMEOUT)
            self._process.kill()
        self._keeper.join()

    def exit_cause(self) -> str | None:
        """Why it is gone, in a few words; None while it runs."""
        status = self._process.returncode if self._process else None
        return None if status is None else f"it {ending(status)}; {self._cause()}"

    def _help(self) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the program the user chose
                [self._program, "--help"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=HELP_SECONDS,
                check=False,
            )
        except OSError as error:
            raise EngineError(f"cannot run {self._program}: {error.strerror or error}") from error
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{self._program} --help did not end within {HELP_SECONDS:g} s; is it llama-server?"
            ) from None
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    def _wait(self) -> None:
        deadline = time.monotonic() + self._plan.start_seconds
        self._spawned.wait()
        assert self._keeper is not None
        while self._keeper.is_alive() and self._failure is None:
            if self._healthy():
                return
            if time.monotonic() >= deadline:
                raise EngineError(
                    f"{self._program} did not load {self._plan.model.name} within"
                    f" {self._plan.start_seconds:g} s (launch.start_seconds); {self._cause()}"
                )
            self._keeper.join(POLL_SECONDS)
        cause = self._failure or self.exit_cause()
        raise EngineError(f"cannot start {self._program}: {cause}")

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HEALTH_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _keep(self, arguments: list[str]) -> None:
        """The life of the server, from start to end; runs in the thread its life is tied to."""
        command = [sys.executable, "-P", os.fspath(_GUARD), str(os.getpid())]
        try:
            process = subprocess.Popen(  # noqa: S603 - our own file, and what the user chose
                [*command, os.fspath(self._program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._failure = f"{error.strerror or error}"
            self._spawned.set()
            return
        self._process = process
        self._spawned.set()
        if self._stopping:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            self._read_log(process.stdout)
            process.wait()
        if not self._stopping:
            _log.warning("%s ended: %s", self._program, self.exit_cause())
        self._on_exit()

    def _read_log(self, stream: IO[bytes]) -> None:
        while line := stream.readline(MAX_LOG_LINE):
            text = line.decode("utf-8", "replace").rstrip()
            self._lines.append(text)
            _log.debug("%s", text)

    def _cause(self) -> str:
        """The first line of its log that tells of an error, or else the last one."""
        lines = [line for line in self._lines if line]
        for line in lines:
            if any(word in line for word in _ERROR_WORDS):
                return line
        return lines[-1] if lines else "it logged nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
