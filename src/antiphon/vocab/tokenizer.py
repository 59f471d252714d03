"""The BPE seam: what the renderer needs of a tokenizer, and which one is the default."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["Tokenizer", "default_tokenizer", "replace_surrogates"]


class Tokenizer(Protocol):
    """Ordinary o200k encoding. Control-token text in ``text`` always becomes ordinary tokens.

    Any text is accepted, in linear time. A pair of surrogates is encoded as the character it
    stands for and a lone one as U+FFFD, as tiktoken does. Safe to use from several threads.
    """

    @property
    def name(self) -> str:
        """The library behind it."""
        ...

    @property
    def safe_run(self) -> int:
        """Characters of one kind in a row that the library may be given; longer runs are cut."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ordinary token ids of ``text``, in a fresh list that the caller may change."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for many texts, with the GIL released where the library allows it."""
        ...


def replace_surrogates(text: str) -> str:
    """``text`` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_loading: Final = threading.Lock()
_default: Tokenizer | None = None


def default_tokenizer() -> Tokenizer:
    """The shared default tokenizer, loaded once, on first use. Raises VocabularyError."""
    global _default
    if _default is None:
        with _loading:
            if _default is None:
                from antiphon.vocab.splintr import SplintrTokenizer

                _default = SplintrTokenizer()
    return _default
