"""How a model file is to be served, and what that is in llama-server's flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from antiphon.engines.registry.caches import locate
from antiphon.engines.registry.entries import ModelEntry
from antiphon.engines.registry.header import read_header
from antiphon.settings.model import LaunchSettings

__all__ = ["LaunchPlan", "flags", "plan"]

FALLBACK_CONTEXT: Final = 4096
"""Tokens for a model that does not say what it was trained with."""

_OPTIONAL: Final = ("--no-jinja", "--no-webui", "--metrics", "--slots")
"""Flags that not every version has, and that it works without."""


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how llama.cpp's server is started."""

    name: str
    """What the server calls the model."""
    model: Path
    gpt_oss: bool
    architecture: str
    server: str
    """``auto``, ``embedded``, or the path of a ``llama-server``."""
    context: int
    """Tokens for each of the ``parallel`` requests."""
    parallel: int
    gpu_layers: int
    threads: int
    extra_args: tuple[str, ...]
    start_seconds: float


def plan(
    name: str, entry: ModelEntry, launch: LaunchSettings, environ: Mapping[str, str]
) -> LaunchPlan:
    """The plan for an entry of the registry. Reads the head of the model file.

    Raises EngineError if the model is not on this computer or no GGUF.
    """
    model = locate(entry.checkpoint, environ)
    header = read_header(model)
    context = launch.context if entry.context is None else entry.context
    trained = header.context_length
    if context == 0:
        context = trained or FALLBACK_CONTEXT
    elif trained is not None:
        context = min(context, trained)
    return LaunchPlan(
        name=name,
        model=model,
        gpt_oss=header.gpt_oss,
        architecture=header.architecture,
        server=launch.server if entry.engine == "llama.cpp" else entry.engine,
        context=context,
        parallel=entry.parallel or launch.parallel,
        gpu_layers=launch.gpu_layers if entry.gpu_layers is None else entry.gpu_layers,
        threads=launch.threads if entry.threads is None else entry.threads,
        extra_args=(*launch.extra_args, *entry.extra_args),
        start_seconds=launch.start_seconds,
    )


def flags(plan: LaunchPlan, port: int, help_text: str) -> list[str]:
    """llama-server's arguments. Of those that are new or old, what ``help_text`` mentions.

    gpt-oss runs without the template engine: prompts are rendered here, and the template only
    costs time at the start. Other models are spoken to through their template.
    """
    template = "--no-jinja" if plan.gpt_oss else "--jinja"
    wanted = [
        flag
        for flag in (template, "--no-webui", "--metrics", "--slots")
        if flag not in _OPTIONAL or flag in help_text
    ]
    arguments = [
        *("--model", str(plan.model)),
        *("--alias", plan.name),
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
        *("--ctx-size", str(plan.context * plan.parallel)),
        *("--parallel", str(plan.parallel)),
        *wanted,
    ]
    if plan.gpu_layers >= 0:
        arguments += ("--n-gpu-layers", str(plan.gpu_layers))
    if plan.threads > 0:
        arguments += ("--threads", str(plan.threads))
    # Last, so that they win.
    return [*arguments, *plan.extra_args]
