"""JSON Schema as GBNF: all that is valid is accepted, all else refused or named in a note."""

from __future__ import annotations

import json
from itertools import islice, permutations, product
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.codec.gbnf_recogniser import Gbnf

from antiphon.codec.grammar import JsonBody, Plan, gbnf, plan
from antiphon.codec.grammar.limits import MAX_REPETITION, MAX_SCHEMA_DEPTH
from antiphon.errors import SchemaError

HEADER: tuple[int | str, ...] = (200005, *"final ", 200003, *"json", 200008)


class Compiled:
    """One schema's grammar, asked about JSON texts."""

    def __init__(self, schema: dict[str, Any]) -> None:
        written = gbnf(plan(response=schema, analysis=False))
        self.notes = [f"{note.where}: {note.keyword}" for note in written.notes]
        self.grammar = Gbnf(written.text)

    def takes(self, text: str) -> bool:
        items = [*HEADER, *text]
        count, complete = self.grammar.accepted(items)
        return complete and count == len(items)

    def refused_at(self, text: str) -> int:
        """The index of the first character that does not fit."""
        return self.grammar.accepted([*HEADER, *text])[0] - len(HEADER)


OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "null"}},
    "required": ["b"],
}
CLOSED = {**OBJECT, "additionalProperties": False}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "v": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["v"],
            "additionalProperties": False,
        }
    },
}
NULLABLE_TREE = {
    "type": "object",
    "properties": {
        "v": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["v", "next"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            {"type": "object"},
            ["{}", '{"x": [1, null]}', '{ "a" : 1 }'],
            ["[]", "1", "{,}", '{"a"}'],
        ),
        (
            CLOSED,
            ['{"b":"x"}', '{"a": 1, "b": "x"}', '{"b":"","c":null}', '{\n  "b": "x"\n}'],
            ["{}", '{"a":1}', '{"b":1}', '{"b":"x","d":1}', '{"b":"x",}', '{"b":"x","b":"y"}'],
        ),
        (
            OBJECT,
            ['{"b":"x","d":1}', '{"b":"x","aa":{}}', '{"b":"x","":1}', '{"b":"x", "bb":1, "d":2}'],
            ['{"b":"x","a":"no"}', '{"d":1}', '{"b":"x","b":1}', '{"b":"x","c":1}'],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            ["{}", '{"x":1}', '{"x":1,"y":2}'],
            ['{"x":"1"}', '{"x":1,}'],
        ),
        (
            {"type": "object", "required": ["z"], "additionalProperties": {"type": "boolean"}},
            ['{"z":true}', '{"z":true,"y":false}'],
            ["{}", '{"y":true}', '{"z":1}'],
        ),
        (
            TREE,
            ['{"v":1}', '{"v":1,"children":[{"v":2,"children":[]}]}'],
            ['{"children":[]}', "[]"],
        ),
        (
            NULLABLE_TREE,
            ['{"v":1,"next":null}', '{"v":1,"next":{"v":2,"next":null}}'],
            ['{"v":1}', '{"v":1,"next":1}'],
        ),
        ({"type": "array"}, ["[]", "[1]", '[ 1 , "x" ]'], ["{}", "[,]", "[1,]"]),
        ({"type": "array", "items": {"type": "integer"}}, ["[]", "[1,2]"], ['["a"]', "[1.5]"]),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
            ["[1,2]", "[1,2,3]"],
            ["[]", "[1]", "[1,2,3,4]"],
        ),
        ({"type": "array", "maxItems": 0}, ["[]", "[ ]"], ["[1]"]),
        ({"type": "array", "maxItems": 1}, ["[]", "[1]"], ["[1,1]"]),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "string"}, {"type": "integer"}],
                "items": {"type": "null"},
            },
            ["[]", '["a"]', '["a",1]', '["a",1,null,null]'],
            ["[1]", '["a","b"]', '["a",1,2]'],
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False, "minItems": 1},
            ['["a"]'],
            ["[]", '["a",1]'],
        ),
        (
            {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            ["[]", '["a"]'],
            ['["a",1]'],
        ),
        ({"type": "string"}, ['""', '"x"', r'"\n\u00e9\\"', '"é 👋"'], ["x", '"', '"\n"', r'"\x"']),
        ({"type": "string", "maxLength": 3}, ['""', '"abc"', r'"\n\n\n"'], ['"abcd"']),
        ({"type": "string", "minLength": 2}, ['"ab"', '"abc"'], ['""', '"a"']),
        ({"type": "string", "minLength": 1}, ['"a"', '"<"', '"<|"'], ['""']),
        (
            {"type": "string", "minLength": 2, "maxLength": 2},
            ['"ab"', '"a<"', r'"<\n"'],
            ['"<"', '"a<|"'],
        ),
        ({"type": "string", "maxLength": 0}, ['""'], ['"a"']),
        (
            {"type": "string", "pattern": "^[a-z]{2}-[0-9]+$"},
            ['"ab-1"'],
            ['"a-1"', '"ab-"', '"AB-1"'],
        ),
        ({"type": "string", "pattern": "^((a{2}){2}|b)+$"}, ['"aaaab"'], ['"aa"', '""']),
        ({"type": "string", "pattern": "^(yes|no)$"}, ['"yes"', '"no"'], ['"maybe"', '""']),
        ({"type": "string", "pattern": r"^\w+@\w+\.com$"}, ['"a@b.com"'], ['"a@bxcom"']),
        ({"type": "string", "pattern": r"^[^\s]+$"}, ['"ab"', r'"\""'], ['"a b"', '""']),
        ({"type": "string", "pattern": "^<[a-z]+>$"}, ['"<b>"'], ['"b"']),
        ({"type": "string", "pattern": r"^a\"b\\$"}, [r'"a\"b\\"'], ['"ab"']),
        ({"type": "string", "format": "date"}, ['"2026-11-30"'], ['"2026-13-30"', '"x"']),
        (
            {"type": "string", "format": "date-time"},
            ['"2026-11-30T12:00:00Z"', '"2026-11-30t12:00:00.5+01:00"'],
            ['"2026-11-30"', '"2026-11-30T25:00:00Z"'],
        ),
        (
            {"type": "string", "format": "uuid"},
            ['"00000000-0000-0000-0000-00000000000f"'],
            ['"00000000000000000000000000000000"'],
        ),
        ({"type": "integer"}, ["0", "-7", "10"], ["01", "1.5", "-", '"1"', "1e3"]),
        ({"type": "number"}, ["0", "-7", "1.5", "1e3", "2.5E-7"], ["1.", ".5", "01", "+1"]),
        ({"type": "boolean"}, ["true", "false"], ["null", "True"]),
        ({"type": "null"}, ["null"], ["none", "0"]),
        ({"type": ["string", "null"]}, ['"x"', "null"], ["1"]),
        ({"type": "string", "nullable": True}, ['"x"', "null"], ["1"]),
        (
            {"enum": ["a", 1, None, {"k": [1]}]},
            ['"a"', "1", "null", '{"k": [1]}'],
            ['"b"', "2", "{}"],
        ),
        ({"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
        ({"const": "x"}, ['"x"'], ['"y"', "1"]),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, ["1", "true"], ['"x"', "null"]),
        (
            {
                "type": "object",
                "properties": {"k": {"type": "string"}, "n": {"type": "integer"}},
                "additionalProperties": False,
                "anyOf": [{"required": ["k"]}, {"required": ["n"]}],
            },
            ['{"k":"x"}', '{"n":1}', '{"k":"x","n":1}'],
            ["{}", '{"k":1}'],
        ),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
                    {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}},
                ]
            },
            ['{"a":1}', '{"a":1,"b":null}'],
            ["{}", '{"a":1.5}', '{"a":1,"b":1}', "1"],
        ),
        (
            {
                "$defs": {"base": {"type": "string"}},
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/base", "maxLength": 1}},
                "additionalProperties": False,
            },
            ["{}", '{"a":"x"}'],
            ['{"a":"xy"}', '{"a":1}'],
        ),
        ({"not": {}, "type": "integer"}, ["1"], ['"x"']),
        ({}, ["1", "{}", '"x"', "null", "[true]"], ["", "x"]),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_a_schema_takes_what_is_valid_and_refuses_the_rest(schema, good, bad) -> None:
    compiled = Compiled(schema)
    for text in good:
        assert compiled.takes(text), text
    for text in bad:
        assert not compiled.takes(text), text


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 9), (0, 10), (1, 100), (-5, 5), (17, 17), (None, 0), (0, None), (-3, None), (None, -12),
        (99, 1001), (123, 4567), (1900, 2100), (-120, -7), (None, 1234), (305, None), (10, 99),
    ],
)  # fmt: skip
def test_integer_bounds_are_exact(low: int | None, high: int | None) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    schema |= {} if low is None else {"minimum": low}
    schema |= {} if high is None else {"maximum": high}
    compiled = Compiled(schema)
    assert compiled.notes == []
    for value in [*range(-1300, 1300), *range(-5000, 5000, 97), 4567, 4568, 2100, 2101, 10**9]:
        inside = (low is None or value >= low) and (high is None or value <= high)
        assert compiled.takes(str(value)) is inside, value


def test_exclusive_and_fractional_bounds_of_integers() -> None:
    compiled = Compiled({"type": "integer", "exclusiveMinimum": 1, "maximum": 3.7})
    assert [n for n in range(10) if compiled.takes(str(n))] == [2, 3]
    draft_4 = Compiled({"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 3})
    assert [n for n in range(10) if draft_4.takes(str(n))] == [2, 3]


def test_an_error_is_found_at_the_first_character_that_cannot_be_right() -> None:
    compiled = Compiled(CLOSED)
    assert compiled.refused_at('{"b":1}') == 5
    assert compiled.refused_at('{"d":1}') == 2
    assert compiled.refused_at('{"b":"x","c":nil}') == 14


@pytest.mark.parametrize("control", ["<|end|>", "<|start|>", "<|call|>", "<|reserved_200013|>"])
def test_a_string_never_spells_a_control_token(control: str) -> None:
    compiled = Compiled({"type": "object", "properties": {"a": {"const": f"x{control}"}}})
    assert not compiled.takes(f'{{"z":"x{control}"}}')
    assert compiled.takes('{"z":"x\\u003c' + control[1:] + '"}')
    assert compiled.takes('{"a":"x\\u003c' + control[1:] + '"}')


@pytest.mark.parametrize(
    "text", ["a<", "<", "<<", "a < b", "<|", "f <| x", "<|<|", "<|>", "<||", "<p>"]
)
def test_a_lone_less_sign_or_bar_is_an_ordinary_character(text: str) -> None:
    for schema in ({"type": "string"}, {"type": "string", "minLength": 1, "maxLength": 20}):
        assert Compiled(schema).takes(json.dumps(text))


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        ({"type": "string", "pattern": "(?=x)y"}, "final: pattern"),
        ({"type": "string", "pattern": "unanchored"}, "final: pattern"),
        ({"type": "string", "pattern": "^a|b$"}, "final: pattern"),
        ({"type": "string", "format": "email"}, "final: format"),
        ({"type": "string", "maxLength": 100_000}, "final: maxLength"),
        ({"type": "string", "minLength": 100_000}, "final: minLength"),
        ({"type": "array", "maxItems": 100_000}, "final: maxItems"),
        ({"type": "array", "minItems": 100_000}, "final: minItems"),
        ({"type": "array", "uniqueItems": True}, "final: uniqueItems"),
        ({"type": "number", "minimum": 0}, "final: minimum"),
        ({"type": "integer", "multipleOf": 3}, "final: multipleOf"),
        ({"type": "integer", "minimum": 10**30}, "final: minimum"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "final: oneOf"),
        ({"type": "object", "patternProperties": {"^x": {}}}, "final: patternProperties"),
        ({"type": "object", "minProperties": 1}, "final: minProperties"),
        ({"not": {"type": "string"}}, "final: not"),
        ({"if": {}, "then": {}}, "final: if"),
        ({"properties": {"p": {"$ref": "https://example.com/x"}}}, "final/properties/p: $ref"),
        ({"enum": ["aa", "b"], "maxLength": 1}, "final: enum"),
        ({"allOf": [{"pattern": "^a$"}, {"pattern": "^b$"}]}, "final: pattern"),
    ],
)
def test_what_cannot_be_expressed_is_loosened_with_a_note(schema, note: str) -> None:
    assert note in Compiled(schema).notes


def test_a_clean_schema_has_no_notes() -> None:
    for schema in (OBJECT, CLOSED, TREE, NULLABLE_TREE):
        assert Compiled(schema).notes == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strnig"}, "not a JSON Schema type"),
        ({"type": "object", "properties": []}, "final/properties"),
        ({"type": "object", "properties": {"a": 1}}, "must be an object or a boolean"),
        ({"type": "object", "required": "a"}, "final/required"),
        ({"anyOf": []}, "final/anyOf"),
        ({"allOf": {}}, "final/allOf"),
        ({"enum": "x"}, "final/enum"),
        ({"$ref": 1}, "final/$ref"),
        ({"$ref": "#/$defs/none"}, "nothing is at #/$defs/none"),
        ({"type": "string", "maxLength": -1}, "final/maxLength"),
        ({"type": "integer", "minimum": "1"}, "final/minimum"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "no value satisfies"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "no value satisfies"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "no value satisfies"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no value satisfies"),
        ({"properties": {"a": False}, "required": ["a"], "type": "object"}, "no value satisfies"),
        ({"enum": []}, "no value satisfies"),
        ({"$ref": "#"}, "refers to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {
                    "a": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]},
                    "b": {"anyOf": [{"type": "object"}, {"$ref": "#/$defs/a"}]},
                },
            },
            "refers to itself",
        ),
        ({"allOf": [{"$ref": "#"}], "type": "object"}, "refers to itself"),
        pytest.param({"x": object()}, "not JSON", id="not JSON"),
    ],
    ids=str,
)
def test_a_schema_that_makes_no_sense_is_refused(schema, message: str) -> None:
    with pytest.raises(SchemaError, match=message.replace("$", r"\$")):
        Compiled(schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(levels: int) -> dict[str, Any]:
    """Each definition merges the one before it twice: written out, 2 to the number of levels."""
    definitions = {
        f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}, {"$ref": f"#/$defs/d{i - 1}"}]}
        for i in range(1, levels)
    }
    return {"$ref": f"#/$defs/d{levels - 1}", "$defs": {"d0": {"type": "object"}, **definitions}}


HOSTILE = {
    "deep": nested(MAX_SCHEMA_DEPTH + 1),
    "very deep": nested(50_000),
    "large": {"enum": ["x" * 100] * 20_000},
    "doubling": doubling(40),
    "long chain of merges": {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}", "minLength": 1} for i in range(5000)},
    },
    "product of unions": {
        "allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(8)]} for i in range(30)],
        "type": "object",
    },
    "one property in many merges": {
        "allOf": [{"properties": {"a": {"minLength": i}}} for i in range(5000)],
    },
    "many enums merged": {
        "allOf": [{"enum": [f"{i}" for i in range(3000)]} for _ in range(3)],
    },
    "many strings with bounds": {
        "type": "object",
        "properties": {f"p{i}": {"type": "string", "maxLength": 999} for i in range(500)},
    },
    "merges that lead back": {
        "type": "object",
        "properties": {"x": {"allOf": [{"$ref": "#"}], "nullable": True}},
    },
    "mutual merges": {
        "$ref": "#/$defs/a",
        "$defs": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b", "required": ["x"]}}},
            "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a", "required": ["y"]}}},
        },
    },
    "many properties": {
        "type": "object",
        "properties": {f"property_number_{i}": {"type": "integer"} for i in range(3000)},
    },
    "long keys": {"type": "object", "properties": {"k" * 5000: {}, "k" * 4999: {}}},
    "pattern": {"type": "string", "pattern": "^" + "(a|b" * 100 + ")" * 100 + "$"},
    "repeated pattern": {"type": "string", "pattern": "^((((a{999}){999}){999}){999})$"},
    "deep enum": {"enum": [json.loads("[" * 60 + "]" * 60)]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_written_or_refused_in_bounded_work(name: str) -> None:
    try:
        written = gbnf(plan(response=HOSTILE[name], analysis=False))
    except SchemaError:
        return
    assert len(written.text) < 5_000_000
    Gbnf(written.text)


@pytest.mark.parametrize("name", ["deep", "very deep", "large", "doubling", "long chain of merges"])
def test_beyond_a_limit_there_is_a_clear_error(name: str) -> None:
    with pytest.raises(SchemaError):
        gbnf(plan(response=HOSTILE[name], analysis=False))


def test_a_plan_made_by_hand_is_bounded_too() -> None:
    with pytest.raises(SchemaError):
        gbnf(Plan(final=JsonBody(doubling(40))))


def test_merges_that_lead_back_are_written_once() -> None:
    compiled = Compiled(HOSTILE["merges that lead back"])
    assert compiled.takes('{"x":{"x":{}}}')
    mutual = Compiled(HOSTILE["mutual merges"])
    assert mutual.takes('{"b":{"a":{"b":{"x":1},"y":1},"x":1}}')
    assert not mutual.takes('{"b":{"a":{"b":{},"y":1},"x":1}}')


def test_no_repetition_is_beyond_what_llama_cpp_takes() -> None:
    written = gbnf(plan(response=HOSTILE["many strings with bounds"], analysis=False))
    bounds = [
        int(n)
        for part in written.text.split("{")[1:]
        for n in part.split("}")[0].split(",")
        if n.isdigit()
    ]
    assert max(bounds) <= MAX_REPETITION


KEYS = st.sampled_from(["a", "b", "ab", "ba", "c"])
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -1, 7, 12, 1.5, "", "a", "ab", "abc", "<", "ba"]
)
INSTANCES = st.recursive(
    SCALARS,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(KEYS, of, max_size=3),
    max_leaves=6,
)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """One small schema with a handful of keywords, some of them at odds with its type."""
    small = st.integers(0, 3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean"])
            | st.just(["string", "null"]),
            "properties": st.dictionaries(KEYS, inner, max_size=3),
            "required": st.lists(KEYS, max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": small,
            "maxItems": small,
            "minLength": small,
            "maxLength": small,
            "minimum": st.integers(-9, 9),
            "maximum": st.integers(-9, 12),
            "pattern": st.sampled_from(["^a", "^[ab]{1,2}$", "^a.*$", "^(a|ab)$"]),
        },
    )


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=2)
    ref = st.sampled_from(["#/$defs/one", "#/$defs/two"])
    return st.one_of(
        keywords(inner),
        keywords(inner),
        st.builds(lambda parts, own: {**own, "anyOf": parts}, several, keywords(inner)),
        st.builds(lambda parts, own: {**own, "allOf": parts}, several, keywords(inner)),
        st.builds(lambda parts: {"oneOf": parts}, several),
        st.builds(lambda to: {"$ref": to}, ref),
        st.builds(lambda to, own: {**own, "$ref": to}, ref, keywords(inner)),
        st.builds(lambda values: {"enum": values}, st.lists(INSTANCES, min_size=1, max_size=3)),
    )


SCHEMAS = st.recursive(st.booleans() | keywords(st.just(True)), combined, max_leaves=5)
DOCUMENTS = st.builds(
    lambda root, one, two: {**root, "$defs": {"one": one, "two": two}},
    SCHEMAS.filter(lambda root: isinstance(root, dict)),
    SCHEMAS,
    SCHEMAS,
)


def orders(value: Any) -> list[Any]:
    """The same value with the keys of its objects in every order, as far as there are few."""
    if isinstance(value, list):
        return [list(items) for items in islice(product(*map(orders, value)), 30)]
    if isinstance(value, dict):
        return [
            dict(zip(keys, values, strict=True))
            for keys in permutations(value)
            for values in islice(product(*[orders(value[key]) for key in keys]), 30)
        ]
    return [value]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.lists(INSTANCES, min_size=1, max_size=6))
@example({"anyOf": [{"required": ["a"]}], "properties": {"a": True}}, [{"a": 1}])
def test_the_grammar_agrees_with_a_validator(schema: dict[str, Any], values: list[Any]) -> None:
    try:
        compiled = Compiled(schema)
    except SchemaError as error:
        assume("itself" not in str(error))
        compiled = None
    validator = jsonschema.Draft202012Validator(schema)
    for value in values:
        try:
            valid = validator.is_valid(value)
        except RecursionError:
            assume(False)
        if compiled is None:
            assert not valid
            continue
        accepted = [compiled.takes(json.dumps(one, ensure_ascii=False)) for one in orders(value)]
        if valid:
            assert any(accepted), (schema, value)
        elif not compiled.notes:
            assert not any(accepted), (schema, value)
