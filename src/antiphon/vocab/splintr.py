"""The default tokenizer: splintr-rs over the packaged vocabulary."""

from __future__ import annotations

import os
import re
from binascii import b2a_base64
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from splintr import Tokenizer as _Tokenizer

from antiphon.vocab.pattern import O200K_PATTERN
from antiphon.vocab.runs import encode_cut
from antiphon.vocab.table import vocabulary
from antiphon.vocab.tokenizer import replace_surrogates

__all__ = ["SplintrTokenizer"]

_STRETCH: Final = 1024
_CACHED_STRETCHES: Final = 8 * 1024
_WORD_END: Final = re.compile(r"\S ")
_IMPORTING_PROCESS: Final = os.getpid()


class SplintrTokenizer:
    """Ordinary o200k encoding by splintr-rs. Thread-safe, not picklable.

    The library takes any text in linear time, but a piece of a million characters costs it half a
    second and half a gigabyte, so runs over ``safe_run`` are cut. Its cache of pieces is bounded in
    entries, not in bytes, so it is emptied whenever about 8 million characters have been encoded in
    stretches in which no word ends, where long pieces may be.
    """

    name: Final = "splintr"
    safe_run: Final = 16_384

    def __init__(self) -> None:
        self._tokenizer = _Tokenizer.from_bytes(_ranks(), O200K_PATTERN, {})
        self._stretches = 0

    def encode(self, text: str) -> list[int]:
        """The ordinary token ids of ``text``. Releases the GIL for long texts (16 kB)."""
        try:
            if len(text) < _STRETCH:
                return self._tokenizer.encode_ordinary(text)
            self._bound_cache(text)
            if len(text) <= self.safe_run:
                return self._tokenizer.encode_ordinary(text)
            return encode_cut(self._encode_without_gil, text, self.safe_run)
        except UnicodeEncodeError:
            return self.encode(replace_surrogates(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for many texts: from 16 kB in all, in parallel and without the GIL."""
        # The library's threads do not survive a fork: a child would wait for them for ever.
        if os.getpid() != _IMPORTING_PROCESS or sum(map(len, texts)) <= self.safe_run:
            return [self.encode(text) for text in texts]
        short = [text for text in texts if len(text) <= self.safe_run]
        try:
            encoded = iter(self._tokenizer.encode_batch(short))
        except UnicodeEncodeError:
            return [self.encode(text) for text in texts]
        for text in short:
            self._bound_cache(text)
        return [next(encoded) if len(t) <= self.safe_run else self.encode(t) for t in texts]

    def _encode_without_gil(self, text: str) -> list[int]:
        return self._tokenizer.encode_batch([text])[0]

    def _bound_cache(self, text: str) -> None:
        for at in range(0, len(text) - _STRETCH + 1, _STRETCH):
            if _WORD_END.search(text, at, at + _STRETCH) is None:
                self._stretches += 1
        if self._stretches > _CACHED_STRETCHES:
            self._stretches = 0
            self._tokenizer.clear_cache()


def _ranks() -> bytes:
    """The vocabulary in the form the library reads: a base64 token and its rank on each line."""
    lengths, blob, _ = vocabulary()
    spans = pairwise(accumulate(lengths, initial=0))
    return b"".join(
        [b"%b %d\n" % (b2a_base64(blob[a:b], newline=False), i) for i, (a, b) in enumerate(spans)]
    )
