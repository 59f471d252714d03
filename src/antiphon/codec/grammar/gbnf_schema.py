"""JSON Schema → GBNF rules for the JSON text of every valid value.

Properties come in the schema's order, the others after them; white space is one space or one line
break with indentation; integers have no fraction or exponent. Everything else that a schema allows
is accepted, and what cannot be expressed is accepted too, with a note.
"""

from __future__ import annotations

import json
from typing import Any, Final

from antiphon.codec.grammar.flatten import TYPES, Flat, Flattener, Merged, combiners
from antiphon.codec.grammar.gbnf_members import Field, array_rule, extra_key, object_rule
from antiphon.codec.grammar.gbnf_number import any_number, integer_bounds, integer_range
from antiphon.codec.grammar.gbnf_pattern import FORMATS, pattern_body
from antiphon.codec.grammar.gbnf_text import Rules, choice, json_literal, sized_chars
from antiphon.codec.grammar.limits import Budget
from antiphon.codec.grammar.notes import Notes
from antiphon.errors import SchemaError

__all__ = ["NoValueError", "schema_rule"]

_OF_OBJECT: Final = ("properties", "required", "additionalProperties")
_OF_ARRAY: Final = ("items", "prefixItems", "minItems", "maxItems")
_OF_STRING: Final = ("minLength", "maxLength", "pattern", "format")
_OF_NUMBER: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_DEMANDS: Final = frozenset((*_OF_OBJECT, *_OF_ARRAY, *_OF_STRING, *_OF_NUMBER))
_EAGER_DEPTH: Final = 40
"""Merged places nested deeper than this are written later, from a queue."""


def schema_rule(
    schema: dict[str, Any],
    where: str,
    rules: Rules,
    budget: Budget,
    notes: Notes,
    *,
    object_only: bool = False,
) -> str:
    """An expression for the JSON text of the schema's values, or of its objects only.

    Raises SchemaError if there is no such value, or for a schema that is malformed or too large.
    """
    impossible: set[object] = set()
    while True:
        writer = _Writer(schema, rules, budget, notes, impossible)
        try:
            written = writer.whole(where, object_only=object_only)
        except _ImpossibleError as found:
            impossible.add(found.key)
            continue
        if written is None:
            raise NoValueError(f"{where}: no value satisfies the schema")
        return written


class NoValueError(SchemaError):
    """No value satisfies the schema."""


class _ImpossibleError(Exception):
    """A definition that was referred to already has no valid value: begin again, knowing it."""

    def __init__(self, key: object) -> None:
        self.key = key


class _Writer:
    """Writes the rules of one schema document."""

    def __init__(
        self,
        root: dict[str, Any],
        rules: Rules,
        budget: Budget,
        notes: Notes,
        impossible: set[object],
    ) -> None:
        self.root = root
        self.rules = rules
        self.budget = budget
        self.notes = notes
        self.flattener = Flattener(root, budget, notes)
        self._depth = 0
        self._names: dict[object, str | None] = dict.fromkeys(impossible)
        self._mentioned: set[str] = set()
        self._waiting: list[tuple[object, object, str]] = []
        self._begins_with: dict[str, set[str]] = {}
        self._kept: list[object] = []
        self._sized: dict[tuple[int, int | None], str] = {}

    def whole(self, where: str, *, object_only: bool) -> str | None:
        """The expression of the whole document; the rules it refers to are added."""
        if object_only:
            merged = {"allOf": [self.root, {"type": "object"}]}
            rule = self._any_of(self.flattener.flatten(merged, where), where)
        else:
            rule = self._value(self.root, where)
        while self._waiting:
            key, schema, at = self._waiting.pop()
            body = (
                self._value(schema, at, key)
                if isinstance(key, str)
                else self._combined_body(schema, at)
            )
            if body is None:
                raise _ImpossibleError(key)
            self.rules.define(self._names[key] or "", body)
        self._check_left_recursion(where)
        return rule

    def _value(self, schema: object, where: str, within: str | None = None) -> str | None:
        """An expression for the schema's values, None if there are none.

        ``within`` is the definition whose rule begins at this very place, if one does.
        """
        self.budget.spend()
        if isinstance(schema, dict):
            found, alone = combiners(schema)
            if alone and found == {"$ref"}:
                return self._reference(schema["$ref"], where, within)
            if alone and len(found) == 1 and found <= {"anyOf", "oneOf"}:
                return self._union(schema, "anyOf" if "anyOf" in found else "oneOf", where, within)
            if found:
                return self._combined(schema, where)
        return self._any_of(self.flattener.flatten(schema, where), where)

    def _union(
        self, schema: dict[str, Any], keyword: str, where: str, within: str | None
    ) -> str | None:
        branches = schema[keyword]
        if not isinstance(branches, list) or not branches:
            raise SchemaError(f"{where}/{keyword}: must be a list of schemas")
        if keyword == "oneOf" and len(branches) > 1:
            self.flattener.note_one_of(where)
        return _options([self._value(branch, where, within) for branch in branches])

    def _reference(self, ref: object, where: str, within: str | None) -> str | None:
        target = self.flattener.resolve(ref, where)
        if not isinstance(target, dict):
            return self._value(target, where)
        name = str(ref)
        if within is not None:
            self._begins_with.setdefault(within, set()).add(name)
        if name not in self._names:
            rule = self.rules.reserve()
            self._names[name] = rule
            self._waiting.append((name, target, where))
        return self._names[name]

    def _combined(self, schema: dict[str, Any], where: str) -> str | None:
        """A place that is merged with what it refers to: one rule, which may occur in itself."""
        key = tuple(map(id, schema["allOf"])) if isinstance(schema, Merged) else id(schema)
        if key in self._names:
            name = self._names[key]
            self._mentioned.add(name or "")
            return name
        self._kept.append(schema)
        rule = self.rules.reserve()
        self._names[key] = rule
        if self._depth >= _EAGER_DEPTH:
            self._waiting.append((key, schema, where))
            return rule
        body = self._combined_body(schema, where)
        if body is None:
            if rule in self._mentioned:
                raise _ImpossibleError(key)
            self._names[key] = None
            return None
        self.rules.define(rule, body)
        return rule

    def _combined_body(self, schema: object, where: str) -> str | None:
        self._depth += 1
        try:
            return self._any_of(self.flattener.flatten(schema, where), where)
        finally:
            self._depth -= 1

    def _check_left_recursion(self, where: str) -> None:
        """A definition that may begin with itself describes nothing."""
        done: set[str] = set()
        for first in self._begins_with:
            path = [(first, sorted(self._begins_with[first]))]
            on_path = {first}
            while path:
                name, left = path[-1]
                if not left:
                    path.pop()
                    on_path.discard(name)
                    done.add(name)
                    continue
                following = left.pop()
                if following in on_path:
                    raise SchemaError(f"{where}: {following[:100]} refers to itself without end")
                if following not in done:
                    on_path.add(following)
                    path.append((following, sorted(self._begins_with.get(following, ()))))

    def _any_of(self, alternatives: list[Flat], where: str) -> str | None:
        return _options([self._flat(flat, where) for flat in alternatives])

    def _flat(self, flat: Flat, where: str) -> str | None:
        for keyword in flat:
            if keyword not in _DEMANDS and keyword not in ("type", "enum"):
                self.notes.add(where, keyword, "is not enforced")
        if "enum" in flat:
            return self._enum(flat, where)
        types = flat.get("type") or [*TYPES]
        if "number" in types:
            types = [kind for kind in types if kind != "integer"]
        if len(types) == len(TYPES) - 1 and not _DEMANDS.intersection(flat):
            return "value"
        return _options([self._typed(kind, flat, where) for kind in types])

    def _typed(self, kind: str, flat: Flat, where: str) -> str | None:
        match kind:
            case "object":
                return self._object(flat, where)
            case "array":
                return self._array(flat, where)
            case "string":
                return self._string(flat, where)
            case "integer":
                return self._integer(flat, where)
            case "number":
                return self._number(flat, where)
            case "boolean":
                return '( "true" | "false" )'
            case _:
                return '"null"'

    def _enum(self, flat: Flat, where: str) -> str | None:
        types = flat.get("type")
        values = [v for v in flat["enum"] if types is None or any(_is(v, t) for t in types)]
        self.budget.spend(len(values))
        if _DEMANDS.intersection(flat):
            self.notes.add(where, "enum", "its values are not checked against the other keywords")
        return self.rules.add(choice([_constant(v) for v in values])) if values else None

    def _object(self, flat: Flat, where: str) -> str | None:
        most = flat.get("maxProperties")
        fewest = max(flat.get("minProperties", 0), len(set(flat.get("required", ()))))
        if most is not None and most < fewest:
            return None
        if not any(key in flat for key in (*_OF_OBJECT, "patternProperties")):
            return "object"
        properties: dict[str, Any] = flat.get("properties", {})
        required = set(flat.get("required", ()))
        further = True if "patternProperties" in flat else flat.get("additionalProperties", True)
        self.budget.spend(len(properties) + len(required))
        fields: list[Field] = []
        for name in [*properties, *[n for n in flat.get("required", ()) if n not in properties]]:
            value = self._value(properties.get(name, further), f"{where}/properties/{_part(name)}")
            if value is not None:
                fields.append(Field(name, value, name in required))
            elif name in required:
                return None
        value = self._value(further, f"{where}/additionalProperties")
        extra = None
        if value is not None:
            names = [*properties, *required]
            extra = self.rules.add(f'{extra_key(names, self.rules)} ws ":" ws {value}')
        return object_rule(fields, extra, self.rules)

    def _array(self, flat: Flat, where: str) -> str | None:
        if not any(key in flat for key in _OF_ARRAY):
            return "array"
        prefix: list[str] = []
        for i, schema in enumerate(flat.get("prefixItems", ())):
            value = self._value(schema, f"{where}/prefixItems/{i}")
            if value is None:
                break
            prefix.append(value)
        whole = len(prefix) == len(flat.get("prefixItems", ()))
        item = self._value(flat.get("items", True), f"{where}/items") if whole else None
        low, high = flat.get("minItems", 0), flat.get("maxItems")
        if item is not None and high is not None and not self.budget.repeat(high):
            self.notes.add(where, "maxItems", "is too large to enforce")
            high = None
        if item is not None and not self.budget.repeat(low):
            self.notes.add(where, "minItems", "is too large to enforce")
            low = min(low, 1)
        return array_rule(prefix, item, low, high, self.rules)

    def _string(self, flat: Flat, where: str) -> str | None:
        sized = flat.get("minLength", 0) > 0 or "maxLength" in flat
        for keyword in ("pattern", "format"):
            if keyword not in flat:
                continue
            text = flat[keyword]
            pattern = FORMATS.get(str(text)) if keyword == "format" else text
            body = (
                pattern_body(pattern, self.rules, self.budget) if isinstance(pattern, str) else None
            )
            if body is None:
                self.notes.add(where, keyword, f"{str(text)[:100]!r} is not enforced")
                continue
            if sized or (keyword == "pattern" and "format" in flat):
                self.notes.add(where, keyword, "no other keyword of the string is enforced")
            return self.rules.add(f'"\\"" {body} "\\""')
        return self._sized_string(flat, where) if sized else "string"

    def _sized_string(self, flat: Flat, where: str) -> str | None:
        low, high = flat.get("minLength", 0), flat.get("maxLength")
        if high is not None and high < low:
            return None
        bounds = (low, high)
        if bounds not in self._sized:
            if high is not None and not self.budget.repeat(high):
                self.notes.add(where, "maxLength", "is too large to enforce")
                high = None
            if high is None and not self.budget.repeat(low):
                self.notes.add(where, "minLength", "is too large to enforce")
                low = 1
            chars = sized_chars(low, high, self.rules)
            self._sized[bounds] = self.rules.add(f'"\\"" {chars} "\\""')
        return self._sized[bounds]

    def _integer(self, flat: Flat, where: str) -> str | None:
        low, high = integer_bounds(flat)
        if low is None and high is None:
            return "integer"
        written = integer_range(low, high)
        if written is None:
            self.notes.add(where, "minimum", "a bound is too large to enforce")
            return "integer"
        return self.rules.add(written) if written else None

    def _number(self, flat: Flat, where: str) -> str | None:
        for keyword in _OF_NUMBER:
            if keyword in flat:
                self.notes.add(where, keyword, "is not enforced for numbers with a fraction")
        return "number" if any_number(flat) else None


def _options(options: list[str | None]) -> str | None:
    possible = [option for option in options if option is not None]
    return choice(possible) if possible else None


def _constant(value: object) -> str:
    """One value, with white space where JSON allows it."""
    if isinstance(value, dict) and value:
        fields = [f'{json_literal(_dumps(k))} ws ":" ws {_constant(v)}' for k, v in value.items()]
        return f'"{{" ws {_commas(fields)} ws "}}"'
    if isinstance(value, list) and value:
        return f'"[" ws {_commas([_constant(item) for item in value])} ws "]"'
    return json_literal(_dumps(value))


def _commas(items: list[str]) -> str:
    return ' ws "," ws '.join(items)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _part(name: str) -> str:
    """One step of a JSON pointer, cut to a readable length."""
    return name[:60].replace("~", "~0").replace("/", "~1")


def _is(value: object, kind: str) -> bool:
    """Whether a JSON value is of a JSON Schema type."""
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case "number":
            return not isinstance(value, bool) and isinstance(value, int | float)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)
