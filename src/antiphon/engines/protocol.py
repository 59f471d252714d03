"""What every engine offers: a prompt of token ids in, a stream of completion chunks out.

``tests/contracts/test_engines.py`` is this module as a test suite; an engine that passes it can
take the place of any other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

__all__ = [
    "Capabilities",
    "Chunk",
    "CompletionRequest",
    "Engine",
    "Finish",
    "FinishReason",
    "GrammarKind",
    "Push",
    "Reading",
    "TokenLogprob",
    "Usage",
    "says_something",
]

Reading = Literal["ids", "hybrid", "marked", "stripped"]
"""How a completion comes: ``ids``, all of them; ``hybrid``, control tokens as ids and the rest as
text; ``marked``, text with the control tokens spelt out; ``stripped``, text without them."""

GrammarKind = Literal["gbnf", "structural_tag", "plan"]
"""The language in which an engine takes a constraint (`antiphon.codec.grammar`); ``plan``: the
`Plan` itself, as JSON, for an engine of ours."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can do. The defaults are those of an engine nothing is known about."""

    reading: Reading = "stripped"
    prompt_ids: bool = False
    """Whether prompts go over as ids. If not, they go as marked text, in which ordinary text that
    spells a control token has been made harmless."""
    grammar: GrammarKind | None = None
    sampling: frozenset[str] = frozenset({"temperature", "top_p", "seed"})
    """The fields of `CompletionRequest` from ``temperature`` to ``logit_bias`` it honours."""
    logprobs: int | None = None
    """Most alternatives it reports for a position; None: no log probabilities at all."""
    cache_salt: bool = False
    any_model: bool = False
    """Whether it answers to any model's name, and is told the client's."""
    context_length: int | None = None
    """Tokens that prompt and completion may have together; None: not known."""


Push = Callable[[Sequence["Chunk"]], "Sequence[Chunk] | None"]
"""Takes chunks. What it returns, the generator gives next; None: nothing. It raises nothing."""


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One raw completion. The defaults are gpt-oss's own: plain sampling at temperature 1.

    The engine stops by itself after ``<|return|>``, ``<|call|>`` and ``<|endoftext|>``; there are
    no stop strings, because engines hold text back while one may be starting. What an engine's
    `Capabilities` do not name, it ignores: whoever asks has looked there before.
    """

    prompt: Sequence[int]
    model: str | None = None
    """The model's name as the engine knows it, for engines that serve several."""
    max_tokens: int | None = None
    """None: until the model stops or the context is full."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    logit_bias: Mapping[int, float] | None = None
    """Token → bias from -100 to 100."""
    logprobs: int | None = None
    """How many alternatives to report for each token; None: no log probabilities."""
    grammar: str | None = None
    """A constraint in the engine's own language, from `antiphon.codec.grammar`."""
    cache_salt: str | None = None
    """Prompts with different salts share no cached prefix."""
    affinity: str | None = None
    """Requests with the same value continue one conversation: of several engines, the one that
    served it last holds its prefix."""
    push: Push | None = None
    """A shorter way for chunks than the generator's, once that has given some with tokens or text,
    for all but those with ``finish``: an engine that knows it calls it as they arrive, but only
    while it is waited for."""


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"
    """The model ended its turn; `Finish.stop_token` says how."""
    LENGTH = "length"
    """`CompletionRequest.max_tokens` or the context was used up."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a completion cost. Seconds are the engine's own measurement, 0.0 if it has none."""

    prompt_tokens: int
    completion_tokens: int
    """Every id produced, the stop token included."""
    cached_tokens: int = 0
    """How many prompt tokens the engine did not have to process again."""
    prompt_seconds: float = 0.0
    completion_seconds: float = 0.0


class Finish(msgspec.Struct, frozen=True):
    """The end of a completion. ``stop_token`` is None if the engine does not tell."""

    reason: FinishReason
    stop_token: int | None
    usage: Usage


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """How likely a token was. ``token`` is -1 where the engine names only its text."""

    token: int
    text: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at this position, the chosen one among them if it was."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of a completion, as the engine's `Reading` says.

    ``tokens`` are the ids it sent, the stop token included; empty for an engine that sends none.
    ``text`` is what it says they spell, control tokens by name unless they were stripped; a
    character that is not complete yet comes with the chunk that completes it.
    ``exact`` is False where the engine withheld ids, so that only ``text`` is the whole piece.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""
    exact: bool = True
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    """Set on the last chunk and on no other."""


class Engine(Protocol):
    """A running engine."""

    @property
    def name(self) -> str:
        """For people: which engine, and where."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        """Generate: the chunks that arrived together, none merged; the last one has ``finish``.

        An empty sequence says that the engine is alive and has nothing yet (it reads the prompt).
        Closing the generator, or cancelling the task that runs it, stops the engine's work.

        Raises EngineError if the engine cannot be reached, refuses the request (``status_hint``
        400: an id out of range, a prompt that is too long, a grammar it cannot read) or breaks off.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. The engine itself goes on running. May be called twice."""
        ...


def says_something(chunks: Sequence[Chunk]) -> bool:
    """Whether these are a beginning: more than a sign of life."""
    return any(chunk.tokens or chunk.text or chunk.finish for chunk in chunks)
