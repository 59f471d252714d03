"""JSON text as the reference library prints it inside a schema comment.

The reference reads schemas with Rust's serde_json, so numbers come out the way Rust prints them:
``1.0``, ``1e16``, ``0.00001``; an integer beyond 64 bits turns into a float. Everything is compact,
keys keep their order and characters beyond ASCII are not escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Final

from antiphon.errors import SchemaError

__all__ = ["MAX_JSON_DEPTH", "compact_json", "json_string", "rust_float"]

MAX_JSON_DEPTH: Final = 128
"""Deepest nesting of a value, serde_json's own recursion limit."""

_I64_MIN: Final = -(2**63)
_U64_MAX: Final = 2**64 - 1

json_string: Callable[[str], str] = json.JSONEncoder(ensure_ascii=False).encode
"""A string as a JSON literal, with only what JSON demands escaped."""


def compact_json(value: object, depth: int = MAX_JSON_DEPTH) -> str:
    """``value`` as the reference prints it. Raises SchemaError if it is no JSON or too deep.

    NaN and the infinities, which JSON lacks, print as ``null``.
    """
    if isinstance(value, str):
        return json_string(str(value))
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _decimal(float(value))
    if depth <= 0:
        raise SchemaError(f"a value in a schema is nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, dict):
        fields = [f"{json_string(str(k))}:{compact_json(v, depth - 1)}" for k, v in value.items()]
        return "{" + ",".join(fields) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([compact_json(item, depth - 1) for item in value]) + "]"
    raise SchemaError(f"a schema holds a {type(value).__name__}, which is not a JSON value")


def _integer(value: int) -> str:
    if _I64_MIN <= value <= _U64_MAX:
        return str(value)
    # serde_json keeps as many leading digits as fit in 64 bits and counts the rest as an exponent.
    digits, exponent = abs(value), 0
    while digits > _U64_MAX:
        digits //= 10
        exponent += 1
    return rust_float(_from_parts(value < 0, digits, exponent))


def _decimal(value: float) -> str:
    if not isfinite(value):
        return "null"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    parsed = _from_parts(
        repr(value).startswith("-"), int(whole + fraction), int(exponent or 0) - len(fraction)
    )
    return rust_float(parsed)


def _from_parts(negative: bool, significand: int, exponent: int) -> float:
    """serde_json's quick float reading, which can be off by one in the last place."""
    value = float(significand)
    while exponent < -308 and value:
        value /= 1e308
        exponent += 308
    if exponent < 0:
        value /= float(f"1e{-exponent}") if exponent >= -308 else 1.0
    elif exponent <= 308:
        value *= float(f"1e{exponent}")
    else:
        value = float("inf")
    return -value if negative else value


def rust_float(value: float) -> str:
    """A float as Rust's serde_json prints it: shortest digits, ``1e16`` from 17 places on."""
    if not isfinite(value):
        return "null"
    sign = "-" if repr(value).startswith("-") else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    scale = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0")
    scale += len(digits) - len(stripped)
    if not stripped:
        return sign + "0.0"
    point = len(stripped) + scale
    if scale >= 0 and point <= 16:
        return f"{sign}{stripped}{'0' * scale}.0"
    if 0 < point <= 16:
        return f"{sign}{stripped[:point]}.{stripped[point:]}"
    if -5 < point <= 0:
        return f"{sign}0.{'0' * -point}{stripped}"
    tail = f".{stripped[1:]}" if len(stripped) > 1 else ""
    return f"{sign}{stripped[0]}{tail}e{point - 1}"
