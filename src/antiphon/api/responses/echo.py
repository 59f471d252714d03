"""What a response object repeats of its request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.api.chat.answer import SERVICE_TIER
from antiphon.api.responses.body import ResponsesBody

__all__ = ["echo_of"]

_ENCODE: Final = msgspec.json.Encoder().encode


def echo_of(
    wire: ResponsesBody,
    *,
    tools: bytes,
    text_format: dict[str, Any],
    effort: str,
    store: bool,
) -> bytes:
    """The members of a response object that a request decides, as JSON without its braces.

    Every one is there, whatever the request left out: clients rely on that.
    """
    reasoning, conversation = wire.reasoning, wire.conversation_id
    summary = None if reasoning is None else reasoning.summary or reasoning.generate_summary
    fields: dict[str, Any] = {
        "model": wire.model or "",
        "previous_response_id": wire.previous_response_id,
        "conversation": None if conversation is None else {"id": conversation},
        "instructions": wire.instructions,
        "tools": msgspec.Raw(tools),
        "tool_choice": "auto" if bytes(wire.tool_choice) == b"null" else wire.tool_choice,
        "parallel_tool_calls": wire.parallel_tool_calls is not False,
        "max_tool_calls": wire.max_tool_calls,
        "text": {
            "format": text_format,
            "verbosity": (wire.text.verbosity if wire.text else None) or "medium",
        },
        "reasoning": {"effort": effort, "summary": summary},
        "truncation": wire.truncation or "disabled",
        "max_output_tokens": wire.max_output_tokens,
        "temperature": 1.0 if wire.temperature is None else wire.temperature,
        "top_p": 1.0 if wire.top_p is None else wire.top_p,
        "presence_penalty": wire.presence_penalty or 0.0,
        "frequency_penalty": wire.frequency_penalty or 0.0,
        "top_logprobs": wire.top_logprobs or 0,
        "background": bool(wire.background),
        "store": store,
        "service_tier": SERVICE_TIER,
        "metadata": wire.metadata or {},
        "safety_identifier": wire.safety_identifier,
        "prompt_cache_key": wire.prompt_cache_key,
    }
    if wire.user is not None:
        fields["user"] = wire.user
    return _ENCODE(fields)[1:-1]
