"""Where the characters of a held header stand in the parser's input."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import NamedTuple

__all__ = ["Atom", "Ruler"]


class Atom(NamedTuple):
    """A held piece of a header; ``token`` is 0 for text."""

    text: str
    token: int
    start: int
    stop: int

    @property
    def by_char(self) -> bool:
        """Whether every character is one unit of the input, as in text."""
        return not self.token and self.stop - self.start == len(self.text)


class Ruler:
    """Header characters → input units. A token is the smallest unit of ids."""

    __slots__ = ("_atoms", "_ends")

    def __init__(self, atoms: list[Atom]) -> None:
        self._atoms = atoms
        self._ends: list[int] | None = None

    def units(self, at: tuple[int, int]) -> tuple[int, int]:
        if self._ends is None:
            self._ends = list(accumulate([len(atom.text) for atom in self._atoms]))
        start, stop = at
        first = bisect_right(self._ends, start)
        if first == len(self._atoms):
            end = self._atoms[-1].stop if self._atoms else 0
            return end, end
        last = max(first, bisect_left(self._ends, stop))
        head, tail = self._atoms[first], self._atoms[min(last, len(self._atoms) - 1)]
        begin = head.start + (start - self._before(first) if head.by_char else 0)
        end = tail.start + stop - self._before(last) if tail.by_char else tail.stop
        return begin, end

    def _before(self, index: int) -> int:
        """Characters before an atom."""
        assert self._ends is not None
        return self._ends[index - 1] if index else 0
