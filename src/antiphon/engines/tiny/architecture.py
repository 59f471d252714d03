"""The tiny model's sizes, and the token rows that are computed instead of stored.

Only tokens that training saw often have learned rows in the two token tables. Every other row is a
fixed code of ±1, from SHAKE-256 over nothing but the id's place, so that any computer rebuilds it.
A code is enough for the model to copy a word it never saw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["input_codes", "output_codes"]

NAME: Final = "tiny-gpt-oss-harmony"
VOCABULARY_SIZE: Final = 201_088
"""gpt-oss's own 201,088 rows: 0 to 201,087."""
HIDDEN_SIZE: Final = 128
INTERMEDIATE_SIZE: Final = 64
LAYERS: Final = 3
HEADS: Final = 4
KEY_VALUE_HEADS: Final = 2
HEAD_SIZE: Final = 64
EXPERTS: Final = 4
EXPERTS_PER_TOKEN: Final = 2
SLIDING_WINDOW: Final = 128
CONTEXT_LENGTH: Final = 131_072
NORM_EPSILON: Final = 1e-5
ROPE_BASE: Final = 150_000.0
YARN_FACTOR: Final = 32.0
YARN_ORIGINAL_CONTEXT: Final = 4096

CODE_SIZE: Final = 64
"""Signs in a token's code. Input rows hold it in places 0 to 63, output rows in 64 to 127."""
_OUTPUT_SCALE: Final = 0.3
_SEED: Final = b"tiny-gpt-oss-harmony"


def input_codes() -> NDArray[float32]:
    """The input table before training: a row of codes for every token."""
    import numpy as np

    digest = hashlib.shake_256(_SEED).digest(VOCABULARY_SIZE * CODE_SIZE // 8)
    bits = np.unpackbits(np.frombuffer(digest, np.uint8)).reshape(VOCABULARY_SIZE, CODE_SIZE)
    rows = np.zeros((VOCABULARY_SIZE, HIDDEN_SIZE), np.float32)
    rows[:, :CODE_SIZE] = bits.astype(np.float32) * 2 - 1
    return rows


def output_codes(inputs: NDArray[float32]) -> NDArray[float32]:
    """The output table before training, from the input table."""
    import numpy as np

    rows: NDArray[float32] = np.roll(inputs, CODE_SIZE, axis=1) * np.float32(_OUTPUT_SCALE)
    return rows
