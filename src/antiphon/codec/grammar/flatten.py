"""What a JSON Schema demands at one place: references followed, ``allOf`` merged, unions spread.

The result is a list of alternatives without ``$ref``, ``allOf``, ``anyOf`` and ``oneOf`` at their
own level; what lies below properties and items stays as it was. Only references into the same
document are followed; nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from antiphon.codec.grammar.limits import MAX_ALTERNATIVES, MAX_SCHEMA_DEPTH, Budget
from antiphon.codec.grammar.notes import Notes
from antiphon.errors import SchemaError

__all__ = ["TYPES", "Flat", "Flattener", "Merged", "combiners", "same_json"]

Flat = dict[str, Any]
"""Keywords of one alternative. ``type`` is a list or absent, ``const`` has become an ``enum``."""

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

_UNIONS: Final = ("anyOf", "oneOf")
_COMBINERS: Final = frozenset(("$ref", "$dynamicRef", "allOf", *_UNIONS))
_ANNOTATIONS: Final = frozenset(
    (
        "$schema",
        "$id",
        "$defs",
        "$comment",
        "$anchor",
        "definitions",
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "discriminator",
        "externalDocs",
        "contentEncoding",
        "contentMediaType",
        "x-guidance",
    )
)
_SMALLER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LARGER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_ESCAPE: Final = re.compile(r"~[01]")


def combiners(schema: dict[str, Any]) -> tuple[frozenset[str], bool]:
    """The combining keywords of a schema, and whether they are all it says."""
    keys = {key for key in schema if key not in _ANNOTATIONS}
    found = frozenset(keys & _COMBINERS)
    return found, keys == found


def same_json(a: object, b: object) -> bool:
    """Equality of JSON values: 1 is 1.0, and neither is true."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return a == b


class Flattener:
    """Flattens places of one document."""

    def __init__(self, root: dict[str, Any], budget: Budget, notes: Notes) -> None:
        self._root = root
        self._budget = budget
        self._notes = notes

    def resolve(self, ref: object, where: str) -> object:
        """What a reference points to; True, with a note, if that is outside the document."""
        if not isinstance(ref, str):
            raise SchemaError(f"{where}/$ref: must be a string")
        if ref != "#" and not ref.startswith("#/"):
            self._notes.add(where, "$ref", f"{ref[:100]} is not followed, any value is accepted")
            return True
        if "%" in ref:
            from urllib.parse import unquote

            ref = unquote(ref)
        here: object = self._root
        for part in ref.split("/")[1:]:
            self._budget.spend()
            key = _ESCAPE.sub(lambda found: "~/"[int(found[0][1])], part)
            if isinstance(here, dict) and key in here:
                here = here[key]
            elif isinstance(here, list) and key.isascii() and key.isdigit() and len(key) < 9:
                if int(key) >= len(here):
                    raise SchemaError(f"{where}/$ref: nothing is at {ref[:100]}")
                here = here[int(key)]
            else:
                raise SchemaError(f"{where}/$ref: nothing is at {ref[:100]}")
        return here

    def flatten(self, schema: object, where: str, opened: tuple[str, ...] = ()) -> list[Flat]:
        """The alternatives of a schema; none if no value is valid. Raises SchemaError.

        ``opened`` holds what is being flattened around this place: references, and one entry for
        each level of ``allOf`` and unions.
        """
        self._budget.spend(1 + len(opened) // 8)
        if len(opened) > MAX_SCHEMA_DEPTH:
            raise SchemaError(
                f"{where}: more than {MAX_SCHEMA_DEPTH} references or merges are nested"
            )
        if schema is True:
            return [{}]
        if schema is False:
            return []
        if not isinstance(schema, dict):
            raise SchemaError(f"{where}: a schema must be an object or a boolean")
        own = _normal(
            {k: v for k, v in schema.items() if k not in _COMBINERS and k not in _ANNOTATIONS},
            where,
        )
        alternatives = [own]
        if "$ref" in schema:
            target, inner = self._open(schema["$ref"], where, opened)
            alternatives = self._both(alternatives, self.flatten(target, where, inner), where)
        if "$dynamicRef" in schema:
            self._notes.add(where, "$dynamicRef", "is not followed, any value is accepted")
        for part in _schemas(schema, "allOf", where):
            alternatives = self._both(alternatives, self.flatten(part, where, (*opened, "")), where)
        for keyword in _UNIONS:
            if keyword in schema:
                alternatives = self._spread(schema, keyword, alternatives, where, opened)
        return alternatives

    def _open(
        self, ref: object, where: str, opened: tuple[str, ...]
    ) -> tuple[object, tuple[str, ...]]:
        if ref in opened:
            raise SchemaError(f"{where}: {str(ref)[:100]} refers to itself without end")
        return self.resolve(ref, where), (*opened, str(ref))

    def _spread(
        self,
        schema: dict[str, Any],
        keyword: str,
        alternatives: list[Flat],
        where: str,
        opened: tuple[str, ...],
    ) -> list[Flat]:
        branches = [
            flat
            for branch in _schemas(schema, keyword, where)
            for flat in self.flatten(branch, where, (*opened, ""))
        ]
        if keyword == "oneOf":
            self.note_one_of(where)
        if len(alternatives) > 1 and len(alternatives) * len(branches) > MAX_ALTERNATIVES:
            self._notes.add(where, keyword, "multiplies out to too many alternatives, ignored")
            return alternatives
        return self._both(alternatives, branches, where)

    def note_one_of(self, where: str) -> None:
        self._notes.add(where, "oneOf", "a value that matches several branches is accepted too")

    def _both(self, left: list[Flat], right: list[Flat], where: str) -> list[Flat]:
        merged = [self._merge(a, b, where) for a in left for b in right]
        return [flat for flat in merged if flat is not None]

    def _merge(self, a: Flat, b: Flat, where: str) -> Flat | None:
        """What is valid against both, or None if nothing is."""
        if not a or not b:
            return a or b
        self._budget.spend(len(a) + len(b))
        out = dict(a)
        for key, value in b.items():
            if key not in a:
                out[key] = value
            elif key in _SMALLER:
                out[key] = min(a[key], value)
            elif key in _LARGER:
                out[key] = max(a[key], value)
            elif key in _MERGES:
                if isinstance(value, list):
                    self._budget.spend(len(a[key]) + len(value))
                if key == "enum":
                    self._budget.spend(len(a[key]) * len(value) // 10)
                out[key] = _MERGES[key](a[key], value)
                self._count(out[key])
            elif key != "properties" and not same_json(a[key], value):
                self._notes.add(where, key, "stands in two merged schemas, only one is enforced")
        if "properties" in a or "properties" in b:
            out["properties"] = self._properties(a, b)
        if out.get("type") == [] or out.get("enum") == []:
            return None
        return out

    def _properties(self, a: Flat, b: Flat) -> dict[str, Any]:
        ours: dict[str, Any] = a.get("properties", {})
        theirs: dict[str, Any] = b.get("properties", {})
        self._budget.spend(len(ours) + len(theirs))
        out = {}
        for key, value in ours.items():
            other = theirs[key] if key in theirs else _additional(b)
            out[key] = _all_of(value, other)
            self._count(out[key])
        for key, value in theirs.items():
            if key not in ours:
                out[key] = _all_of(_additional(a), value)
        return out

    def _count(self, merged: object) -> None:
        """Merging the same place many times copies a growing list."""
        if isinstance(merged, Merged):
            self._budget.spend(1 + len(merged["allOf"]) // 10)


class Merged(dict[str, Any]):
    """An ``allOf`` that stands in no document: several schemas that met in a merge."""


def _additional(flat: Flat) -> Any:
    """What a schema demands of a property it does not name."""
    return True if "patternProperties" in flat else flat.get("additionalProperties", True)


def _all_of(a: Any, b: Any) -> Any:
    if a is True or a == {}:
        return b
    if b is True or b == {}:
        return a
    if a is False or b is False:
        return False
    parts = {id(part): part for one in (a, b) for part in _parts(one)}
    return Merged(allOf=list(parts.values()))


def _parts(schema: Any) -> list[Any]:
    return schema["allOf"] if isinstance(schema, Merged) else [schema]


def _types(a: list[str], b: list[str]) -> list[str]:
    return [kind for kind in dict.fromkeys([*a, *b]) if _has(a, kind) and _has(b, kind)]


def _has(types: list[str], kind: str) -> bool:
    return kind in types or (kind == "integer" and "number" in types)


def _enums(a: list[Any], b: list[Any]) -> list[Any]:
    return [x for x in a if any(same_json(x, y) for y in b)]


def _prefixes(a: list[Any], b: list[Any]) -> list[Any]:
    longer = a if len(a) > len(b) else b
    merged = [_all_of(x, y) for x, y in zip(a, b, strict=False)]
    return merged + longer[len(merged) :]


_MERGES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "type": _types,
    "enum": _enums,
    "required": lambda a, b: list(dict.fromkeys([*a, *b])),
    "additionalProperties": _all_of,
    "items": _all_of,
    "prefixItems": _prefixes,
}


def _schemas(schema: dict[str, Any], keyword: str, where: str) -> list[Any]:
    value = schema.get(keyword, [])
    if not isinstance(value, list) or (keyword in schema and not value):
        raise SchemaError(f"{where}/{keyword}: must be a list of schemas")
    return value


_NUMBERS: Final = frozenset((*_SMALLER, *_LARGER)) - {"exclusiveMaximum", "exclusiveMinimum"}


def _normal(schema: dict[str, Any], where: str) -> Flat:
    """The same keywords in one form, with their values' types checked."""
    flat = dict(schema)
    if "type" in flat:
        kinds = flat["type"] if isinstance(flat["type"], list) else [flat["type"]]
        for kind in kinds:
            if kind not in TYPES:
                raise SchemaError(f"{where}/type: {str(kind)[:60]!r} is not a JSON Schema type")
        if flat.get("nullable") is True and "null" not in kinds:
            kinds = [*kinds, "null"]
        flat["type"] = list(dict.fromkeys(kinds))
    flat.pop("nullable", None)
    if "enum" in flat and not isinstance(flat["enum"], list):
        raise SchemaError(f"{where}/enum: must be a list")
    if "const" in flat:
        const = flat.pop("const")
        given = flat.get("enum", [const])
        flat["enum"] = [const] if any(same_json(const, value) for value in given) else []
    _check_bounds(flat, where)
    _check_shapes(flat, where)
    return flat


def _check_bounds(flat: Flat, where: str) -> None:
    for low, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        draft_4 = isinstance(flat.get(exclusive), bool)
        if draft_4 and flat.pop(exclusive) and low in flat:
            flat[exclusive] = flat.pop(low)
    for key in (*_SMALLER, *_LARGER):
        if key not in flat:
            continue
        value = flat[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SchemaError(f"{where}/{key}: must be a number")
        if key not in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if value < 0 or value != int(value):
                raise SchemaError(f"{where}/{key}: must be a whole number that is not negative")
            flat[key] = int(value)


def _check_shapes(flat: Flat, where: str) -> None:
    if not isinstance(flat.get("properties", {}), dict):
        raise SchemaError(f"{where}/properties: must be an object")
    required = flat.get("required", [])
    if isinstance(required, bool):  # draft 3 and OpenAPI put a boolean at the property itself
        flat.pop("required")
    elif not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise SchemaError(f"{where}/required: must be a list of names")
    if isinstance(flat.get("items"), list):  # before 2020-12
        flat["prefixItems"] = flat.pop("items")
        if "additionalItems" in flat:
            flat["items"] = flat.pop("additionalItems")
    flat.pop("additionalItems", None)
    if not isinstance(flat.get("prefixItems", []), list):
        raise SchemaError(f"{where}/prefixItems: must be a list of schemas")
