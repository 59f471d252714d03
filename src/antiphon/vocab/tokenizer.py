"""The BPE seam: what the renderer needs of a tokenizer, and which one is the default."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

__all__ = ["Tokenizer", "default_tokenizer"]


class Tokenizer(Protocol):
    """Ordinary o200k encoding. Control-token text in ``text`` always becomes ordinary tokens.

    Lone surrogates are encoded as U+FFFD. Any length of any run of characters is accepted, in
    linear time.
    """

    name: str

    def encode(self, text: str) -> list[int]:
        """The ordinary token ids of ``text``."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for many texts, with the GIL released where the library allows it."""
        ...


@cache
def default_tokenizer() -> Tokenizer:
    """The shared default tokenizer, loaded on first use. Raises VocabularyError."""
    from antiphon.vocab.splintr import SplintrTokenizer

    return SplintrTokenizer()
