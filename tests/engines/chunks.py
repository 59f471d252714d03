"""What the chunks of a completion say, for tests over engines that send ids, text or both."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.codec.events import Event
from antiphon.codec.parsed import Parsed, fold
from antiphon.codec.stream import Parser
from antiphon.engines.protocol import Chunk, Reading
from antiphon.model.message import Role
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["parsed", "text_of", "tokens_of"]


def tokens_of(chunks: Sequence[Chunk]) -> list[int]:
    """The ids that came; where the engine withheld some, those that spell the chunk's text."""
    encode = default_tokenizer().encode
    return [
        token for chunk in chunks for token in (chunk.tokens if chunk.exact else encode(chunk.text))
    ]


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks])


def parsed(chunks: Sequence[Chunk], reading: Reading, tools: Sequence[str]) -> Parsed:
    """The messages the chunks hold, read as the engine's reading says."""
    parser = Parser(role=Role.ASSISTANT, tools=tools, input=reading)
    events: list[Event] = []
    for chunk in chunks:
        if reading in ("ids", "hybrid") and chunk.tokens and chunk.exact:
            events += parser.feed(chunk.tokens)
        elif chunk.text:
            events += parser.feed(chunk.text)
    return fold([*events, *parser.eof()])
