"""JSON Schema → TypeScript as the reference writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codec.compact_json import MAX_JSON_DEPTH, compact_json, rust_float
from antiphon.codec.typescript import MAX_SCHEMA_DEPTH, reference_typescript
from antiphon.errors import SchemaError

CASES = json.loads((Path(__file__).parents[1] / "golden" / "schema_ts.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_schema_is_written_as_recorded(case: dict[str, Any]) -> None:
    schema = case["parameters"]
    shown = "" if schema is None else f"_: {reference_typescript(schema)}"
    assert f"type f = ({shown}) => any;" == case["rendered"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e16"),
        (1.5e300, "1.5e300"),
        (0.00001, "0.00001"),
        (1e-6, "1e-6"),
        (123456.789, "123456.789"),
        (5e-324, "5e-324"),
        (float("nan"), "null"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "1.8446744073709552e19"),
        (-(2**63), "-9223372036854775808"),
        (-(2**63) - 1, "-9.223372036854776e18"),
        (True, "true"),
        ({"é": [None, "\u2028\n\x01"]}, '{"é":[null,"\u2028\\n\\u0001"]}'),
        ((1, 2), "[1,2]"),
        (10**400, "null"),
    ],
)
def test_json_values_print_as_rust_prints_them(value: Any, shown: str) -> None:
    assert compact_json(value) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rust_floats_read_back_as_themselves(value: float) -> None:
    assert float(rust_float(value)) == value


def test_a_value_that_is_no_json_is_named() -> None:
    with pytest.raises(SchemaError, match="holds a bytes"):
        reference_typescript({"type": "object", "properties": {"a": {"default": b"x"}}})


def test_nesting_beyond_the_limit_is_an_error() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_SCHEMA_DEPTH - 1):
        schema = {"type": "array", "items": schema}
    assert reference_typescript(schema).startswith("string[][]")
    with pytest.raises(SchemaError, match="nested deeper"):
        reference_typescript({"type": "array", "items": schema})
    deep: Any = 1
    for _ in range(MAX_JSON_DEPTH + 1):
        deep = [deep]
    with pytest.raises(SchemaError, match="nested deeper"):
        compact_json(deep)


def test_a_schema_that_holds_itself_is_an_error() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"again": schema}
    with pytest.raises(SchemaError, match="nested deeper"):
        reference_typescript(schema)
