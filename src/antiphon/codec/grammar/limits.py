"""How large a schema or grammar may be: schemas come from clients, so they are hostile.

Everything here bounds work before it is done. Beyond a limit there is a SchemaError, or, where a
keyword alone is too large, the keyword is loosened with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.errors import SchemaError

__all__ = [
    "MAX_ALTERNATIVES",
    "MAX_EXPONENT_DIGITS",
    "MAX_FRACTION_DIGITS",
    "MAX_GRAMMAR_CHARS",
    "MAX_INTEGER_DIGITS",
    "MAX_PATTERN_CHARS",
    "MAX_REPETITION",
    "MAX_RULES",
    "MAX_SCHEMA_BYTES",
    "MAX_SCHEMA_DEPTH",
    "MAX_TOTAL_REPETITION",
    "MAX_WHITESPACE",
    "MAX_WORK",
    "Budget",
    "check_schema",
]

MAX_SCHEMA_BYTES: Final = 1_000_000
"""Largest schema of one tool or response, as compact JSON."""

MAX_SCHEMA_DEPTH: Final = 64
"""Deepest nesting of objects and arrays within a schema."""

MAX_WORK: Final = 200_000
"""Most schema nodes visited for one grammar, references and merges included."""

MAX_RULES: Final = 50_000
"""Most GBNF rules."""

MAX_GRAMMAR_CHARS: Final = 4_000_000
"""Longest GBNF text."""

MAX_ALTERNATIVES: Final = 64
"""Most combinations of ``anyOf`` branches that are multiplied out against their siblings."""

MAX_REPETITION: Final = 1_000
"""Largest bound of one repetition. llama.cpp unrolls them, and refuses more than 2,000."""

MAX_TOTAL_REPETITION: Final = 10_000
"""Largest sum of the bounds of all repetitions of one grammar."""

MAX_PATTERN_CHARS: Final = 500
"""Longest ``pattern`` that is translated."""

MAX_INTEGER_DIGITS: Final = 18
"""Most digits of an integer, and of a number before its point, unless the schema's bounds say more:
every such integer fits into 64 bits. Without a limit a small model may write digits for ever."""

MAX_FRACTION_DIGITS: Final = 17
"""Most digits behind a number's point: with them every double can be written exactly."""

MAX_EXPONENT_DIGITS: Final = 3
"""Most digits of a number's exponent."""

MAX_WHITESPACE: Final = 32
"""Most spaces or tabs that indent one line of JSON."""


class Budget:
    """Counts work and repetitions for one grammar."""

    def __init__(self) -> None:
        self._work = 0
        self._repetition = 0

    def spend(self, work: int = 1) -> None:
        """Raise SchemaError once more than MAX_WORK is spent."""
        self._work += work
        if self._work > MAX_WORK:
            raise SchemaError(
                f"the schemas take more than {MAX_WORK} steps to write as a grammar; "
                "merge fewer references, or nest less"
            )

    def repeat(self, bound: int) -> bool:
        """Whether a repetition with this bound is small enough; if so, it is counted."""
        if bound > MAX_REPETITION or self._repetition + bound > MAX_TOTAL_REPETITION:
            return False
        self._repetition += bound
        return True


def check_schema(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The schema as a plain dict, if it is JSON within the limits. Raises SchemaError."""
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{where}: the schema must be an object, not {type(schema).__name__}")
    _check_depth(schema, where)
    try:
        data = msgspec.json.encode(schema)
        if len(data) > MAX_SCHEMA_BYTES:
            raise SchemaError(
                f"{where}: the schema has {len(data)} bytes, the limit is {MAX_SCHEMA_BYTES}"
            )
        copy = msgspec.json.decode(data)
    except (TypeError, OverflowError, UnicodeError, msgspec.DecodeError) as error:
        raise SchemaError(f"{where}: the schema is not JSON: {error}") from error
    if not isinstance(copy, dict):
        raise SchemaError(f"{where}: the schema must be an object")
    return copy


def _check_depth(schema: object, where: str) -> None:
    level: list[object] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend([v for v in value.values() if isinstance(v, Mapping | list | tuple)])
            elif isinstance(value, list | tuple):
                below.extend([v for v in value if isinstance(v, Mapping | list | tuple)])
        if not below:
            return
        if len(below) > MAX_SCHEMA_BYTES:
            raise SchemaError(f"{where}: the schema is larger than {MAX_SCHEMA_BYTES} bytes")
        level = below
    raise SchemaError(f"{where}: the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels")
