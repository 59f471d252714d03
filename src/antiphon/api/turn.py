"""One turn of the model, free of any API: what is asked for, and what is told.

The request side of every API makes a `TurnRequest`; `antiphon.turn` runs it; the response side of
every API is a fold over the `TurnEvent` values it gives.

    part := PartStart PartDelta* PartEnd        parts never interleave
    turn := (part | CallRan | Recovered)* TurnEnd
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from antiphon.api.citations import UrlCitation
from antiphon.api.toolnames import ToolNames
from antiphon.codec.arguments import Arguments
from antiphon.codec.encoded import NOTHING_ENCODED, EncodedTexts
from antiphon.codec.events import Diagnostic
from antiphon.codec.grammar.plan import AUTO, ToolChoice
from antiphon.model.message import Conversation, Message
from antiphon.model.tools import ToolNamespace

__all__ = [
    "Annotated",
    "CallRan",
    "FinishReason",
    "InputGrammar",
    "Logprob",
    "PartDelta",
    "PartEnd",
    "PartKind",
    "PartStart",
    "PastCall",
    "Recovered",
    "Sampling",
    "StructuredOutput",
    "TurnEnd",
    "TurnEvent",
    "TurnRequest",
    "TurnUsage",
]


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What the client said of sampling; None where it was silent. Names: OpenAI's, vLLM's."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: Mapping[int, float] | None = None


class PastCall(msgspec.Struct, frozen=True):
    """A tool call in the history: the client's id for it, and which message it is."""

    call_id: str | None
    message: int
    """Index into ``TurnRequest.conversation.messages``."""


class StructuredOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must be. ``{"type": "object"}`` is any JSON object."""

    schema: Mapping[str, Any]
    name: str | None = None
    strict: bool = True
    """False: asked for, and tried, but an answer that does not fit is delivered as it is."""
    field: str = "response_format"
    """Where in the request the schema stands, for errors."""


class InputGrammar(msgspec.Struct, frozen=True):
    """What a custom tool's input must match: ``definition`` is Lark or a regular expression."""

    syntax: Literal["lark", "regex"]
    definition: str
    field: str = "tools"
    """Where in the request the definition stands, for errors."""


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a turn depends on, but for the server's own settings, the clock and randomness."""

    conversation: Conversation
    """As the client sent it, tools and effort in place, names aliased; reasoning included."""
    model: str
    tenant: str = ""
    """Whose memory and cache this is: the API key's id; empty without keys."""
    encoded: EncodedTexts = NOTHING_ENCODED
    """Texts of the conversation whose tokens are known."""
    names: ToolNames = ToolNames()
    past_calls: tuple[PastCall, ...] = ()
    tools: Mapping[str, ToolNamespace] = {}
    """The namespaces that the conversation offers."""
    strict_tools: frozenset[str] = frozenset()
    """Recipients whose arguments must match their schema."""
    schema_fields: Mapping[str, str] = {}
    """Where in the request the schemas of those stand, by recipient, for errors."""
    custom_tools: frozenset[str] = frozenset()
    """Recipients that take free text; in the prompt, a function with the one string ``input``."""
    input_grammars: Mapping[str, InputGrammar] = {}
    """Of those custom tools that have one, by recipient."""
    served: frozenset[str] = frozenset()
    """Recipients whose calls the server itself makes."""
    choice: ToolChoice = AUTO
    parallel: bool = True
    output: StructuredOutput | None = None
    think: bool = True
    """False: effort none and minimal; the turn begins in the final channel."""
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    truncate: bool = False
    """Whether the oldest turns may go where the prompt would not fit the model's context."""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many alternatives for each token of the answer; None: no log probabilities."""
    conversation_key: str | None = None
    """What the client says all requests of one conversation share (``prompt_cache_key``)."""


class PartKind(StrEnum):
    """What a part is to a client."""

    REASONING = "reasoning"
    PREAMBLE = "preamble"
    """Text for the user beside calls."""
    ANSWER = "answer"
    CALL = "call"


class Logprob(msgspec.Struct, frozen=True, gc=False):
    """How likely a token was. ``token`` is its text, ``bytes`` its UTF-8, maybe part of a char."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top_logprobs: tuple[Logprob, ...] = ()


class PartStart(msgspec.Struct, frozen=True):
    """A part begins. All but ``kind`` is for calls: ``name`` is the client's own name."""

    kind: PartKind
    call_id: str | None = None
    name: str | None = None
    custom: bool = False
    served: str | None = None
    """The recipient, of a call that the server itself makes; `CallRan` says what it came to."""


class PartDelta(msgspec.Struct, frozen=True, gc=False):
    """The next piece of the open part. Never empty. For a function call: of its JSON arguments;
    for a custom tool's call: of its input.
    """

    text: str
    logprobs: tuple[Logprob, ...] = ()


class PartEnd(msgspec.Struct, frozen=True):
    """The open part is complete, or the turn ended inside it. ``text`` is the deltas' sum."""

    text: str
    complete: bool = True
    arguments: Arguments | None = None
    """For a function call: how far what the model wrote was from JSON."""


class CallRan(msgspec.Struct, frozen=True, kw_only=True):
    """The server made a call, whose part has ended; parts of clients' calls have none of this."""

    call_id: str
    text: str
    """What the model reads."""
    message: Message | None = None
    """The call, as it is rendered; None where the model made none."""
    failed: bool = False
    details: Mapping[str, Any] = {}
    """What the client is told of it; the item of the call knows the names."""


class Annotated(msgspec.Struct, frozen=True):
    """What the open answer cites, with places in the whole content; just before its end."""

    annotations: tuple[UrlCitation, ...]


class Recovered(msgspec.Struct, frozen=True):
    """Something was mended: by the parser, or by the turn (codes in docs/recovery.md)."""

    diagnostic: Diagnostic


FinishReason = Literal["stop", "length", "tool_calls"]


class TurnUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens. A turn of several completions (a continuation, a retry) counts all of them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    completions: int = 1


class TurnEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The turn is over."""

    finish_reason: FinishReason
    usage: TurnUsage
    messages: tuple[Message, ...]
    """What the model said, as it will be rendered when it comes back as history."""
    stop_string: str | None = None
    """The client's stop string that ended the answer."""


TurnEvent = PartStart | PartDelta | PartEnd | Annotated | CallRan | Recovered | TurnEnd
