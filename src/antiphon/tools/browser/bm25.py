"""Which texts speak of a query most: Okapi BM25 over words, in memory."""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections import Counter
from heapq import nlargest
from typing import Final

__all__ = ["Index", "words"]

_WORD: Final = re.compile(r"\w+")
MAX_WORD_CHARS: Final = 40
"""Longer ones are cut: they are data, not words."""
MAX_QUERY_WORDS: Final = 64
K1: Final = 1.2
B: Final = 0.75
TITLE_WEIGHT: Final = 3
"""A word of a title counts as so many of the text."""


def words(text: str) -> list[str]:
    """Its words, folded to one case and form."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word[:MAX_WORD_CHARS] for word in _WORD.findall(folded)]


class Index:
    """Texts by number, in the order they were added."""

    def __init__(self) -> None:
        self._postings: dict[str, array[int]] = {}
        """Word → number and count, number and count, …"""
        self._lengths = array("L")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, title: str, text: str) -> int:
        """Its number."""
        number = len(self._lengths)
        counts = Counter(words(text))
        for word in words(title):
            counts[word] += TITLE_WEIGHT
        for word, count in counts.items():
            postings = self._postings.get(word)
            if postings is None:
                postings = self._postings[word] = array("L")
            postings.append(number)
            postings.append(count)
        self._lengths.append(counts.total())
        return number

    def search(self, query: str, *, limit: int) -> list[int]:
        """The best texts, best first; only those with a word of the query."""
        total = len(self._lengths)
        if not total:
            return []
        average = sum(self._lengths) / total or 1.0
        scores: dict[int, float] = {}
        for word in list(dict.fromkeys(words(query)))[:MAX_QUERY_WORDS]:
            postings = self._postings.get(word)
            if postings is None:
                continue
            held = len(postings) // 2
            weight = math.log(1 + (total - held + 0.5) / (held + 0.5))
            for at in range(0, len(postings), 2):
                number, count = postings[at], postings[at + 1]
                norm = K1 * (1 - B + B * self._lengths[number] / average)
                gain = weight * count * (K1 + 1) / (count + norm)
                scores[number] = scores.get(number, 0.0) + gain
        return nlargest(limit, scores, key=lambda number: (scores[number], -number))
