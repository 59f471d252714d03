"""Token id → bytes, without an encoder.

The data file holds one length byte for each of the 199,998 ordinary tokens, then their bytes, all
zlib-compressed. Parsing needs nothing else. A short-lived process that parses one completion
touches a few dozen tokens, so the table starts out lazy and is built whole only when enough ids
have been asked for.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from antiphon.errors import VocabularyError
from antiphon.vocab.control import CONTROL_NAMES, ORDINARY_COUNT

__all__ = ["Vocabulary", "ordinary_bytes", "token_bytes", "vocabulary"]

DATA_FILE: Final = "o200k_base.zlib"
DATA_SHA256: Final = "440741350e7cfa1c0f4869ce742d1b043550adbda5187adcac9e787edac6fba9"
_BLOCK: Final = 256


class Vocabulary(NamedTuple):
    """The unpacked data file: token ``i`` is ``blob[offset(i):offset(i) + lengths[i]]``."""

    lengths: bytes
    blob: bytes
    block_offsets: list[int]

    def ordinary(self, token: int) -> bytes:
        """The bytes of ordinary token ``token`` (0 ≤ token < 199,998)."""
        block = token // _BLOCK
        start = self.block_offsets[block] + sum(self.lengths[block * _BLOCK : token])
        return self.blob[start : start + self.lengths[token]]


@cache
def vocabulary() -> Vocabulary:
    """Read, check and unpack the vocabulary. Raises VocabularyError if it is missing or damaged."""
    import hashlib
    import os
    import zlib

    try:
        # Not pathlib: importing it is a twentieth of what a cold parse may cost.
        folder = os.path.dirname(__file__)  # noqa: PTH120
        with open(f"{folder}/data/{DATA_FILE}", "rb") as file:  # noqa: PTH123
            data = zlib.decompress(file.read())
    except (OSError, zlib.error) as error:
        raise VocabularyError(
            f"cannot read the vocabulary file {DATA_FILE}: {error}; reinstall antiphon"
        ) from error
    if hashlib.sha256(data).hexdigest() != DATA_SHA256:
        raise VocabularyError(f"{DATA_FILE} does not match its checksum; reinstall antiphon")
    lengths = data[:ORDINARY_COUNT]
    blocks = (sum(lengths[i : i + _BLOCK]) for i in range(0, ORDINARY_COUNT, _BLOCK))
    return Vocabulary(lengths, data[ORDINARY_COUNT:], list(accumulate(blocks, initial=0)))


@cache
def ordinary_bytes() -> list[bytes]:
    """All ordinary tokens: a list of 199,998 ``bytes``, indexed by id. Built on first use."""
    lengths, blob, _ = vocabulary()
    ends = list(accumulate(lengths, initial=0))
    return [blob[a:b] for a, b in pairwise(ends)]


def token_bytes(token: int) -> bytes | None:
    """The bytes of any token; control tokens give their name; None for an id out of range."""
    if 0 <= token < ORDINARY_COUNT:
        return vocabulary().ordinary(token)
    name = CONTROL_NAMES.get(token)
    return None if name is None else name.encode()
