"""Stop strings, found across chunks in one pass over the text.

An Aho-Corasick automaton: each character is looked at once, whatever the strings are. What may be
the beginning of a stop string waits for the text that tells.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

__all__ = ["MAX_STOP_CHARS", "StopStrings"]

MAX_STOP_CHARS: Final = 8192
"""Most characters of all stop strings of a request together."""


class _Automaton:
    """The tree of all stop strings: steps, where to fall back to, and what ends at a node."""

    __slots__ = ("beginning", "depth", "fall", "hit", "steps")

    def __init__(self, stops: Sequence[str]) -> None:
        self.steps: list[dict[str, int]] = [{}]
        self.hit: list[str | None] = [None]
        self.depth = [0]
        for stop in stops:
            node = 0
            for char in stop:
                following = self.steps[node].get(char)
                if following is None:
                    following = self.steps[node][char] = len(self.steps)
                    self.steps.append({})
                    self.hit.append(None)
                    self.depth.append(self.depth[node] + 1)
                node = following
            self.hit[node] = stop
        self.fall = [0] * len(self.steps)
        queue = deque(self.steps[0].values())
        while queue:
            node = queue.popleft()
            for char, following in self.steps[node].items():
                queue.append(following)
                back = self.fall[node]
                while back and char not in self.steps[back]:
                    back = self.fall[back]
                self.fall[following] = self.steps[back].get(char, 0)
                if self.hit[following] is None:
                    self.hit[following] = self.hit[self.fall[following]]
        first = "".join(sorted({stop[0] for stop in stops}))
        self.beginning = re.compile(f"[{re.escape(first)}]")


@lru_cache(maxsize=64)
def _automaton(stops: tuple[str, ...]) -> _Automaton:
    return _Automaton(stops)


class StopStrings:
    """Feed it text; it gives what may be shown. ``found`` is the stop string that was met.

    Strings must not be empty.
    """

    __slots__ = ("_automaton", "_held", "_node", "found")

    def __init__(self, stops: Sequence[str]) -> None:
        self._automaton = _automaton(tuple(stops))
        self._held = ""
        self._node = 0
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """The text that no stop string begins in. Nothing comes after one was found."""
        if self.found is not None:
            return ""
        tree = self._automaton
        steps, fall, hit, depth = tree.steps, tree.fall, tree.hit, tree.depth
        whole = self._held + text
        at, node = len(self._held), self._node
        end = len(whole)
        while at < end:
            if not node:
                begin = tree.beginning.search(whole, at)
                if begin is None:
                    break
                at = begin.start()
            char = whole[at]
            while node and char not in steps[node]:
                node = fall[node]
            node = steps[node].get(char, 0)
            at += 1
            stop = hit[node]
            if stop is not None:
                self.found, self._held = stop, ""
                return whole[: at - len(stop)]
        keep = end - depth[node]
        self._node, self._held = node, whole[keep:]
        return whole[:keep]

    def rest(self) -> str:
        """What was held back, once no more text comes."""
        rest, self._held, self._node = self._held, "", 0
        return rest
