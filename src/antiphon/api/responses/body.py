"""Every parameter of a Responses request that we know, as it comes over the wire.

Types and ranges are OpenAI's, but that small ``max_output_tokens`` are accepted; those that OpenAI
does not have are vLLM's. What each parameter does is written in docs/responses.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from antiphon.api.chat.body import Count, Penalty, Probability
from antiphon.api.responses.wire import ABSENT

__all__ = [
    "KNOWN",
    "NO_EFFECT",
    "REFUSED",
    "ConversationReference",
    "ReasoningParameter",
    "ResponsesBody",
    "StreamOptions",
    "TextParameter",
]

MAX_ID_CHARS: Final = 512

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]


class ConversationReference(msgspec.Struct):
    """``conversation`` as an object."""

    id: Id


class ReasoningParameter(msgspec.Struct):
    """``summary`` is made only where the server makes summaries."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    """The older name of ``summary``."""
    context: str | None = None
    mode: str | None = None


class TextParameter(msgspec.Struct):
    """``text``. ``format`` is looked up rather than decoded, as it rarely changes."""

    format: msgspec.Raw = ABSENT
    verbosity: str | None = None


class StreamOptions(msgspec.Struct):
    """Obfuscation is padding against those who watch packet sizes; there is none here."""

    include_obfuscation: bool | None = None


class ResponsesBody(msgspec.Struct, kw_only=True):
    """A whole request. ``input`` is text or a list of items, ``tools`` a list of WireTool."""

    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    # The prompt
    input: msgspec.Raw = ABSENT
    instructions: str | None = None
    previous_response_id: Id | None = None
    conversation: Id | ConversationReference | None = None
    prompt: Any = None
    truncation: str | None = None
    context_management: Any = None
    # Tools
    tools: msgspec.Raw = ABSENT
    tool_choice: msgspec.Raw = ABSENT
    parallel_tool_calls: bool | None = None
    max_tool_calls: Count | None = None
    # Reasoning and the answer
    reasoning: ReasoningParameter | None = None
    text: TextParameter | None = None
    max_output_tokens: Count | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    moderation: Any = None
    image: Any = None
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
    stop: str | list[str] | None = None
    # The stream, and what is kept
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    # Bookkeeping
    prompt_cache_key: Annotated[str, Meta(max_length=1024)] | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    user: str | None = None
    access_programs: Any = None

    @property
    def conversation_id(self) -> str | None:
        """Of the conversation that the response belongs to."""
        given = self.conversation
        return given.id if isinstance(given, ConversationReference) else given


KNOWN: Final = frozenset(ResponsesBody.__struct_encode_fields__)
"""The names of all parameters that are not unknown."""

NO_EFFECT: Final = frozenset(
    {
        "access_programs",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
"""Parameters that change no answer by their nature: labels, and hints that OpenAI's servers use to
be faster or cheaper. They are accepted, some repeated in the response, and not reported as
ignored."""

REFUSED: Final = {
    "prompt": "prompt templates are kept by OpenAI's servers only",
    "moderation": "there is no moderation here",
}
"""Parameters that are known and cannot be honoured, and why."""
