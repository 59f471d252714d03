"""o200k_harmony in the form a GGUF wants: printable token texts, token types, BPE merges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from antiphon.engines.tiny.architecture import VOCABULARY_SIZE
from antiphon.vocab.control import CONTROL_NAMES, FIRST_CONTROL_ID
from antiphon.vocab.table import ordinary_bytes

__all__ = ["merges", "token_texts", "token_types"]

_NORMAL: Final = 1
_CONTROL: Final = 3
_REPORT_EVERY: Final = 8192


def token_texts() -> list[str]:
    """Every token's text: ordinary ones in the GPT-2 byte alphabet, control tokens by name."""
    alphabet = _byte_alphabet()
    ordinary = [_printable(token, alphabet) for token in ordinary_bytes()]
    return ordinary + [CONTROL_NAMES[i] for i in range(FIRST_CONTROL_ID, VOCABULARY_SIZE)]


def token_types() -> list[int]:
    """Every token's type: normal, or control."""
    return [_NORMAL] * FIRST_CONTROL_ID + [_CONTROL] * (VOCABULARY_SIZE - FIRST_CONTROL_ID)


def merges(texts: Sequence[str], progress: Callable[[float], None]) -> list[str]:
    """Every way to put a token together from two others, in rank order.

    BPE only ever ends with one of them, but which one depends on what is around the token, so all
    of them are listed, those with the earlier left part first.
    """
    ordinary = ordinary_bytes()
    ids = {token: i for i, token in enumerate(ordinary)}
    found: list[str] = []
    for i, token in enumerate(ordinary):
        pairs = []
        for cut in range(1, len(token)):
            left = ids.get(token[:cut])
            if left is not None and (right := ids.get(token[cut:])) is not None:
                pairs.append((left, right))
        found += [f"{texts[left]} {texts[right]}" for left, right in sorted(pairs)]
        if i % _REPORT_EVERY == 0:
            progress(i / len(ordinary))
    return found


def _byte_alphabet() -> dict[int, int]:
    """Byte → code point: printable Latin-1 stays, the rest moves to U+0100 and up, in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    moved = (byte for byte in range(256) if byte not in printable)
    return {byte: 256 + n for n, byte in enumerate(moved)}


def _printable(token: bytes, alphabet: dict[int, int]) -> str:
    return token.decode("latin-1").translate(alphabet)
