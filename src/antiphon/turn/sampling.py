"""What a client said of sampling → what the engine is asked for.

A parameter is honoured, or has no effect by its value, or is refused by name. gpt-oss's own values
are sent where the client was silent: engines have other defaults.
"""

from __future__ import annotations

from typing import Any, Final

from antiphon.api.errors import ApiError
from antiphon.api.turn import Sampling, TurnRequest
from antiphon.engines.protocol import Capabilities
from antiphon.settings.model import PromptSettings

__all__ = ["check_logprobs", "sampling"]

_NEUTRAL: Final[dict[str, Any]] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "seed": None,
    "logit_bias": None,
}
"""The values that leave sampling as it is."""


def sampling(asked: Sampling, defaults: PromptSettings, can: Capabilities) -> dict[str, Any]:
    """The fields of `CompletionRequest` from ``temperature`` to ``logit_bias``.

    Raises ApiError (400) naming a parameter that the engine cannot honour.
    """
    fields: dict[str, Any] = {}
    for name, neutral in _NEUTRAL.items():
        value = getattr(asked, name)
        if name == "top_k" and value == -1:
            value = 0  # vLLM's way to say: all of them
        if value is None or (name == "logit_bias" and not value):
            value = getattr(defaults, name, neutral)
            if name in can.sampling:
                fields[name] = value
        elif name in can.sampling:
            fields[name] = value
        elif value != neutral:
            raise ApiError(
                f"{name}: the engine that runs this model cannot do this",
                param=name,
                code="unsupported_parameter",
            )
    return fields


def check_logprobs(request: TurnRequest, can: Capabilities) -> int | None:
    """How many alternatives to ask for. Raises ApiError (400) if the engine has not so many."""
    if request.logprobs is None:
        return None
    if can.logprobs is None:
        raise ApiError(
            "logprobs: the engine that runs this model reports no log probabilities",
            param="logprobs",
            code="unsupported_parameter",
        )
    if request.logprobs > can.logprobs:
        raise ApiError(
            f"top_logprobs: the engine that runs this model reports at most {can.logprobs}",
            param="top_logprobs",
            code="unsupported_parameter",
        )
    return request.logprobs
