"""What a catalog says of the models it has and of the engines behind them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from antiphon.engines.protocol import Engine
from antiphon.settings.model import ModelSettings

__all__ = ["EngineHealth", "EngineState", "ModelCard", "Offer", "Served"]

EngineState = Literal["up", "down", "starting", "idle", "failed"]
"""``idle``: starts with the first request. ``failed``: given up; it takes an operator."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one engine."""

    name: str
    engine: Engine
    gpt_oss: bool
    reasons: tuple[str, ...]
    """How it is known whether it is a gpt-oss."""
    aliases: tuple[str, ...] = ()
    context_length: int | None = None
    labels: tuple[str, ...] = ()
    passthrough: Any = None
    """The engine's own routes, if it has any."""
    any_name: bool = False
    """Whether it answers to any model name."""
    defaults: ModelSettings = ModelSettings()
    """What the registry says of the model; the settings win."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A model, ready to be asked."""

    name: str
    engine: Engine
    gpt_oss: bool
    reasons: tuple[str, ...]
    passthrough: Any
    """The engine's own routes (`antiphon.engines.passthrough`); None if it has none."""
    context_length: int | None
    """Tokens that prompt and completion may have together; None: not known."""
    settings: ModelSettings
    """What the settings and the registry say of this model, merged."""
    labels: tuple[str, ...] = ()


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the list of models shows it."""

    id: str
    created: int
    """Unix seconds at which the catalog first saw it."""
    gpt_oss: bool
    context_length: int | None = None
    labels: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()


class EngineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is."""

    name: str
    state: EngineState
    models: tuple[str, ...] = ()
    detail: str = ""
    """Why it is not up, in a few words."""
