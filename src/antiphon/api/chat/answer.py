"""What Chat Completions answers, as it goes over the wire: the whole answer and its usage.

Chunks have the same fields; `antiphon.api.chat.stream` writes them without building values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.turn import Logprob, TurnUsage

__all__ = [
    "SERVICE_TIER",
    "ChatCompletion",
    "Choice",
    "ChoiceLogprobs",
    "CompletionDetails",
    "CustomInput",
    "Finish",
    "FunctionCall",
    "Message",
    "PromptDetails",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "Usage",
    "choice_logprobs",
    "total_usage",
]

SERVICE_TIER = "default"
Finish = Literal["stop", "length", "tool_calls", "function_call"]


class FunctionCall(msgspec.Struct, frozen=True):
    """``arguments`` is JSON text."""

    name: str
    arguments: str


class CustomInput(msgspec.Struct, frozen=True):
    """The call of a custom tool."""

    name: str
    input: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """``function`` or ``custom``, as ``type`` says."""

    id: str
    type: Literal["function", "custom"] = "function"
    function: FunctionCall | UnsetType = UNSET
    custom: CustomInput | UnsetType = UNSET


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """``reasoning`` and ``reasoning_content`` are the same under two names."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: tuple[dict[str, Any], ...] = ()
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: tuple[ToolCall, ...] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class TopLogprob(msgspec.Struct, frozen=True):
    """An alternative at one place."""

    token: str
    bytes: tuple[int, ...]
    logprob: float


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token of the answer."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[TopLogprob, ...]


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    """Those of the visible text."""

    content: tuple[TokenLogprob, ...]
    refusal: None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``n`` answers."""

    index: int
    message: Message
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Finish


class PromptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """``cached_tokens``: what the engine had in its cache."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """``reasoning_tokens``: what the model thought, shown or not."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the whole request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    service_tier: str = SERVICE_TIER
    system_fingerprint: str | UnsetType = UNSET


def total_usage(turns: Sequence[TurnUsage]) -> Usage:
    """The usage of a request of several choices: one prompt, all completions.

    Each choice has the same prompt; where one needed several completions, its prompts count.
    """
    if not turns:
        return Usage()
    prompt = max(turns, key=lambda turn: turn.prompt_tokens)
    completion = sum([turn.completion_tokens for turn in turns])
    return Usage(
        prompt_tokens=prompt.prompt_tokens,
        completion_tokens=completion,
        total_tokens=prompt.prompt_tokens + completion,
        prompt_tokens_details=PromptDetails(cached_tokens=prompt.cached_tokens),
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=sum([turn.reasoning_tokens for turn in turns])
        ),
    )


def choice_logprobs(logprobs: Sequence[Logprob]) -> ChoiceLogprobs:
    """The same in OpenAI's shape."""
    return ChoiceLogprobs(
        tuple(
            [
                TokenLogprob(
                    token.token,
                    token.bytes,
                    token.logprob,
                    tuple([TopLogprob(t.token, t.bytes, t.logprob) for t in token.top_logprobs]),
                )
                for token in logprobs
            ]
        )
    )
