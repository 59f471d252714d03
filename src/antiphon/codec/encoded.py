"""Texts whose tokens are known: kept beside what was said, so that nothing is encoded twice.

A text is found by its digest, so that what is found is what encoding it would give, wherever the
text comes back, whatever its message has become.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from antiphon.vocab.control import FIRST_CONTROL_ID

__all__ = ["NOTHING_ENCODED", "EncodedTexts", "pack_texts"]

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 16
_COUNT_BYTES: Final = 4
_ID_BYTES: Final = 4
_MAX_LAYERS: Final = 16
_SWAPPED: Final = sys.byteorder != "little"


def pack_texts(texts: Iterable[tuple[str, Sequence[int]]]) -> bytes:
    """Texts with their tokens as bytes: digest, how many, and each as a uint32, little-endian."""
    out = [_VERSION]
    for text, tokens in texts:
        ids = array("I", tokens)
        if _SWAPPED:
            ids.byteswap()
        out += (_digest(text), len(ids).to_bytes(_COUNT_BYTES, "little"), ids.tobytes())
    return b"".join(out)


class EncodedTexts:
    """What was packed, of one text after the other. A value: it is never changed."""

    __slots__ = ("_layers",)

    def __init__(self, packed: Iterable[bytes] = ()) -> None:
        """What cannot be read is passed over: it will be encoded."""
        known: dict[bytes, bytes] = {}
        for each in packed:
            _unpack(each, known)
        self._layers: tuple[dict[bytes, bytes], ...] = (known,) if known else ()

    def and_then(self, packed: bytes) -> EncodedTexts:
        """These and more."""
        layer: dict[bytes, bytes] = {}
        _unpack(packed, layer)
        if not layer:
            return self
        more = EncodedTexts()
        more._layers = (*self._layers, layer)
        if len(more._layers) > _MAX_LAYERS:
            merged: dict[bytes, bytes] = {}
            for each in more._layers:
                merged.update(each)
            more._layers = (merged,)
        return more

    def find(self, text: str) -> list[int] | None:
        """The tokens of ``text``, a list of the caller's own; None if they are not known."""
        if not self._layers:
            return None
        digest = _digest(text)
        for layer in self._layers:
            data = layer.get(digest)
            if data is not None:
                ids = array("I", data)
                if _SWAPPED:
                    ids.byteswap()
                # Whatever a damaged file holds: text is never a control token.
                return ids.tolist() if max(ids, default=0) < FIRST_CONTROL_ID else None
        return None


NOTHING_ENCODED: Final = EncodedTexts()


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()


def _unpack(packed: bytes, known: dict[bytes, bytes]) -> None:
    if packed[:1] != _VERSION:
        return
    at, end = 1, len(packed)
    while at + _DIGEST_BYTES + _COUNT_BYTES <= end:
        digest = packed[at : at + _DIGEST_BYTES]
        at += _DIGEST_BYTES
        size = _ID_BYTES * int.from_bytes(packed[at : at + _COUNT_BYTES], "little")
        at += _COUNT_BYTES
        if at + size > end:
            return
        known[digest] = packed[at : at + size]
        at += size
