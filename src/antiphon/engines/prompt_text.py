"""Prompt ids → text, for engines that take no ids and read control tokens out of the text.

Ordinary tokens may spell a control token's name: a user's message may hold one. Sent as it is, the
engine would read a control token where the prompt has none. A zero-width space after its ``<``
keeps it text, and looks the same to people. Names can only arise within a run of ordinary tokens:
a control token's own name begins with the only ``<`` and ends with the only ``>`` in it, so that
no other name can reach into it or out of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_NAMES, ORDINARY_COUNT
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["HARMLESS", "count_marked", "marked_prompt"]

HARMLESS: Final = "\u200b"
"""What breaks up a name: ZERO WIDTH SPACE."""

# Wider than our own names, because engines' tokenizers may know others (`<|endofprompt|>`).
_NAME: Final = re.compile(r"<(?=\|[A-Za-z0-9_]{1,32}\|>)")
_CONTROL: Final = re.compile(r"<\|[a-z_0-9]{1,20}\|>")
_NAMES: Final = frozenset(CONTROL_NAMES.values())


def marked_prompt(ids: Sequence[int]) -> str:
    """The text of ``ids`` with control tokens by name and none but them.

    Raises EngineError (``status_hint`` 400) for an empty prompt or an id out of range.
    """
    if not ids:
        raise _refused("the prompt is empty")
    table = ordinary_bytes()
    parts: list[str] = []
    run: list[bytes] = []
    for token in ids:
        if 0 <= token < ORDINARY_COUNT:
            run.append(table[token])
            continue
        name = CONTROL_NAMES.get(token)
        if name is None:
            raise _refused(f"the prompt holds {token}, which is no token")
        if run:
            parts.append(_ordinary(run))
            run = []
        parts.append(name)
    if run:
        parts.append(_ordinary(run))
    return "".join(parts)


def _ordinary(run: list[bytes]) -> str:
    text = b"".join(run).decode("utf-8", "replace")
    return _NAME.sub(f"<{HARMLESS}", text) if "<|" in text else text


def count_marked(text: str) -> int:
    """How many tokens marked text is, roughly: an engine may have cut it otherwise."""
    encode = default_tokenizer().encode
    count, done = 0, 0
    for found in _CONTROL.finditer(text):
        if found.group() in _NAMES:
            count += len(encode(text[done : found.start()])) + 1
            done = found.end()
    return count + len(encode(text[done:]))


def _refused(message: str) -> EngineError:
    error = EngineError(message)
    error.status_hint = 400
    return error
