"""Sampling parameters and stop strings, whatever API they came by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from antiphon.api.turn import Sampling
from antiphon.errors import MessageError
from antiphon.vocab.control import LAST_CONTROL_ID

__all__ = ["SamplingFields", "read_sampling", "read_stop"]

MAX_STOP_CHARS: Final = 1024
"""Longest stop string."""
MAX_BIASES: Final = 4096
"""Most entries of ``logit_bias``."""


class SamplingFields(Protocol):
    """The fields of a request that are read here."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    seed: int | None
    logit_bias: dict[str, float] | None
    stop: str | list[str] | None


def read_sampling(body: SamplingFields) -> Sampling:
    """Raises MessageError for a ``logit_bias`` of something that is not a token."""
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(body.top_k, 0),
        min_p=body.min_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        logit_bias=_biases(body.logit_bias) if body.logit_bias else None,
    )


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    if len(given) > MAX_BIASES:
        raise MessageError(
            f"logit_bias: has {len(given)} entries, the limit is {MAX_BIASES}", field="logit_bias"
        )
    biases: dict[int, float] = {}
    for key, bias in given.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 6 and int(key) <= LAST_CONTROL_ID):
            field = f"logit_bias.{key[:20]}"
            raise MessageError(
                f"{field}: is not a token id (a whole number from 0 to {LAST_CONTROL_ID})",
                field=field,
            )
        biases[int(key)] = bias
    return biases


def read_stop(body: SamplingFields, most: int, ignored: list[str]) -> tuple[str, ...]:
    """The stop strings. An empty one could stop nothing, and is passed over."""
    given = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(given) > most:
        raise MessageError(f"stop: has {len(given)} strings, the limit is {most}", field="stop")
    for i, stop in enumerate(given):
        if len(stop) > MAX_STOP_CHARS:
            field = f"stop[{i}]"
            raise MessageError(
                f"{field}: has {len(stop)} characters, the limit is {MAX_STOP_CHARS}", field=field
            )
        if not stop:
            ignored.append(f"stop[{i}]")
    return tuple(dict.fromkeys([stop for stop in given if stop]))
