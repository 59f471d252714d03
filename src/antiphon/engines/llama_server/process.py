"""llama.cpp's server as a subprocess that never outlives us.

Three things end it: `LlamaServer.stop`; the end of its standard input, which the kernel closes
however we die; and on Linux the death of the thread that started it, which works even while the
server is still loading and deaf to everything else. That thread does nothing but wait for the
server, so that it lives exactly as long.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from antiphon.errors import EngineError, MissingExtraError

__all__ = ["LOG_LINES", "MAX_LOG_LINE", "START_TIMEOUT", "STOP_TIMEOUT", "LlamaServer", "ending"]

START_TIMEOUT: Final = 120.0
"""Seconds a model may take to load."""
STOP_TIMEOUT: Final = 2.0
"""Seconds between asking the server to end and killing it."""
LOG_LINES: Final = 200
"""Lines of llama.cpp's log that are kept for error messages."""
MAX_LOG_LINE: Final = 4096
"""Bytes of one log line that are kept."""

_CHILD: Final = Path(__file__).with_name("child.py")
_log = logging.getLogger(__name__)


class LlamaServer:
    """A llama.cpp server of our own, on a free port of this computer. A ``with`` starts it if it
    has not been started, and stops it.

    ``context`` is tokens for each of the ``parallel`` requests it serves at a time; ``threads``
    None leaves their number to llama.cpp, ``gpu_layers`` -1 theirs. ``template``: whether it has
    the model's chat template at hand, for its own chat route. ``verbosity`` is llama.cpp's: 1
    errors, 2 warnings, 3 information, and goes to this module's logger. ``on_exit`` is called, in
    another thread, when the server has ended.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        alias: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        context: int = 8192,
        parallel: int = 2,
        threads: int | None = None,
        gpu_layers: int = -1,
        template: bool = True,
        verbosity: int = 1,
        start_timeout: float = START_TIMEOUT,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = Path(model)
        self._settings: dict[str, Any] = {
            "model": os.fspath(self.model),
            "alias": alias or self.model.stem,
            "host": host,
            "port": port,
            "context": context,
            "parallel": parallel,
            "threads": threads,
            "gpu_layers": gpu_layers,
            "template": template,
            "verbosity": verbosity,
        }
        self._start_timeout = start_timeout
        self._on_exit = on_exit
        self._url: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._keeper: threading.Thread | None = None
        self._answer: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    @property
    def url(self) -> str:
        """Where it listens, for example ``http://127.0.0.1:40123``. RuntimeError if not started."""
        if self._url is None:
            raise RuntimeError("the server has not been started")
        return self._url

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def log(self) -> list[str]:
        """The last lines llama.cpp wrote."""
        return list(self._lines)

    def __enter__(self) -> LlamaServer:
        return self if self._url is not None else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> LlamaServer:
        """Start the server and wait until it listens; seconds, so in a thread in async code.

        Raises EngineError with the cause, or MissingExtraError if xllamacpp is not installed. A
        server can be started once.
        """
        if self._keeper is not None or self._stopping:
            raise RuntimeError("a LlamaServer can be started once; make a new one")
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("xllamacpp", "local")
        if not self.model.is_file():
            raise EngineError(f"cannot start llama.cpp's server: no model file at {self.model}")
        try:
            self._keeper = threading.Thread(target=self._keep, name="llama-server", daemon=True)
            self._keeper.start()
            answer = self._answer.get(timeout=self._start_timeout)
        except queue.Empty:
            self.stop()
            raise EngineError(
                f"llama.cpp's server did not start within {self._start_timeout:g} s "
                f"(start_timeout); {self._cause()}"
            ) from None
        except BaseException:
            self.stop()
            raise
        if "url" not in answer:
            self.stop()
            raise EngineError(f"cannot start llama.cpp's server: {answer['error']}")
        self._url = answer["url"]
        return self

    def stop(self) -> None:
        """End the server, by force if it does not go by itself. May be called at any time."""
        self._stopping = True
        if self._keeper is None or not self._keeper.is_alive():
            return
        if self._process is not None:
            self._process.terminate()
            self._keeper.join(STOP_TIMEOUT)
            self._process.kill()
        self._keeper.join()

    def exit_cause(self) -> str | None:
        """Why the server is gone, in a few words; None while it runs."""
        status = self._process.returncode if self._process else None
        return None if status is None else f"it {ending(status)}; {self._cause()}"

    def _keep(self) -> None:
        """The life of the server, from start to end; runs in the thread its life is tied to."""
        try:
            process = self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-P", os.fspath(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._answer.put({"error": f"{sys.executable}: {error.strerror or error}"})
            return
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if self._stopping:
            process.kill()
        reader = threading.Thread(target=self._read_log, args=(process.stderr,), daemon=True)
        reader.start()
        try:
            settings = {**self._settings, "parent": os.getpid()}
            # Past the buffer, so that closing has nothing left to write to a server that is gone.
            os.write(process.stdin.fileno(), json.dumps(settings).encode() + b"\n")
        except OSError:
            pass  # It is gone already; its exit says why.
        line = process.stdout.readline()
        if line.endswith(b"\n"):
            answer: dict[str, str] = json.loads(line)
            if "error" in answer:
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    process.kill()
                reader.join()
                answer["error"] = f"{self._cause()} ({answer['error']})"
            self._answer.put(answer)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()
        reader.join()
        self._answer.put({"error": f"it {ending(process.returncode)}; {self._cause()}"})
        if self._url is not None and not self._stopping:
            _log.warning("llama.cpp's server ended: %s", self.exit_cause())
        self._on_exit()

    def _read_log(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(MAX_LOG_LINE):
                text = line.decode("utf-8", "replace").rstrip()
                self._lines.append(text)
                _log.debug("%s", text)

    def _cause(self) -> str:
        """The first error that llama.cpp logged, or else the last line."""
        lines = [line for line in self.log if line]
        errors = [line for line in lines if " E " in line]
        if errors:
            return errors[0].partition(" E ")[2]
        return lines[-1] if lines else "it logged nothing"


def ending(status: int) -> str:
    """How a process ended, from its return code: ``exited with status 1``."""
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
