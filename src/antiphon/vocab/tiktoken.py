"""The second tokenizer and the oracle of the tests: tiktoken over the packaged vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from antiphon.errors import MissingExtraError
from antiphon.vocab.pattern import O200K_PATTERN
from antiphon.vocab.runs import encode_cut
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import replace_surrogates

try:
    from tiktoken import Encoding
except ImportError as error:
    raise MissingExtraError("tiktoken", "tiktoken") from error

__all__ = ["TiktokenTokenizer"]


class TiktokenTokenizer:
    """Ordinary o200k encoding by tiktoken, without its download. Thread-safe, releases the GIL.

    Its regular expressions overflow their stack on white space without line breaks somewhere
    between half a million and a million characters, so runs over ``safe_run`` are cut.
    """

    name: Final = "tiktoken"
    safe_run: Final = 65_536

    def __init__(self) -> None:
        self._encoding = Encoding(
            "o200k_base",
            pat_str=O200K_PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(ordinary_bytes())},
            special_tokens={},
        )

    def encode(self, text: str) -> list[int]:
        """The ordinary token ids of ``text``."""
        try:
            return encode_cut(self._encoding.encode_ordinary, text, self.safe_run)
        except UnicodeEncodeError:
            return self.encode(replace_surrogates(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for each text in turn."""
        return [self.encode(text) for text in texts]
