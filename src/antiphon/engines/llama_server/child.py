"""The subprocess that is llama.cpp's server. Run as a script; imports nothing of ours.

Standard input holds one line of JSON, the settings, and then stays open: it is the lifeline, and
its end means that whoever started us is gone. Standard output says one line of JSON when the server
listens or could not start. llama.cpp's log goes to standard error.

The server's constructor holds the GIL for seconds, so nothing here may need Python code to run in
time: SIGTERM keeps its default action, which is also the fast way out (the library frees its memory
slowly, and may hang while a client still reads), and on Linux the kernel itself kills us when the
thread that started us ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, Final, TextIO

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    if not (line := sys.stdin.buffer.readline()):
        return
    settings = json.loads(line)
    die_with(settings["parent"])
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        server = start(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        say(answer, error=f"{type(error).__name__}: {error}")
        # An orderly exit, because llama.cpp's log is written by a thread that it waits for.
        sys.exit(1)
    say(answer, url=server.listening_address)
    while os.read(0, 4096):
        pass
    os._exit(0)


def die_with(parent: int) -> None:
    """Have the kernel kill us when our parent dies, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def start(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames = [settings["host"]]
    params.port = settings["port"]
    params.n_parallel = settings["parallel"]
    params.n_ctx = settings["context"] * settings["parallel"]
    if (threads := settings["threads"]) is not None:
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
    if settings["gpu_layers"] >= 0:
        params.n_gpu_layers = settings["gpu_layers"]
    params.use_jinja = settings["template"]
    params.verbosity = settings["verbosity"]
    params.endpoint_metrics = params.endpoint_slots = True
    params.ui = False
    return xllamacpp.Server(params)


def say(stream: TextIO, **answer: str) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.close()


if __name__ == "__main__":
    main()
