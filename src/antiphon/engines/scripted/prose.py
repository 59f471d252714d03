"""Text without end that does not repeat itself: for length limits, long streams, cancellation."""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["sentences", "words"]

_WHO: Final = (
    "the lighthouse keeper|a young cartographer|the last ferry|an old clockmaker|the harbour|"
    "a travelling botanist|the night train|her brother|the archivist|a flock of terns|"
    "the innkeeper|the tide|a letter from the north|the orchestra|the small red boat|winter"
).split("|")
_DID: Final = (
    "watched|remembered|carried|followed|mended|drew|forgot|praised|measured|hid|answered|crossed|"
    "painted|repeated|left behind|waited for"
).split("|")
_WHAT: Final = (
    "the map|the silver river|a promise|the empty market|every window|the longest road|a song|"
    "the quiet hills|the broken bell|a cup of tea|the grey morning|three lanterns|the garden wall|"
    "an unfinished story|the sound of rain|the far shore"
).split("|")
_HOW: Final = (
    "without a word|before the storm|in early spring|for the second time|as the lamps went out|"
    "with great care|on the way home|until nobody was left|beneath the old bridge|once more|"
    "while the town slept|for reasons of its own|at the turn of the year|out of habit|"
    "by the light of a candle|as if for the first time"
).split("|")


def sentences(seed: int, tokens: int) -> str:
    """A story of about ``tokens`` tokens, the same for the same seed."""
    chance = Random(seed)  # noqa: S311  (a story, no secret)
    out: list[str] = []
    for number in range(max(1, tokens // 12)):
        parts = [
            chance.choice(_WHO),
            chance.choice(_DID),
            chance.choice(_WHAT),
            chance.choice(_HOW),
        ]
        text = " ".join(parts)
        out.append(text[0].upper() + text[1:] + ".")
        out.append("\n\n" if number % 6 == 5 else " ")
    return "".join(out).strip()


def words(seed: int, count: int) -> list[str]:
    """So many words, capitalised, the same for the same seed."""
    chance = Random(seed)  # noqa: S311  (a story, no secret)
    pool = [w for phrase in _WHAT for w in phrase.split() if len(w) > 3]
    return [chance.choice(pool).capitalize() for _ in range(count)]
