"""The guard against a model that repeats itself without end (recovery row 80).

The text since the turn began is looked at block by block. Four blocks in a row that are one short
text over and over, at least four times, are runaway repetition. Two searches at the speed of
`str.find` for each block: the work grows with the text.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RepetitionGuard", "period"]

_BLOCKS: Final = 4
_CHARS_A_TOKEN: Final = 4
"""For engines that send longer pieces of text: so many characters count as a token."""


def period(text: str) -> int | None:
    """The length of the text that ``text`` is made of at least four times, None if of none.

    The last repetition may be cut off, at either end.
    """
    size = len(text)
    half = size // 2
    if half == 0:
        return None
    backwards = text[::-1]
    # The end of a text with a period recurs that far before its end. Half of the text holds the
    # period twice, so it recurs nowhere nearer (Fine and Wilf).
    distance = backwards.find(backwards[:half], 1)
    if distance < 0 or distance * 4 > size:
        return None
    return distance if text[distance:] == text[:-distance] else None


class RepetitionGuard:
    """Collects ``pieces`` of text; once their ``count`` of tokens makes a block, `check` looks."""

    __slots__ = ("_block", "_blocks", "count", "pieces")

    def __init__(self, tokens: int) -> None:
        self._block = max(1, tokens // _BLOCKS)
        self._blocks: list[str] = []
        self.pieces: list[str] = []
        self.count = 0

    def add(self, text: str) -> bool:
        """Take a piece of text, about a token; whether the turn should end."""
        self.pieces.append(text)
        self.count += 1 if len(text) <= 2 * _CHARS_A_TOKEN else len(text) // _CHARS_A_TOKEN
        return self.count >= self._block and self.check()

    def check(self) -> bool:
        """Whether the last blocks are nothing but repetition."""
        self._blocks.append("".join(self.pieces))
        self.pieces.clear()
        self.count = 0
        if len(self._blocks) < _BLOCKS:
            return False
        window = "".join(self._blocks)
        del self._blocks[0]
        return period(window) is not None
