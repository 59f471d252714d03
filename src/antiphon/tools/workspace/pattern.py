"""Regular expressions that models write: compiled by RE2, which takes linear time at most."""

from __future__ import annotations

from typing import Any, Final

from antiphon.errors import MissingExtraError

__all__ = ["PatternError", "compile_pattern"]

MAX_PATTERN_CHARS: Final = 2_000
MAX_MEMORY_BYTES: Final = 8 << 20
"""What one compiled pattern and its automata may take."""


class PatternError(ValueError):
    """A pattern that cannot be used; the text is for the model."""


def compile_pattern(pattern: str, *, literal: bool = False, ignore_case: bool = False) -> Any:
    """A pattern over bytes of UTF-8, whose ``search(data, position)`` stays within a line.

    ``^`` and ``$`` are the ends of lines. Raises PatternError, or MissingExtraError without RE2.
    """
    try:
        import re2
    except ImportError as error:
        raise MissingExtraError("google-re2", "agent") from error
    if len(pattern) > MAX_PATTERN_CHARS:
        raise PatternError(f"A pattern may have {MAX_PATTERN_CHARS:,} characters")
    options = re2.Options()
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False
    options.literal = literal
    options.never_nl = True
    options.case_sensitive = not ignore_case
    try:
        source = pattern if literal else f"(?m){pattern}"
        return re2.compile(source.encode(), options)
    except UnicodeEncodeError:
        raise PatternError("The pattern holds half a surrogate pair") from None
    except re2.error as error:
        said = error.args[0] if error.args else "not a regular expression"
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise PatternError(
            f"The pattern cannot be used: {text}. It is RE2's syntax: no look-around, no"
            " back-references"
        ) from error
