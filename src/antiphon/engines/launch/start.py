"""Which llama.cpp server runs a plan: the embedded one, or a ``llama-server`` of the user's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from antiphon.engines.launch.external import ExternalServer
from antiphon.engines.launch.plan import LaunchPlan
from antiphon.engines.llama_server.process import LlamaServer
from antiphon.errors import EngineError

__all__ = ["Server", "server_for"]

PROGRAM: Final = "llama-server"


class Server(Protocol):
    """A server that can be started once. `start` and `stop` block: call them in a thread."""

    @property
    def url(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    def start(self) -> object: ...
    def stop(self) -> None: ...
    def exit_cause(self) -> str | None: ...


def server_for(
    plan: LaunchPlan, environ: Mapping[str, str], *, on_exit: Callable[[], None] = lambda: None
) -> Server:
    """The server for this plan, not started yet. Raises EngineError if there is none to be had."""
    if plan.server not in ("auto", "embedded"):
        return ExternalServer(_program(plan.server, environ), plan, on_exit=on_exit)
    embedded = find_spec("xllamacpp") is not None
    # The embedded server is configured by values, not by arguments.
    if plan.server == "embedded" or (embedded and not plan.extra_args):
        if plan.extra_args:
            raise EngineError(
                "the embedded server takes no extra_args; install llama-server, or leave them out"
            )
        return LlamaServer(
            plan.model,
            alias=plan.name,
            context=plan.context,
            parallel=plan.parallel,
            threads=plan.threads or None,
            gpu_layers=plan.gpu_layers,
            template=not plan.gpt_oss,
            start_timeout=plan.start_seconds,
            on_exit=on_exit,
        )
    if found := shutil.which(PROGRAM, path=environ.get("PATH")):
        return ExternalServer(Path(found), plan, on_exit=on_exit)
    if plan.extra_args:
        raise EngineError("extra_args need a llama-server, and there is none on the PATH")
    raise EngineError(
        "llama.cpp is needed to run a model: install it with pip install 'antiphon[local]',"
        f" or put {PROGRAM} on the PATH"
    )


def _program(chosen: str, environ: Mapping[str, str]) -> Path:
    found = shutil.which(Path(chosen).expanduser(), path=environ.get("PATH"))
    if found is None:
        raise EngineError(f"no program {chosen!r} to start (launch.server)")
    return Path(found)
