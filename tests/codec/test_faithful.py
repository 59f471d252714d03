"""JSON Schema → TypeScript that loses nothing, and the reference's bytes where nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.differential import generate

from antiphon.codec.faithful import (
    FAITHFUL,
    MAX_FAITHFUL_CHARS,
    comment_lines,
    faithful_typescript,
)
from antiphon.codec.prompt import tools_text
from antiphon.codec.typescript import reference_typescript
from antiphon.model.tools import Tool, functions

GOLDEN = Path(__file__).parents[1] / "golden" / "schema_ts.json"
CASES = json.loads(GOLDEN.read_text("utf-8"))
LOSSY = {
    "object desc multi-line",
    "null type",
    "string desc multi-line",
    "examples non-string",
    "examples mixed",
    "enum with quotes/backslash/newline",
    "enum ints (type integer)",
    "const",
    "const w type",
    "type list object+null with props",
    "type list array+null with items",
    "array prefixItems",
    "array items nullable",
    "array items oneOf",
    "array minItems etc",
    "object patternProperties",
    "object no type but properties",
    "nested: no type but properties",
    "oneOf property nullable",
    "oneOf with null variant",
    "anyOf property",
    "anyOf property desc default",
    "anyOf top-level",
    "allOf",
    "$ref",
    "$ref desc",
    "property names odd",
    "nullable object containing null somewhere",
}
"""The golden cases in which the reference loses something."""


def shown(schema: Any, **definitions: Any) -> str:
    """The type of one required property ``p``, without the object around it."""
    text = faithful_typescript(
        {"type": "object", "properties": {"p": schema}, "required": ["p"], "$defs": definitions}
    )
    assert text.startswith("{\n")
    assert text.endswith("\n}")
    return text[2:-2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_differs_from_the_reference_only_where_it_loses_something(case: dict[str, Any]) -> None:
    schema = case["parameters"] or {}
    same = faithful_typescript(schema) == reference_typescript(schema)
    assert same == (case["case"] not in LOSSY)


TEXT = st.text("ab c'é東<|>{}/*", min_size=1, max_size=8)
SIMPLE: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "number", "integer", "boolean", "array", "object"])},
        optional={"title": TEXT, "description": TEXT, "nullable": st.booleans()},
    )
    | st.builds(lambda e: {"type": "string", "enum": e}, st.lists(TEXT, min_size=1, max_size=3))
    | st.builds(lambda d: {"type": "number", "default": d}, st.integers() | st.floats(-9, 9)),
    lambda inner: (
        st.builds(
            lambda p, d: {"type": "object", "properties": p, "required": list(p)[:1], **d},
            st.dictionaries(st.sampled_from(["a", "b_1", "né", "$x"]), inner, max_size=4),
            st.fixed_dictionaries({}, optional={"description": TEXT}),
        )
        | st.builds(
            lambda i: {"type": "array", "items": i},
            inner.filter(lambda s: not {"nullable", "enum", "oneOf"} & s.keys()),
        )
        | st.builds(
            lambda v: {"oneOf": v},
            st.lists(inner.filter(lambda s: "nullable" not in s), min_size=1, max_size=3),
        )
    ),
    max_leaves=12,
)


def loses_null(schema: Any, *, in_property: bool = False) -> bool:
    """The reference sees ``nullable`` on properties only, unless "null" is in the type's text."""
    if schema.get("nullable") and (not in_property or "null" in reference_typescript(schema)):
        return True
    inner = [*schema.get("oneOf", ()), *([schema["items"]] if "items" in schema else ())]
    properties = schema.get("properties", {}).values()
    return any(loses_null(s) for s in inner) or any(
        loses_null(s, in_property=True) for s in properties
    )


@given(SIMPLE)
def test_simple_schemas_come_out_as_the_reference_writes_them(schema: dict[str, Any]) -> None:
    if not loses_null(schema):
        assert faithful_typescript(schema) == reference_typescript(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "p: number | null,"),
        (
            {"anyOf": [{"type": "null"}, {"type": "integer"}], "default": None},
            "p: number | null, // default: null",
        ),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "p: string | number,"),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}]}, "p: number,"),
        ({"anyOf": [{"type": "string"}]}, "p: string,"),
        ({"const": 3}, "p: 3,"),
        ({"const": None}, "p: null,"),
        ({"const": {"a": [1]}}, 'p: {"a":[1]},'),
        ({"enum": ["a", 1, None, True]}, 'p: "a" | 1 | null | true,'),
        ({"enum": ["a"], "nullable": True}, 'p: "a" | null,'),
        ({"type": "integer", "enum": [1, 2]}, "p: 1 | 2,"),
        ({"type": "integer", "enum": ["1", "2"]}, "p: number,"),
        ({"type": ["string", "null"], "enum": ["a", None]}, 'p: "a" | null,'),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, 'p: ("a" | "b")[],'),
        ({"type": "array", "items": {"enum": ["a"]}}, 'p: "a"[],'),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "p: (string | null)[],"),
        ({"type": "array", "items": {"type": "string"}, "enum": ["a"]}, "p: string[],"),
        ({"type": "array", "items": False}, "p: never[],"),
        (
            {"type": "array", "prefixItems": [{"type": "number"}] * 2, "maxItems": 2},
            "p: [number, number],",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string"}] * 2, "items": False},
            "p: [string, string],",
        ),
        (
            {"prefixItems": [{"type": "string"}] * 2, "items": {"enum": [1, 2]}, "minItems": 1},
            "p: [string, string?, ...(1 | 2)[]],",
        ),
        (
            {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            "p: [string],",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "p: {\n    [key: string]: number,\n    },",
        ),
        ({"type": "object", "additionalProperties": False}, "p: {\n    },"),
        ({"allOf": [{"type": "string"}, {"enum": ["a", "b"]}]}, 'p: string & ("a" | "b"),'),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"type": "object", "properties": {"b": {"type": "number"}}},
                ]
            },
            "p: {\n    a: string,\n    b?: number,\n    },",
        ),
        (
            {"type": "string", "format": "date", "minLength": 1},
            "// format: date, minLength: 1\np: string,",
        ),
        (
            {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
            "p: number,",
        ),
        (
            {"anyOf": [{"type": "string", "description": "one\ntwo"}, {"type": "number"}]},
            "p:\n | string // one two\n | number\n,",
        ),
        (
            {
                "oneOf": [{"type": "string", "description": "d"}, {"type": "number"}],
                "nullable": True,
            },
            "p:\n | string // d\n | number\n | null\n,",
        ),
        (
            {"type": "array", "items": {"oneOf": [{"type": "string", "description": "d"}]}},
            "p: (\n     | string // d\n)[],",
        ),
        (
            {"type": "string", "anyOf": [{"format": "date"}, {"format": "time"}]},
            "p: string,",
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_the_reference_loses_is_kept(schema: dict[str, Any], expected: str) -> None:
    assert shown(schema) == expected


def test_references_are_followed_and_both_descriptions_shown() -> None:
    unit = {"type": "string", "enum": ["C", "F"], "description": "A unit"}
    assert shown({"$ref": "#/$defs/Unit"}, Unit=unit) == '// A unit\np: "C" | "F",'
    both = {"$ref": "#/$defs/Unit", "description": "Which", "default": "C"}
    assert shown(both, Unit=unit) == '// Which\n// A unit\np: "C" | "F", // default: C'


def test_json_pointers_are_unescaped() -> None:
    odd = {"a/b~c d": {"type": "boolean"}}
    assert shown({"$ref": "#/$defs/a~1b~0c%20d"}, **odd) == "p: boolean,"


@pytest.mark.parametrize("ref", ["#/$defs/None", "https://example.org/x", "#anchor", "", "#/"])
def test_a_reference_to_nowhere_is_any(ref: str) -> None:
    assert shown({"$ref": ref}) == "p: any,"


def test_a_recursive_definition_is_referred_to_by_name() -> None:
    node = {
        "type": "object",
        "properties": {
            "value": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            "parent": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        },
    }
    assert shown({"$ref": "#/$defs/Node"}, Node=node) == (
        "p: /* Node */ {\n"
        "    value?: string,\n"
        "    children?: Node[],\n"
        "    parent?: Node | null,\n"
        "    },"
    )


def test_a_schema_that_refers_to_its_root_is_named_by_its_title() -> None:
    schema = {"title": "My Tree", "type": "object", "properties": {"left": {"$ref": "#"}}}
    assert faithful_typescript(schema) == "/* My_Tree */ {\nleft?: My_Tree,\n}"


def test_mutual_recursion_ends() -> None:
    text = shown(
        {"$ref": "#/$defs/A"},
        A={"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
        B={"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
    )
    assert text == "p: /* A */ {\n    b?: {\n        a?: A,\n        },\n    },"


def test_references_in_a_circle_are_any() -> None:
    circle = {"A": {"$ref": "#/$defs/B"}, "B": {"allOf": [{"$ref": "#/$defs/A"}]}}
    assert shown({"$ref": "#/$defs/A"}, **circle) == "p: any,"


def test_definitions_that_double_at_each_level_stay_within_the_size_limit() -> None:
    definitions = {
        f"T{i}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/T{i + 1}"} for side in ("a", "b")},
        }
        for i in range(40)
    }
    assert len(shown({"$ref": "#/$defs/T0"}, **definitions)) < 4 * MAX_FAITHFUL_CHARS


def test_the_tools_of_one_message_share_the_size_limit() -> None:
    anything = {"anyOf": [{"$ref": "#"}] * 2}
    doubling = {"type": "object", "additionalProperties": {"type": "array", "items": anything}}
    wide = {"type": "object", "properties": {f"p{i}": doubling for i in range(2_000)}}
    tools = functions(*[Tool(f"f{i}", "", wide) for i in range(50)])
    assert len(tools_text(tools, FAITHFUL)) < 4 * MAX_FAITHFUL_CHARS


def test_a_huge_description_beyond_the_size_limit_is_left_out() -> None:
    text = shown({"type": "string", "description": "x" * (MAX_FAITHFUL_CHARS + 1)})
    assert len(text) < 100


def test_deep_nesting_ends_in_any() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        schema = {"type": "array", "items": schema}
    assert faithful_typescript(schema).startswith("any[][]")


@pytest.mark.parametrize("keyword", ["properties", "allOf", "anyOf", "oneOf", "items", "$defs"])
def test_a_schema_that_holds_itself_ends(keyword: str) -> None:
    schema: dict[str, Any] = {}
    many = keyword in ("allOf", "anyOf", "oneOf")
    schema[keyword] = [schema, schema] if many else {"a": schema, "b": schema}
    assert len(faithful_typescript(schema)) < 8 * MAX_FAITHFUL_CHARS


BREAKS = ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\v", "\f"]


@pytest.mark.parametrize("line_break", BREAKS, ids=ascii)
def test_no_text_of_a_schema_can_leave_its_comment(line_break: str) -> None:
    evil = f"nice{line_break}}}) => any; type EVIL = () => any;"
    schema = {
        "type": "object",
        "description": evil,
        "properties": {
            "a": {"type": "string", "title": evil, "description": evil, "pattern": evil},
            "b": {
                "description": evil,
                "default": evil,
                "oneOf": [
                    {"type": "string", "description": "other" + evil, "default": evil},
                    {"type": "object", "description": evil},
                ],
            },
            "c": {"type": "string", "enum": ["x"], "default": evil, "examples": [evil]},
            "d": {"type": "object", "patternProperties": {evil: {"type": "string"}}},
        },
    }
    for line in comment_lines(faithful_typescript(schema)):
        if "EVIL" in line:
            before = line[: line.index("EVIL")]
            assert "//" in before


@pytest.mark.parametrize("line_break", BREAKS, ids=ascii)
def test_names_and_literals_stay_on_their_line(line_break: str) -> None:
    evil = f'a"{line_break}b'
    text = shown({"type": "object", "properties": {evil: {"enum": [evil], "const": evil}}})
    if line_break in ("\v", "\f", "\r\n", "\n", "\r", "\u2028", "\u2029", "\x85"):
        assert len(comment_lines(text)) == 3
    assert '\\"' in text


def test_generated_schemas_never_raise() -> None:
    for seed in range(1_500):
        rng = Random(seed)
        schema = generate.schema(rng, 4)
        text = faithful_typescript(decorated(rng, schema))
        assert isinstance(text, str)


def decorated(rng: Random, schema: Any) -> Any:
    """The schema with keywords the reference does not know, strewn in."""
    if not isinstance(schema, dict):
        return schema
    out = {
        key: {k: decorated(rng, v) for k, v in value.items()}
        if key == "properties" and isinstance(value, dict)
        else value
        for key, value in schema.items()
    }
    for keyword in ("anyOf", "allOf", "prefixItems"):
        if rng.random() < 0.15:
            out[keyword] = [generate.schema(rng, 1) for _ in range(rng.randrange(3))]
    if rng.random() < 0.15:
        out["$ref"] = rng.choice(["#", "#/properties/a", "#/anyOf/0", "#/nowhere", 3])
    if rng.random() < 0.1:
        out["const"] = generate.value(rng)
    if rng.random() < 0.1:
        out["additionalProperties"] = rng.choice([True, False, generate.schema(rng, 1), 3])
    if rng.random() < 0.1:
        out[rng.choice(["minimum", "format", "uniqueItems", "minItems"])] = generate.value(rng)
    return out


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "properties", "items", "$ref", "anyOf", "required"])
                | st.text(max_size=3),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_any_json_value_gives_a_type(value: Any) -> None:
    assert isinstance(faithful_typescript(value), str)
