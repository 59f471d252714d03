"""What every engine offers: a prompt of token ids in, a stream of completion chunks out.

``tests/contracts/test_engines.py`` is this module as a test suite; an engine that passes it can
take the place of any other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

__all__ = ["Chunk", "CompletionRequest", "Engine", "Finish", "FinishReason", "Usage"]


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One raw completion. The defaults are gpt-oss's own: plain sampling at temperature 1.

    The engine stops by itself after ``<|return|>``, ``<|call|>`` and ``<|endoftext|>``; there are
    no stop strings, because engines hold text back while one may be starting.
    """

    prompt: Sequence[int]
    max_tokens: int | None = None
    """None: until the model stops or the context is full."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    min_p: float = 0.0
    seed: int | None = None
    grammar: str | None = None
    """A constraint in the engine's own language, from `antiphon.codec.grammar`."""


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
    """The end of a completion."""

    reason: FinishReason
    stop_token: int | None
    usage: Usage


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a completion.

    ``tokens`` are its ids, the stop token included. ``text`` is what they spell, control tokens by
    name; a character that is not complete yet comes with the chunk that completes it. ``exact`` is
    False where the engine withheld ids and ``tokens`` is the tokenizer's spelling of ``text``
    instead: the same bytes, but maybe not the ids the model chose.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""
    exact: bool = True
    finish: Finish | None = None
    """Set on the last chunk and on no other."""


class Engine(Protocol):
    """A running engine."""

    @property
    def name(self) -> str:
        """For people: which engine, and where."""
        ...

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Chunk, None]:
        """Generate, in chunks as they arrive; the last one, and only it, has ``finish``.

        Closing the generator, or cancelling the task that runs it, stops the engine's work.

        Raises EngineError if the engine cannot be reached, refuses the request (``status_hint``
        400: an id out of range, a prompt that is too long, a grammar it cannot read) or breaks off.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. The engine itself goes on running. May be called twice."""
        ...
