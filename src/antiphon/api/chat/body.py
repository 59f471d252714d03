"""Every parameter of a Chat Completions request that we know, as it comes over the wire.

Types and ranges are OpenAI's (API 2.3.0), and those of vLLM and llama.cpp for what OpenAI does not
have. What each parameter does is written in docs/chat-completions.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from antiphon.api.chat.wire import ABSENT, PromptRequest
from antiphon.api.chat.wire import Reasoning as ReasoningEffortField

__all__ = [
    "KNOWN",
    "NO_EFFECT",
    "ChatBody",
    "ReasoningParameter",
    "StreamOptions",
    "TemplateArguments",
]

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class ReasoningParameter(ReasoningEffortField):
    """OpenRouter's ``reasoning``. ``exclude`` hides it, ``enabled: false`` is effort none."""

    exclude: bool | None = None
    enabled: bool | None = None
    max_tokens: int | None = None
    """Not possible here: gpt-oss knows efforts, not budgets."""


class TemplateArguments(msgspec.Struct):
    """vLLM's ``chat_template_kwargs``, as far as gpt-oss's template has them."""

    reasoning_effort: str | None = None
    enable_thinking: bool | None = None
    model_identity: Annotated[str, Meta(max_length=4096)] | None = None


class StreamOptions(msgspec.Struct):
    """``include_usage`` asks for a last chunk with the usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(PromptRequest, kw_only=True):
    """A whole request."""

    model: Annotated[str, Meta(min_length=1, max_length=512)]
    # Sampling
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Probability | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    # The answer
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Any = None
    moderation: Any = None
    # Tools
    tool_choice: msgspec.Raw = ABSENT
    parallel_tool_calls: bool | None = None
    function_call: msgspec.Raw = ABSENT
    web_search_options: Any = None
    # Reasoning
    reasoning: ReasoningParameter | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: TemplateArguments | None = None
    # The stream
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Bookkeeping
    prompt_cache_key: Annotated[str, Meta(max_length=1024)] | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None


KNOWN: Final = frozenset(ChatBody.__struct_encode_fields__)
"""The names of all parameters that are not unknown."""

NO_EFFECT: Final = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
"""Parameters that change no answer by their nature: labels, and hints that OpenAI's servers use to
be faster or cheaper. They are accepted, checked for their type, and not reported as ignored."""
