"""Integers between two bounds, as GBNF alternatives over their digits."""

from __future__ import annotations

from math import ceil, floor, isfinite
from typing import Any, Final

from antiphon.codec.grammar.gbnf_text import choice
from antiphon.codec.grammar.limits import MAX_INTEGER_DIGITS

__all__ = ["MAX_DIGITS", "any_number", "integer_bounds", "integer_range"]

MAX_DIGITS: Final = 20
"""Longest bound written out digit by digit; 64-bit integers have at most 20."""


def integer_bounds(flat: dict[str, Any]) -> tuple[int | None, int | None]:
    """The least and the greatest integer that a schema's bounds allow."""
    low = high = None
    if (value := flat.get("minimum")) is not None and _finite(value):
        low = ceil(value)
    if (value := flat.get("exclusiveMinimum")) is not None and _finite(value):
        above = floor(value) + 1
        low = above if low is None else max(low, above)
    if (value := flat.get("maximum")) is not None and _finite(value):
        high = floor(value)
    if (value := flat.get("exclusiveMaximum")) is not None and _finite(value):
        below = ceil(value) - 1
        high = below if high is None else min(high, below)
    return low, high


def any_number(flat: dict[str, Any]) -> bool:
    """Whether there is any number between a schema's bounds, with a fraction or without."""
    low, high = flat.get("minimum"), flat.get("maximum")
    above, below = flat.get("exclusiveMinimum"), flat.get("exclusiveMaximum")
    return not (
        (low is not None and high is not None and low > high)
        or (low is not None and below is not None and low >= below)
        or (above is not None and high is not None and above >= high)
        or (above is not None and below is not None and above >= below)
    )


def integer_range(low: int | None, high: int | None) -> str | None:
    """A GBNF expression for the integers from ``low`` to ``high``; None for no bound.

    An empty string means that there is no such integer, None that a bound is too long to write out.
    """
    if any(bound is not None and abs(bound) >= 10**MAX_DIGITS for bound in (low, high)):
        return None
    if low is not None and high is not None and low > high:
        return ""
    options: list[str] = []
    if low is None or low < 0:
        nearest = 1 if high is None or high >= 0 else -high
        farthest = None if low is None else -low
        options += [f'"-" {option}' for option in _natural(nearest, farthest)]
    if high is None or high >= 0:
        options += _natural(max(low or 0, 0), high)
    return choice(options)


def _finite(value: float) -> bool:
    return isinstance(value, int) or isfinite(value)


def _natural(low: int, high: int | None) -> list[str]:
    """Numbers from ``low`` to ``high`` without sign or leading zeros."""
    options: list[str] = []
    length = len(str(low))
    while high is None or length <= len(str(high)):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = 10**length - 1 if high is None else min(high, 10**length - 1)
        options.append(_same_length(str(first), str(last)))
        length += 1
        if high is None:
            options.append(f"[1-9] {_digits(length - 1, max(length - 1, MAX_INTEGER_DIGITS - 1))}")
            break
    return options


def _same_length(low: str, high: str) -> str:
    """Digit strings from ``low`` to ``high``, both of one length."""
    if low == high:
        return f'"{low}"'
    if len(low) == 1:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" {_same_length(low[1:], high[1:])}'
    options = []
    first, last = int(low[0]), int(high[0])
    if low[1:].strip("0"):
        options.append(f'"{low[0]}" {_same_length(low[1:], "9" * (len(low) - 1))}')
        first += 1
    partial = bool(high[1:].strip("9"))
    if first <= last - partial:
        head = f"[{first}-{last - partial}]" if first < last - partial else f'"{first}"'
        options.append(f"{head} {_digits(len(low) - 1)}")
    if partial:
        options.append(f'"{high[0]}" {_same_length("0" * (len(high) - 1), high[1:])}')
    return choice(options)


def _digits(count: int, most: int | None = None) -> str:
    if most is not None and most > count:
        return f"[0-9]{{{count},{most}}}"
    return "[0-9]" if count == 1 else f"[0-9]{{{count}}}"
