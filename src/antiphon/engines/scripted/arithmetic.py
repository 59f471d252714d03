"""Small sums, as people write them: ``17 * 3``, ``2 plus 2``, ``(4 + 6) / 5``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

__all__ = ["calculate", "find_expression", "shown"]

_WORDS: Final = (
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b|[×·]|(?<=\d)\s*x\s*(?=\d)"), "*"),
    (re.compile(r"\bdivided by\b|÷"), "/"),
    (re.compile(r"\b(?:to the power of)\b|\*\*"), "^"),
)
_EXPRESSION: Final = re.compile(
    r"[(\s-]{0,20}\d+(?:\.\d+)?[)\s]{0,20}(?:[-+*/^%][(\s-]{0,20}\d+(?:\.\d+)?[)\s]{0,20})+"
)
_TOKEN: Final = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([-+*/^%()]))")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d|\d+\.\d+\.\d+|\d{1,2}/\d{1,2}/\d{2,4}")
_MAX_CHARS: Final = 200
_MAX_POWER: Final = 64


def find_expression(text: str) -> str | None:
    """The first sum in a text, words turned into signs."""
    text = _DATE.sub(" ", text)
    for words, sign in _WORDS:
        text = words.sub(f" {sign} ", text)
    found = _EXPRESSION.search(text)
    return None if found is None else " ".join(found.group().split())


def calculate(expression: str) -> Fraction | None:
    """Its value; None if it has none, or is too large to care."""
    if len(expression) > _MAX_CHARS:
        return None
    try:
        reader = _Reader(expression)
        value = reader.sum(0)
    except (_NoSumError, ZeroDivisionError):
        return None
    return value if reader.done else None


def shown(value: Fraction) -> str:
    """As a number in a sentence: exact if it is whole, else with at most four decimals."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


class _NoSumError(Exception):
    """Not a sum after all."""


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = [number or sign for number, sign in _TOKEN.findall(text)]
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _peek(self) -> str:
        return "" if self.done else self._tokens[self._at]

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self._peek() in ("+", "-"):
            value = (
                value + self._product(depth)
                if self._next() == "+"
                else value - self._product(depth)
            )
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._power(depth)
        while self._peek() in ("*", "/", "%"):
            sign = self._next()
            other = self._power(depth)
            value = (
                value * other if sign == "*" else value / other if sign == "/" else value % other
            )
        return value

    def _power(self, depth: int) -> Fraction:
        base = self._atom(depth)
        if self._peek() != "^":
            return base
        self._next()
        power = self._power(depth + 1)
        if depth > 20 or power.denominator != 1 or abs(power) > _MAX_POWER:
            raise _NoSumError
        return base**power.numerator

    def _atom(self, depth: int) -> Fraction:
        word = self._next()
        if depth > 20:
            raise _NoSumError
        if word == "-":
            return -self._atom(depth + 1)
        if word == "(":
            value = self.sum(depth + 1)
            if self._next() != ")":
                raise _NoSumError
            return value
        if not word or not word[0].isdigit():
            raise _NoSumError
        return Fraction(word)
