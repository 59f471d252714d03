"""What the settings say of engines, checked as far as can be without asking or starting any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from antiphon.engines.launch.plan import plan
from antiphon.engines.launch.start import server_for
from antiphon.engines.wanted import Wanted, wanted_engines
from antiphon.errors import EngineError
from antiphon.settings.model import Settings

__all__ = ["check_engines"]


def check_engines(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """A line for each engine there will be.

    Raises SettingsError or EngineError for one that cannot be had: an unknown name, a trace that
    cannot be read, a model that was asked for and is not here, no llama.cpp to run it.
    """
    wanted = wanted_engines(settings, environ)
    if not wanted:
        return ["engine: one that runs on a usual port of this computer, else the tiny model"]
    return [_line(one, settings, environ) for one in wanted]


def _line(wanted: Wanted, settings: Settings, environ: Mapping[str, str]) -> str:
    if wanted.kind == "url":
        return f"engine: {wanted.settings.url}"
    if wanted.kind == "tiny":
        return "engine: the tiny model, started here"
    if wanted.kind == "scripted":
        from antiphon.engines.scripted import ScriptedEngine

        _, _, file = wanted.settings.url.partition(":")
        if file:
            ScriptedEngine.from_trace(Path(file).expanduser())
        return f"engine: the scripted engine{f', playing {file}' if file else ''}"
    assert wanted.entry is not None
    try:
        made = plan(wanted.name, wanted.entry, settings.launch, environ)
        server_for(made, environ)
    except EngineError as error:
        if wanted.eager:
            raise
        return f"engine: {wanted.name}, once it can be started: {error}"
    kind = "gpt-oss" if made.gpt_oss else made.architecture
    when = "started here" if wanted.eager else "started when it is needed"
    return f"engine: {made.model} ({kind}), {made.context} tokens x {made.parallel}, {when}"
