"""Arithmetic: an expression is read as Python reads it, and only numbers come of it.

Nothing is evaluated by Python itself. The tree is walked, every kind of node that is not arithmetic
is refused, and sizes are bounded before a number is made: ``9**9**9`` is an error, not an hour.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, Final

from antiphon.tools.function import FunctionTool
from antiphon.tools.protocol import Need, ToolOutput
from antiphon.tools.text import one_line

__all__ = ["CalculationError", "calculate", "calculate_tool"]

MAX_CHARS: Final = 2_000
MAX_BITS: Final = 20_000
"""Size of the largest whole number, about 6,000 digits."""
MAX_FACTORIAL: Final = 2_000
MAX_ARGUMENTS: Final = 1_000

Number = int | float


class CalculationError(ValueError):
    """An expression that is not arithmetic, or whose result is too large or undefined."""


def calculate(expression: str) -> Number:
    """The value of an arithmetic expression. Raises CalculationError."""
    text = expression.strip().replace("^", "**").replace("×", "*").replace("÷", "/")
    text = text.replace("−", "-").replace("π", "pi")
    if len(text) > MAX_CHARS:
        raise CalculationError(f"An expression may have {MAX_CHARS:,} characters")
    try:
        tree = ast.parse(text, mode="eval")
        return _value(tree.body)
    except CalculationError:
        raise
    except SyntaxError as error:
        raise CalculationError(f"Not an expression: {error.msg}") from error
    except ZeroDivisionError as error:
        raise CalculationError("Division by zero") from error
    except (ValueError, ArithmeticError, TypeError) as error:
        raise CalculationError(f"No result: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise CalculationError("The expression is nested too deeply") from error


def calculate_tool() -> FunctionTool:
    """The tool."""

    def calculate_(expression: str) -> ToolOutput:
        """Calculate an arithmetic expression exactly, or as a float where it must be one.

        Args:
            expression: Such as (3 + 4) * 2 ** 10 / 7. Has + - * / // % ** and functions such as
                sqrt, sin, log, factorial, gcd, comb, round, min, max, sum; pi, e, tau.
        """
        try:
            value = calculate(expression)
            return ToolOutput(_shown(value))
        except CalculationError as error:
            return ToolOutput(str(error), failed=True)

    return FunctionTool(
        calculate_,
        name="calculate",
        need=lambda given: Need("always", one_line(f"calculate {given['expression']}")),
    )


def _shown(value: Number) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(_digits(value)) if isinstance(value, int) else repr(value)


def _digits(value: int) -> str:
    """All digits, also where Python's limit for conversions is lower than ours."""
    if value < 0:
        return f"-{_digits(-value)}"
    parts: list[str] = []
    base = 10**4000
    while value >= base:
        value, low = divmod(value, base)
        parts.append(f"{low:04000d}")
    return str(value) + "".join(reversed(parts))


def _bounded(value: Any) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CalculationError("The result is not a number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise CalculationError("The result is too large")
    if isinstance(value, float) and not math.isfinite(value):
        raise CalculationError("The result is too large or undefined")
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent < 0:
            return _bounded(float(base) ** exponent)
        if base.bit_length() * exponent > MAX_BITS and abs(base) > 1:
            raise CalculationError("The result is too large")
    return _bounded(base**exponent)


def _multiply(left: Number, right: Number) -> Number:
    # Both are bounded, so that the product is small enough to be made and looked at.
    return _bounded(left * right)


_OPERATORS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_SIGNS: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}


def _factorial(n: int) -> int:
    if n > MAX_FACTORIAL:
        raise CalculationError(f"factorial goes up to {MAX_FACTORIAL}")
    return math.factorial(n)


def _choose(function: Callable[[int, int], int]) -> Callable[..., int]:
    def bounded(n: int, k: int) -> int:
        # A number of ways out of n has at most n·log2(n) bits.
        if n > MAX_BITS or min(k, n) * n.bit_length() > MAX_BITS * 4:
            raise CalculationError("The result is too large")
        return function(n, k)

    return bounded


def _rounded(number: Number, digits: int = 0) -> Number:
    if abs(digits) > 400:
        raise CalculationError("round takes up to 400 digits")
    return round(number, digits) if digits else round(number)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    **{
        name: getattr(math, name)
        for name in (
            "acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh degrees exp floor gcd hypot"
            " isqrt lcm log log10 log2 radians sin sinh sqrt tan tanh trunc"
        ).split()
    },
    "abs": abs,
    "comb": _choose(math.comb),
    "factorial": _factorial,
    "max": max,
    "min": min,
    "perm": _choose(math.perm),
    "round": _rounded,
    "sum": lambda *numbers: sum(numbers),
}


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return _bounded(_SIGNS[type(op)](_value(operand)))
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Call(func=func, args=args, keywords=[]):
            name = _name(func)
            if name not in _FUNCTIONS:
                raise CalculationError(
                    f"There is no function {name}; there are {', '.join(sorted(_FUNCTIONS))}"
                )
            if len(args) == 1 and isinstance(args[0], (ast.List, ast.Tuple)):
                args = args[0].elts
            if len(args) > MAX_ARGUMENTS:
                raise CalculationError("Too many arguments")
            return _bounded(_FUNCTIONS[name](*map(_value, args)))
        case ast.Name(id=name):
            raise CalculationError(f"{name[:40]} has no value; there are pi, e and tau")
    raise CalculationError(f"Only arithmetic is calculated, not {type(node).__name__}")


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name[:40]
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name[:40]
    return "of that kind"
