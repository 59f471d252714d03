"""Which engines the settings ask for, before any of them is looked at or started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from antiphon.engines.detect.asking import base_url
from antiphon.engines.detect.report import KINDS
from antiphon.engines.registry.entries import ModelEntry, Registry
from antiphon.errors import EngineError, SettingsError
from antiphon.settings.model import EngineSettings, LaunchSettings, Settings
from antiphon.settings.values import closest

__all__ = ["MODEL_OPTION", "Wanted", "wanted_engines"]

TINY: Final = "tiny"
SCRIPTED: Final = "scripted"
MODEL_OPTION: Final = "model"
"""What an engine is called in messages that came from the setting ``model``."""

_ANY_NAME: Final = {SCRIPTED, TINY}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One engine to have. Equal values mean the same engine."""

    kind: Literal["tiny", "scripted", "url", "launch"]
    settings: EngineSettings
    name: str = ""
    """Of a model that we start."""
    entry: ModelEntry | None = None
    launch: LaunchSettings = LaunchSettings()
    """How a model is started."""
    eager: bool = False
    """Whether it is started at once, and has to start."""


def wanted_engines(settings: Settings, environ: Mapping[str, str]) -> tuple[Wanted, ...]:
    """What to have; nothing if the settings leave it to us.

    ``model`` and ``engine`` name the only one; else it is what ``engines`` lists, and the models of
    the user's own registry. Raises SettingsError for what can't be meant.
    """
    wanted = _wanted(settings, environ)
    return tuple(
        msgspec.structs.replace(one, launch=settings.launch) if one.kind == "launch" else one
        for one in wanted
    )


def _wanted(settings: Settings, environ: Mapping[str, str]) -> tuple[Wanted, ...]:
    if settings.model is not None:
        if settings.engine is not None:
            raise SettingsError("engine and model: give one of them; a model starts its own engine")
        return (_launched_file(settings.model),)
    registry = Registry.read(settings, environ)
    if settings.engine is not None:
        return (_engine(EngineSettings(url=settings.engine), registry, "engine", eager=True),)
    listed = [
        _engine(engine, registry, f"engines[{number}].url", eager=False)
        for number, engine in enumerate(settings.engines)
    ]
    taken = {wanted.name for wanted in listed if wanted.kind == "launch"}
    own = [
        _entry(name, registry.entries[name], eager=False) for name in sorted(registry.own - taken)
    ]
    return (*listed, *own)


def _launched_file(model: str) -> Wanted:
    name = Path(model).name.removesuffix(".gguf") if model.endswith(".gguf") else model
    return _entry(name, ModelEntry(checkpoint=model), eager=True)


def _engine(engine: EngineSettings, registry: Registry, where: str, *, eager: bool) -> Wanted:
    what = engine.url
    if engine.kind is not None and engine.kind not in KINDS:
        raise SettingsError(
            f"{where.removesuffix('url')}kind: expected one of {', '.join(KINDS)},"
            f" got {engine.kind!r}"
        )
    if what == TINY:
        return Wanted(kind="tiny", settings=engine, eager=True)
    if what == SCRIPTED or what.startswith(f"{SCRIPTED}:"):
        return Wanted(kind="scripted", settings=engine, eager=eager)
    if (found := registry.find(what)) is not None:
        return _entry(*found, engine=engine, eager=eager)
    if "/" in what or ":" in what or what.startswith("localhost"):
        try:
            url = base_url(what)
        except EngineError as error:
            raise SettingsError(f"{where}: {error}") from error
        return Wanted(kind="url", settings=msgspec.structs.replace(engine, url=url))
    meant = closest(what, [*_ANY_NAME, *registry.entries])
    hint = f"; did you mean {meant}?" if meant else ""
    raise SettingsError(
        f"{where}: expected tiny, scripted[:FILE], a URL, or a name from the registry"
        f" ({', '.join(sorted(registry.entries))}), got {what[:200]!r}{hint}"
    )


def _entry(
    name: str, entry: ModelEntry, *, engine: EngineSettings | None = None, eager: bool
) -> Wanted:
    engine = engine or EngineSettings(url=name)
    if "://" in entry.engine:
        url = base_url(entry.engine)
        return Wanted(
            kind="url",
            settings=msgspec.structs.replace(engine, url=url, models=(entry.checkpoint,)),
            name=name,
            entry=entry,
        )
    return Wanted(kind="launch", settings=engine, name=name, entry=entry, eager=eager)
