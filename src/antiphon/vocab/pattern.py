"""The o200k pattern, which splits text into the pieces that BPE merges on their own.

Source: openai/tiktoken (MIT), the definition of ``o200k_base``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["O200K_PATTERN"]

_LETTERS: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_SMALL_LETTERS: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

O200K_PATTERN: Final = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTERS}*{_SMALL_LETTERS}+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTERS}+{_SMALL_LETTERS}*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""The first alternative that matches wins; each is greedy."""
