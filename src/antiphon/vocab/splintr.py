"""The default tokenizer: splintr-rs over the packaged vocabulary."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from typing import Final

from splintr import O200K_BASE_PATTERN
from splintr import Tokenizer as _Tokenizer

from antiphon.vocab.table import ordinary_bytes

__all__ = ["SplintrTokenizer"]


class SplintrTokenizer:
    """Ordinary o200k encoding by splintr-rs. Thread-safe, not picklable."""

    name: Final = "splintr"

    def __init__(self) -> None:
        ranks = b"".join(
            [b"%b %d\n" % (b2a_base64(t, newline=False), i) for i, t in enumerate(ordinary_bytes())]
        )
        self._tokenizer = _Tokenizer.from_bytes(ranks, O200K_BASE_PATTERN, {})

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]
