"""Text → ordinary token ids in pieces, with the same ids as if it had been encoded at once.

o200k splits text at a pattern before it merges bytes, so text may be cut where that pattern always
ends a match: between an ASCII letter or digit and white space, and after a line feed that is
followed by anything but white space or ``/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from antiphon.vocab.control import CONTROL_IDS
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["TextEncoder", "encode_marked"]

_CUT: Final = re.compile(r"[A-Za-z0-9](?=\s)|\n(?=[^\s/])")
_BATCH: Final = 1 << 14
_CONTROL: Final = re.compile(r"<\|[a-z_]+(?:\d+\|>|\|>)")


class TextEncoder:
    """Encodes text that arrives in chunks, holding back what follows the last cut.

    ``batch`` characters are collected before there is a look for a cut.
    """

    def __init__(self, *, batch: int = _BATCH) -> None:
        self._batch = batch
        self._look_at = batch
        self._held: list[str] = []
        self._size = 0

    def feed(self, text: str) -> list[int]:
        """The ids that are certain now."""
        self._held.append(text)
        self._size += len(text)
        if self._size < self._look_at:
            return []
        text = "".join(self._held)
        end = _last_cut(text)
        self._look_at = self._batch if end else 2 * self._look_at
        self._held = [text[end:]]
        self._size = len(text) - end
        return default_tokenizer().encode(text[:end]) if end else []

    def finish(self) -> list[int]:
        """The rest. The encoder is ready for another text afterwards."""
        text = "".join(self._held)
        self._held, self._size, self._look_at = [], 0, self._batch
        return default_tokenizer().encode(text) if text else []


def _last_cut(text: str) -> int:
    # A cut is nearly always close to the end: look there first, and at all of it only then.
    for start in (len(text) - 512, 0):
        last = 0
        for match in _CUT.finditer(text, max(start, 0)):
            last = match.end()
        if last:
            return last
    return 0


def encode_marked(text: str) -> Iterator[int]:
    """The ids of marked text: every control token that is spelled out is one token."""
    encode = default_tokenizer().encode
    done = 0
    for match in _CONTROL.finditer(text):
        token = CONTROL_IDS.get(match.group())
        if token is not None:
            yield from encode(text[done : match.start()])
            yield token
            done = match.end()
    yield from encode(text[done:])
