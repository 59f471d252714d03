"""A schema as it can be handed to an engine that compiles schemas itself."""

from __future__ import annotations

from typing import Any, Final

from antiphon.codec.grammar.limits import check_schema
from antiphon.codec.grammar.notes import Notes

__all__ = ["portable_schema"]

_NOT_SCHEMAS: Final = frozenset(("const", "default", "enum", "example", "examples"))
_OF_NAMES: Final = frozenset(("properties", "patternProperties", "$defs", "definitions"))


def portable_schema(
    schema: dict[str, Any], where: str, notes: Notes, *, object_only: bool = False
) -> dict[str, Any]:
    """The schema without references that leave the document, and bound to objects if so wanted.

    Such a reference becomes "any value", with a note: nothing is ever fetched, here or there.
    Raises SchemaError for a schema beyond the limits.
    """
    clean = _clean(check_schema(schema, where), where, notes)
    if not isinstance(clean, dict):
        return {"type": "object"} if object_only else {}
    if object_only and clean.get("type") != "object":
        if "type" not in clean:
            return {"type": "object", **clean}
        if "object" in clean["type"]:
            return {**clean, "type": "object"}
    return clean


def _clean(schema: Any, where: str, notes: Notes) -> Any:
    if isinstance(schema, list):
        return [_clean(item, f"{where}/{i}", notes) for i, item in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        here = f"{where}/{key}"
        if key == "$ref" and not (isinstance(value, str) and _is_local(value)):
            notes.add(where, key, f"{str(value)[:100]} is not followed, any value is accepted")
        elif key in _NOT_SCHEMAS or key == "$ref":
            out[key] = value
        elif key in _OF_NAMES and isinstance(value, dict):
            out[key] = {
                name: _clean(inner, f"{here}/{name[:60]}", notes) for name, inner in value.items()
            }
        else:
            out[key] = _clean(value, here, notes)
    return out


def _is_local(ref: str) -> bool:
    return ref == "#" or ref.startswith("#/")
