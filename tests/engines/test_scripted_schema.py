"""The scripted engine's JSON: instances of schemas, and schemas read back from the prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.engines.scripted_prompts import final, reply

from antiphon.codec.faithful import faithful_typescript
from antiphon.codec.grammar.plan import AUTO
from antiphon.codec.prompt import tools_text
from antiphon.engines.scripted.instance import instance
from antiphon.engines.scripted.typescript_reader import read_tools, read_type
from antiphon.model.tools import BROWSER, PYTHON, Tool, ToolNamespace

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "schema_ts.json").read_text("utf-8"))
MARKERS = (
    "<think>kept</think> <|channel|>final <|message|> to=self<|call|> <tool_call>x</tool_call>"
)

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"enum": [MARKERS]},
    {"const": {"a": [1, None, True]}},
    {"type": "string", "minLength": 40},
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
    {"type": "string", "pattern": "^(red|green)(ish)?$"},
    {"type": "string", "pattern": r"^\+?\d{7,15}$"},
    {"type": "string", "pattern": "[^a-z]+", "minLength": 5},
    *[
        {"type": "string", "format": f}
        for f in ("date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname")
    ],
    {"type": "integer", "minimum": 10, "maximum": 12},
    {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": 11, "multipleOf": 5},
    {"type": "integer", "maximum": -3},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": "number", "minimum": 0.5, "multipleOf": 0.25},
    {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 4},
    {"type": "array", "items": {"enum": ["x", "y", "z"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
    {"type": "array", "maxItems": 0, "items": {"type": "string"}},
    {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    {"type": "array", "contains": {"const": 7}, "minItems": 2},
    {"anyOf": [{"type": "null"}, {"type": "integer"}]},
    {"oneOf": [{"type": "object", "properties": {"k": {"const": 1}}, "required": ["k"]}]},
    {"type": ["string", "null"]},
    {"type": ["integer", "null"], "minimum": 3},
    {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
    {"type": "object", "patternProperties": {"^x-": {"type": "string"}}, "minProperties": 1},
    {"type": "object", "required": ["unlisted"]},
    {"type": "object", "properties": {"a": True, "b": True}, "dependentRequired": {"a": ["b"]}},
    {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": {"type": "boolean"}}, "required": ["b"]},
        ]
    },
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next", "children"],
            }
        },
        "$ref": "#/$defs/node",
    },
    {"type": "boolean"},
    {"type": "null"},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
@pytest.mark.parametrize("generous", [False, True])
def test_an_instance_fits_its_schema(schema: dict[str, Any], generous: bool) -> None:
    value = instance(schema, generous=generous)
    Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/missing"},
        {"$ref": "#"},
        {"$ref": "https://example.com/schema"},
        {"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]},
        {"type": "string", "pattern": "(?=x)y(["},
        {"type": "string", "pattern": "(a*)*b" * 50},
        {"type": "string", "minLength": 10**12},
        {"type": "array", "minItems": 10**12, "items": {}},
        {"type": "object", "minProperties": 10**12},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"enum": []},
        {"type": 7, "properties": [], "required": "x", "allOf": {}, "anyOf": [1, 2]},
        {"properties": {"a": 1, "b": None, "c": "x"}, "required": ["a", 3]},
    ],
    ids=lambda s: json.dumps(s)[:60],
)
def test_a_schema_that_cannot_be_satisfied_still_gives_some_value(schema: dict[str, Any]) -> None:
    json.dumps(instance(schema, generous=True))


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: json.dumps(s)[:60])
def test_structured_answers_fit_the_schema_that_the_plan_holds(schema: dict[str, Any]) -> None:
    told = final(reply("Return the JSON.", response=schema))
    Draft202012Validator(schema).validate(json.loads(told))


def test_structured_answers_fit_the_schema_in_the_prompt() -> None:
    schema = {"type": "object", "properties": {"note": {"enum": [MARKERS]}}, "required": ["note"]}
    told = final(reply("Return the JSON.", schema=schema, choice=None))
    assert json.loads(told) == {"note": MARKERS}


def test_json_without_a_schema_has_the_keys_that_are_asked_for() -> None:
    asked = 'Return a JSON object with keys "name" (a string) and "age" (a number).'
    told = json.loads(final(reply(asked, response={"type": "object"}, choice=AUTO)))
    assert told.keys() == {"name", "age"}
    assert isinstance(told["name"], str)
    assert isinstance(told["age"], int)


# The TypeScript of the prompt

READ_BACK = [
    schema
    for schema in SCHEMAS
    # What TypeScript does not show: bounds inside allOf, keys by pattern, what must be contained.
    if not schema.keys()
    & {"allOf", "contains", "dependentRequired", "minProperties", "patternProperties"}
    and schema.get("required") != ["unlisted"]
]


@pytest.mark.parametrize("schema", READ_BACK, ids=lambda s: json.dumps(s)[:60])
def test_an_instance_of_the_type_in_the_prompt_fits_the_schema(schema: dict[str, Any]) -> None:
    outer = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    if "$defs" in schema:
        inner = {k: v for k, v in schema.items() if k != "$defs"}
        outer["properties"] = {"value": inner}
        outer["$defs"] = schema["$defs"]
    read = read_type(faithful_typescript(outer))
    Draft202012Validator(outer).validate(instance(read))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["case"])
def test_every_type_the_reference_writes_can_be_read(case: dict[str, Any]) -> None:
    body = f"namespace functions {{\n\n{case['rendered']}\n\n}} // namespace functions"
    tools = read_tools(f"## functions\n\n{body}")
    assert len(tools) == 1
    json.dumps(instance(tools[0].schema or {}, generous=True))


def test_a_tool_table_is_read_back_with_names_and_descriptions() -> None:
    tools = {
        "browser": BROWSER,
        "functions": ToolNamespace(
            "functions",
            None,
            (
                Tool("now", "The time.\nIn UTC."),
                Tool("find", "", {"type": "object", "properties": {"q": {"type": "string"}}}),
            ),
        ),
        "python": PYTHON,
    }
    read = read_tools(tools_text(tools).removeprefix("# Tools\n\n"))
    assert [tool.recipient for tool in read] == [
        *("browser.search", "browser.open", "browser.find"),
        *("functions.now", "functions.find", "python"),
    ]
    assert read[3].description == "The time.\nIn UTC."
    assert read[4].schema is not None
    assert read[4].schema["properties"] == {"q": {"type": "string"}}
    assert read[5].schema is None


@pytest.mark.parametrize("text", ["", "{", "{a: ", "(" * 10_000, "string | ", "[...", "@", '"\\q"'])
def test_text_that_is_no_type_is_read_as_anything(text: str) -> None:
    assert isinstance(read_type(text), dict)
