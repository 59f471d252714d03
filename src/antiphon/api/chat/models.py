"""The bodies of ``GET /v1/models`` and ``GET /v1/models/{id}``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

__all__ = ["Model", "ModelList", "model_body", "models_body", "served_model"]

_ENCODE: Final = msgspec.json.Encoder().encode


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model. The context length has the names that vLLM's and OpenRouter's clients look for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "antiphon"
    gpt_oss: bool | UnsetType = UNSET
    """Whether it is served in Harmony."""
    context_length: int | UnsetType = UNSET
    max_model_len: int | UnsetType = UNSET
    labels: tuple[str, ...] | UnsetType = UNSET
    aliases: tuple[str, ...] | UnsetType = UNSET


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


def served_model(
    name: str, *, created: int, context_length: int | None = None, owned_by: str = "antiphon"
) -> Model:
    """A model that is served. ``created`` in Unix seconds, ``context_length`` in tokens."""
    length: int | UnsetType = UNSET if context_length is None else context_length
    return Model(
        id=name, created=created, owned_by=owned_by, context_length=length, max_model_len=length
    )


def model_body(model: Model) -> bytes:
    return _ENCODE(model)


def models_body(models: Iterable[Model]) -> bytes:
    return _ENCODE(ModelList(data=tuple(models)))
