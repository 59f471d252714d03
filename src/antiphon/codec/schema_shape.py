"""Questions about one JSON Schema object: its enum, its variants, its bounds, can it be merged.

Nothing here follows references or recurses; `antiphon.codec.faithful` does the writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = [
    "bounds_of",
    "enum_of",
    "is_plain_object",
    "list_of",
    "merged",
    "needs_lines",
    "says_type",
    "variants_of",
]

_BOUNDS: Final = (
    "format",
    "pattern",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
_BOUND_SET: Final = frozenset(_BOUNDS)
_MACHINE_BOUNDS: Final = frozenset(
    sign * (2**bits - less) for bits in (31, 32, 53, 63, 64) for less in (0, 1) for sign in (1, -1)
)
"""Bounds that only say how wide an integer is; schema generators add them unasked."""
_SHAPES: Final = frozenset(
    (
        *("type", "properties", "additionalProperties", "items", "prefixItems"),
        *("enum", "const", "anyOf", "oneOf", "allOf", "$ref"),
    )
)
"""Keywords that say something about the type."""
_MERGEABLE: Final = frozenset(
    (
        *("type", "properties", "required", "additionalProperties"),
        *("title", "description", "default", "examples"),
        *("$defs", "definitions", "$schema", "$id", "$comment"),
    )
)
"""Keywords of an object that can be merged with another in an ``allOf``."""


def says_type(schema: dict[str, Any]) -> bool:
    """Whether any keyword of the schema restricts its type."""
    return not _SHAPES.isdisjoint(schema)


def list_of(schema: dict[str, Any], key: str) -> list[Any]:
    """The value of a keyword as a list; empty if it is no array."""
    value = schema.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def enum_of(schema: dict[str, Any]) -> list[Any]:
    """The values of ``enum`` that the schema's own ``type`` allows."""
    values = schema.get("enum")
    if not values or not isinstance(values, list | tuple):
        return []
    kind = schema.get("type")
    if kind == "string":
        return [v for v in values if isinstance(v, str)]
    kinds = (
        {kind} if isinstance(kind, str) else {k for k in list_of(schema, "type") if type(k) is str}
    )
    return [v for v in values if not kinds or _kinds(v) & kinds]


def _kinds(value: object) -> set[str]:
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int):
        return {"integer", "number"}
    if isinstance(value, float):
        return {"number", "integer"} if value.is_integer() else {"number"}
    if isinstance(value, str):
        return {"string"}
    return {"object"} if isinstance(value, dict) else {"array"}


def variants_of(schema: dict[str, Any], keyword: str) -> list[Any] | None:
    """The variants of a choice; None if they say nothing about the type that ``schema`` has.

    A variant without a type of its own has the type beside the choice.
    """
    variants = list_of(schema, keyword)
    base = {k: schema[k] for k in ("type", "enum", "items", "properties") if k in schema}
    typeless = [isinstance(v, dict) and not says_type(v) for v in variants]
    if not base or not any(typeless):
        return variants
    if all(typeless):
        return None
    return [{**base, **v} if t else v for v, t in zip(variants, typeless, strict=True)]


def needs_lines(variant: object) -> bool:
    """Whether a choice with this variant is written one variant a line."""
    if not isinstance(variant, dict):
        return False
    if "description" in variant or "default" in variant or "properties" in variant:
        return True
    return bool(variant.get("oneOf")) or variant.get("type") == "object"


def is_plain_object(schema: dict[str, Any]) -> bool:
    """Whether the schema is an object type that ``merged`` can take in without loss."""
    if not schema.keys() <= _MERGEABLE:
        return False
    return schema.get("type", "object") == "object" and isinstance(
        schema.get("properties", {}), dict
    )


def merged(schemas: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One object schema with everything these ask for. The later title and description win."""
    out: dict[str, Any] = {"type": "object"}
    properties: dict[str, Any] = {}
    required: list[Any] = []
    for schema in schemas:
        for key, value in (schema.get("properties") or {}).items():
            known = properties.get(key, value)
            properties[key] = value if known is value else {"allOf": [known, value]}
        required += list_of(schema, "required")
        out.update({k: v for k, v in schema.items() if k not in ("properties", "required")})
    return {**out, "properties": properties, "required": required}


def bounds_of(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Formats and limits, but for those that only name a machine integer."""
    if _BOUND_SET.isdisjoint(schema):
        return
    is_tuple = "prefixItems" in schema  # which shows its length
    for key in _BOUNDS:
        value = None if is_tuple and key in ("minItems", "maxItems") else schema.get(key)
        if value is None or value is False or isinstance(value, dict | list | tuple):
            continue
        if isinstance(value, int | float) and value in _MACHINE_BOUNDS:
            continue
        yield key, value
