"""Which schemas nothing can satisfy, and numbers that end."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codec.gbnf_recogniser import Gbnf

from antiphon.codec.grammar import gbnf, plan
from antiphon.codec.grammar.limits import (
    MAX_EXPONENT_DIGITS,
    MAX_FRACTION_DIGITS,
    MAX_INTEGER_DIGITS,
)
from antiphon.codec.grammar.satisfiable import satisfiable


def obj(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required], **more}


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": []},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "array", "minItems": 2, "maxItems": 1},
        {"type": "array", "items": False, "minItems": 1},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "minimum": 1.2, "maximum": 1.8},
        {"type": "number", "minimum": 5, "maximum": 4.5},
        {"type": "number", "exclusiveMinimum": 1, "maximum": 1},
        {"type": "string", "enum": [1, 2]},
        {"const": 1, "enum": [2]},
        {"allOf": [{"type": "string"}, {"type": "number"}]},
        {"anyOf": [{"enum": []}, False]},
        obj({"a": False}, "a"),
        obj({}, "a", additionalProperties=False),
        obj({"a": {"enum": []}}, "a"),
        obj({"a": obj({"b": {"$ref": "#/$defs/no"}}, "b")}, "a", **{"$defs": {"no": False}}),
        obj({}, "a", "b", maxProperties=1),
        {"type": "object", "minProperties": 3, "maxProperties": 2},
    ],
)
def test_a_schema_that_nothing_satisfies_is_known(schema: dict[str, Any]) -> None:
    assert not satisfiable(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"minLength": 3, "maxLength": 2},
        {"type": ["string", "null"], "minLength": 3, "maxLength": 2},
        {"type": "array", "items": False},
        {"type": "integer", "minimum": 5, "maximum": 5},
        {"type": "number", "minimum": 1.2, "maximum": 1.8},
        obj({"a": False}),
        obj({"a": {"enum": []}, "b": {}}, "b"),
        {"anyOf": [{"enum": []}, {"type": "null"}]},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$ref": "#/definitions/s",
            "type": "number",
            "definitions": {"s": {"type": "string"}},
        },
        {"$ref": "https://elsewhere.example/schema"},
        {"not": {}},
    ],
)
def test_a_schema_is_let_through_unless_it_is_sure(schema: dict[str, Any]) -> None:
    assert satisfiable(schema)


def test_arguments_are_objects() -> None:
    assert satisfiable({"type": "string"})
    assert not satisfiable({"type": "string"}, object_only=True)
    assert satisfiable({"description": "anything"}, object_only=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
SMALL = st.integers(0, 3)
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number", "null"]),
            "enum": st.lists(VALUES, max_size=2),
            "minLength": SMALL,
            "maxLength": SMALL,
            "minItems": SMALL,
            "maxItems": SMALL,
            "minProperties": SMALL,
            "maxProperties": SMALL,
            "minimum": SMALL,
            "exclusiveMaximum": SMALL,
            "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
            "additionalProperties": st.booleans(),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
            "items": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(schema=SCHEMAS, value=VALUES)
def test_a_schema_with_a_valid_value_is_never_refused(schema: Any, value: Any) -> None:
    whole = schema if isinstance(schema, dict) else {"allOf": [schema]}
    if jsonschema.Draft202012Validator(whole).is_valid(value):
        assert satisfiable(whole)


# Numbers


def accepted(schema: dict[str, Any], text: str) -> bool:
    grammar = Gbnf(gbnf(plan(response=schema, analysis=False)).text)
    items = [200005, *"final", 200008, *text]
    count, complete = grammar.accepted(items)
    return complete and count == len(items)


def test_numbers_end() -> None:
    for sign in ("", "-"):
        whole = sign + "9" * MAX_INTEGER_DIGITS
        fraction = "." + "3" * MAX_FRACTION_DIGITS
        exponent = "e-" + "3" * MAX_EXPONENT_DIGITS
        assert accepted({"type": "integer"}, whole)
        assert not accepted({"type": "integer"}, whole + "9")
        assert accepted({"type": "number"}, whole + fraction + exponent)
        assert not accepted({"type": "number"}, whole + "9")
        assert not accepted({"type": "number"}, whole + fraction + "3")
        assert not accepted({"type": "number"}, whole + exponent + "3")
        assert not accepted({}, whole + "9")


def test_an_integer_with_one_bound_ends_too() -> None:
    assert accepted({"type": "integer", "minimum": 10}, "9" * MAX_INTEGER_DIGITS)
    assert not accepted({"type": "integer", "minimum": 10}, "9" * (MAX_INTEGER_DIGITS + 1))
    assert not accepted({"type": "integer", "maximum": 10}, "-" + "9" * (MAX_INTEGER_DIGITS + 1))


def test_a_schema_whose_bounds_say_more_has_its_digits() -> None:
    low = 10**MAX_INTEGER_DIGITS + 5
    assert accepted({"type": "integer", "minimum": low}, str(low + 1))
    assert not accepted({"type": "integer", "minimum": low}, str(low * 100))
    assert accepted({"type": "integer", "minimum": 0, "maximum": low}, str(low))
