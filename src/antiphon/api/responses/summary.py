"""A summary of reasoning that is only an extract: the model's own sentences, marked as such.

No model writes it, so that it says nothing that was not thought.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MARK", "SUMMARY_CHARS", "extract"]

MARK: Final = "**Extract of the reasoning**"
"""The first line of every summary."""
SUMMARY_CHARS: Final = {"concise": 200, "auto": 600, "detailed": 2_000}
"""Most characters of the extract, by what is asked for."""

_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_SENTENCE: Final = re.compile(r".+?(?:[.!?](?=\s|\Z)|\Z)", re.DOTALL)
_SPACE: Final = re.compile(r"\s+")
_LONGEST: Final = 300
"""Longer sentences are cut."""


def extract(text: str, wanted: str) -> str:
    """The first sentence of each paragraph, as far as there is room; nothing of nothing."""
    room = SUMMARY_CHARS.get(wanted, SUMMARY_CHARS["auto"])
    said: list[str] = []
    for paragraph in _PARAGRAPH.split(text.strip()):
        found = _SENTENCE.match(paragraph.strip()[: 4 * _LONGEST])
        if found is None:
            continue
        sentence = _SPACE.sub(" ", found.group()).strip()
        if len(sentence) > _LONGEST:
            sentence = sentence[: _LONGEST - 1].rstrip() + "…"
        if said and len(sentence) > room:
            break
        said.append(sentence)
        room -= len(sentence)
        if room <= 0:
            break
    return f"{MARK}\n\n" + "\n".join(said) if said else ""
