"""What holds for one model: the server's settings with the model's own on top."""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.settings.model import ModelSettings, Settings

__all__ = ["for_model", "merged"]

_PROMPT: Final = ("effort", "temperature", "top_p", "top_k", "min_p")


def for_model(settings: Settings, model: ModelSettings) -> Settings:
    """``settings`` as they are for a model: its effort, sampling, mode and longest output."""
    prompt = {name: value for name in _PROMPT if (value := getattr(model, name)) is not None}
    changes: dict[str, object] = {}
    if prompt:
        changes["prompt"] = msgspec.structs.replace(settings.prompt, **prompt)
    if model.mode is not None:
        changes["mode"] = model.mode
    if model.output_tokens is not None:
        limit = settings.turn.output_tokens
        output = min(limit, model.output_tokens) if limit else model.output_tokens
        changes["turn"] = msgspec.structs.replace(settings.turn, output_tokens=output)
    return msgspec.structs.replace(settings, **changes) if changes else settings


def merged(defaults: ModelSettings, chosen: ModelSettings) -> ModelSettings:
    """``chosen``, with ``defaults`` where it is silent."""
    silent = ModelSettings()
    changes = {
        name: getattr(chosen, name)
        for name in ModelSettings.__struct_fields__
        if getattr(chosen, name) != getattr(silent, name)
    }
    return msgspec.structs.replace(defaults, **changes)
