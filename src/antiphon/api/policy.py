"""What a server decides about requests before it knows them: the policy of prompts and answers."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Effort", "OnMedia", "Preambles", "PromptPolicy", "ReasoningFields", "Visibility"]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""OpenAI's efforts. What gpt-oss was not trained on becomes the nearest that it was."""

OnMedia = Literal["refuse", "placeholder"]
Preambles = Literal["content", "reasoning", "hidden"]
ReasoningFields = Literal["both", "reasoning", "reasoning_content"]


class PromptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How requests become prompts, where they leave it open."""

    effort: Effort = "medium"
    """Where the request says none."""
    effort_line: bool = True
    """A lone ``Reasoning: low|medium|high`` line in a system message sets the effort."""
    identity: str | None = None
    """In place of gpt-oss's own first line."""
    knowledge_cutoff: str | None = None
    """In place of gpt-oss's own."""
    on_media: OnMedia = "refuse"
    """Images, audio and files that are not text: a 400, or a fixed line in their place."""
    responses_on_media: OnMedia = "placeholder"
    """The same in the Responses API, whose clients resend screenshots with every request."""
    strict_parameters: bool = False
    """Refuse what has no effect here, instead of naming it as ignored."""
    summaries: bool = False
    """Whether the server can make summaries of reasoning."""
    max_choices: int = 8
    """Largest ``n``."""
    max_stop_strings: int = 16


class Visibility(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sees of a turn. `ChatRequest.view` narrows it to what the request wants."""

    reasoning: bool = True
    preambles: Preambles = "content"
    """Where text beside tool calls goes."""
    reasoning_fields: ReasoningFields = "both"
    """The field that carries reasoning. Clients disagree on its name."""
