"""What several engines can do together, and their chunks in one reading."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

from antiphon.engines.protocol import Capabilities, Chunk, Reading, TokenLogprob
from antiphon.vocab.control import CONTROL_NAMES
from antiphon.vocab.table import token_bytes

__all__ = ["Hybrid", "common_capabilities", "common_reading"]

_FALLS_TO: Final[dict[frozenset[Reading], Reading]] = {
    frozenset({"ids", "hybrid"}): "hybrid",
    frozenset({"ids", "marked"}): "marked",
    frozenset({"hybrid", "marked"}): "marked",
    frozenset({"ids", "hybrid", "marked"}): "marked",
}


def common_reading(readings: Sequence[Reading]) -> Reading:
    """The best way in which the chunks of all can be read. Stripped text has nothing in common
    with the others, so it is the answer only where there is nothing else.
    """
    told = frozenset(readings)
    if len(told) > 1:
        told -= {"stripped"}
    return next(iter(told)) if len(told) == 1 else _FALLS_TO[told]


def common_capabilities(able: Sequence[Capabilities]) -> Capabilities:
    """What every one of them can do."""
    grammars = {one.grammar for one in able}
    logprobs = [one.logprobs for one in able]
    contexts = [one.context_length for one in able if one.context_length is not None]
    return Capabilities(
        reading=common_reading([one.reading for one in able]),
        prompt_ids=all(one.prompt_ids for one in able),
        grammar=grammars.pop() if len(grammars) == 1 else None,
        sampling=frozenset.intersection(*[one.sampling for one in able]),
        logprobs=None if None in logprobs else min(n for n in logprobs if n is not None),
        cache_salt=all(one.cache_salt for one in able),
        any_model=all(one.any_model for one in able),
        context_length=min(contexts, default=None),
    )


class Hybrid:
    """Chunks of an engine that sends all ids, as those of one that does not: control tokens each in
    a chunk of its own, the rest as text.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def convert(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        return [piece for chunk in chunks for piece in self._pieces(chunk)]

    def _pieces(self, chunk: Chunk) -> list[Chunk]:
        paired = len(chunk.logprobs) == len(chunk.tokens)
        pieces: list[Chunk] = []
        run: list[int] = []
        start = 0
        for at, token in enumerate(chunk.tokens):
            if token not in CONTROL_NAMES:
                run.append(token)
                continue
            if run:
                pieces.append(self._run(run, chunk.logprobs[start:at] if paired else ()))
                run = []
            cut = self._decoder.decode(b"", final=True)
            if cut:
                pieces.append(Chunk((), cut))
            own = chunk.logprobs[at : at + 1] if paired else ()
            pieces.append(Chunk((token,), CONTROL_NAMES[token], logprobs=own))
            start = at + 1
        if run or not pieces:
            pieces.append(self._run(run, chunk.logprobs[start:] if paired else chunk.logprobs))
        if chunk.finish is not None:
            if cut := self._decoder.decode(b"", final=True):
                pieces.append(Chunk((), cut))
            last = pieces[-1]
            pieces[-1] = Chunk(last.tokens, last.text, last.exact, last.logprobs, chunk.finish)
        return pieces

    def _run(self, tokens: list[int], logprobs: tuple[TokenLogprob, ...]) -> Chunk:
        data = b"".join([token_bytes(token) or b"" for token in tokens])
        return Chunk(tuple(tokens), self._decoder.decode(data), logprobs=logprobs)
