"""Token limits and log probabilities of a Chat Completions request."""

from __future__ import annotations

from antiphon.api.chat.body import ChatBody
from antiphon.errors import MessageError

__all__ = ["read_logprobs", "read_max_tokens"]


def read_max_tokens(body: ChatBody, ignored: list[str]) -> int | None:
    """``max_completion_tokens``, else the older ``max_tokens``, which is ignored beside it."""
    newer, older = body.max_completion_tokens, body.max_tokens
    if newer is not None and older is not None and newer != older:
        ignored.append("max_tokens")
    return newer if newer is not None else older


def read_logprobs(body: ChatBody) -> int | None:
    """How many alternatives, 0 for none; None for no log probabilities at all."""
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise MessageError(
            "top_logprobs: expected logprobs to be true beside it", field="top_logprobs"
        )
    return None
