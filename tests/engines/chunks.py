"""What the chunks of a completion say, for tests over engines that send ids, text or both."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.engines.protocol import Chunk
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["text_of", "tokens_of"]


def tokens_of(chunks: Sequence[Chunk]) -> list[int]:
    """The ids that came; where the engine withheld some, those that spell the chunk's text."""
    encode = default_tokenizer().encode
    return [
        token
        for chunk in chunks
        for token in (chunk.tokens if chunk.exact else encode(chunk.text))
    ]


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks])
