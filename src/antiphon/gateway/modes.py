"""Which way a request is served: our Harmony path, or the engine's own chat route.

Four levels say something: the request's ``antiphon-mode`` header, the key, the model, the server.
The first that does not say ``auto`` decides. Within a level, a mode is stronger than a percentage.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import msgspec

from antiphon.api.errors import ApiError
from antiphon.gateway.keys import ApiKey
from antiphon.settings.model import Mode, ModelSettings

__all__ = ["MODE_HEADER", "Arm", "Decision", "decide", "share"]

MODE_HEADER: Final = "antiphon-mode"
Arm = Literal["harmony", "standard"]
_MODES: Final = ("auto", "harmony", "standard")
_STEPS: Final = 1 << 32


class Decision(msgspec.Struct, frozen=True):
    """How a request is served, and why in a few words."""

    mode: Arm
    reason: str


def decide(
    *,
    model: str,
    gpt_oss: bool,
    has_harmony: bool = True,
    has_standard: bool = True,
    header: str | None = None,
    key: ApiKey | None = None,
    settings: ModelSettings | None = None,
    server: Mode = "auto",
    conversation: str = "",
) -> Decision:
    """The mode of one request. The same conversation of the same key always gets the same arm.

    ``has_harmony``: the engine takes raw prompts; ``has_standard``: it has a chat route of its own.
    ``conversation`` is the same for all requests of one conversation. Raises ApiError 400 for a
    header that is no mode, or a mode that this model's engine cannot be served in.
    """
    if header is not None:
        wanted = header.strip().lower()
        if wanted not in _MODES:
            raise _impossible(f"{MODE_HEADER} is one of auto, harmony, standard")
        if wanted == "harmony" and not has_harmony:
            raise _impossible(f"the engine of {model!r} cannot be reached below its chat route")
        if wanted == "standard" and not has_standard:
            raise _impossible(f"the engine of {model!r} has no chat route of its own")
        if wanted != "auto":
            arm: Arm = "harmony" if wanted == "harmony" else "standard"
            return Decision(arm, "the request's header says so")
    if not has_standard:
        return Decision("harmony", "the engine has no chat route of its own")
    if not has_harmony:
        return Decision("standard", "the engine cannot be reached below its chat route")
    if settings is not None and settings.mode == "harmony":
        gpt_oss = True  # whoever runs the server knows better than detection
    if not gpt_oss:
        return _automatic(gpt_oss=False)
    levels: tuple[tuple[str, Mode | None, float | None], ...] = (
        (
            "the key",
            None if key is None else key.mode,
            None if key is None else key.harmony_percent,
        ),
        (
            "the model",
            None if settings is None else settings.mode,
            None if settings is None else settings.harmony_percent,
        ),
        ("the server", server, None),
    )
    for who, mode, percent in levels:
        if mode is not None and mode != "auto":
            return Decision(mode, f"{who}'s mode is {mode}")
        if percent is not None:
            tenant = "" if key is None else key.id
            at = share(model, tenant, conversation)
            arm = "harmony" if at < percent else "standard"
            return Decision(arm, f"{who}'s harmony_percent is {percent:g}, this is at {at:.2f}")
    return _automatic(gpt_oss=True)


def share(model: str, tenant: str, conversation: str) -> float:
    """Where in [0, 100) a conversation falls. Stable over requests, restarts and machines; raising
    a percentage moves conversations one way only.
    """
    data = f"{model}\0{tenant}\0{conversation}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:4]) * 100.0 / _STEPS


def _automatic(*, gpt_oss: bool) -> Decision:
    if gpt_oss:
        return Decision("harmony", "the model is gpt-oss")
    return Decision("standard", "the model is not gpt-oss")


def _impossible(message: str) -> ApiError:
    return ApiError(message, param=MODE_HEADER, code="mode_not_possible")
