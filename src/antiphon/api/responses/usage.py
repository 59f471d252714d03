"""What a response says of tokens, of log probabilities and of errors."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.turn import Logprob, TurnUsage

__all__ = ["error_body", "logprob_list", "param_of", "usage_body"]

_ENCODE: Final = msgspec.json.Encoder().encode
_KEPT: Final = frozenset({"context_length_exceeded", "store_unavailable"})
_PARAMS: Final = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "response_format.json_schema.schema": "text.format.schema",
}
"""Chat's names for parameters, which turns use in errors → those of Responses."""


def usage_body(usage: TurnUsage) -> bytes:
    """The object ``usage``."""
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0},'
        b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
        % (
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
            usage.reasoning_tokens,
            usage.prompt_tokens + usage.completion_tokens,
        )
    )


def logprob_list(logprobs: Sequence[Logprob]) -> list[dict[str, Any]]:
    """In OpenAI's shape."""
    return [
        {
            "token": token.token,
            "bytes": token.bytes,
            "logprob": token.logprob,
            "top_logprobs": [
                {"token": other.token, "bytes": other.bytes, "logprob": other.logprob}
                for other in token.top_logprobs
            ],
        }
        for token in logprobs
    ]


def error_body(error: ApiError) -> bytes:
    """The object ``error`` of a response that failed.

    Codes that tell clients what to do are kept; others become OpenAI's for the kind of error. When
    to try again is said in the words that clients look for.
    """
    code = error.code
    if error.status == 429:
        code = "rate_limit_exceeded"
    elif code not in _KEPT:
        code = "server_error" if error.status >= 500 else "invalid_prompt"
    message = str(error)
    if error.retry_after is not None:
        message = f"{message.rstrip('.')}. Please try again in {max(1, ceil(error.retry_after))}s."
    return _ENCODE({"code": code, "message": message})


def param_of(error: ApiError) -> ApiError:
    """The same error with the parameter's name in Responses, where Chat has another."""
    name = _PARAMS.get(error.param or "")
    if name is None:
        return error
    return ApiError(
        str(error).replace(f"{error.param}: ", f"{name}: ", 1),
        status=error.status,
        type=error.type,
        param=name,
        code=error.code,
        retry_after=error.retry_after,
        headers=error.headers,
    )
