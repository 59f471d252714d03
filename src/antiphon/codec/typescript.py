"""JSON Schema → TypeScript, exactly as the reference library writes it (format rule 2.6).

gpt-oss was trained on this rendering, odd indentation included. It loses much of JSON Schema
(``$ref``, ``anyOf``, ``const`` …); `antiphon.codec.faithful` keeps that and agrees with this module
wherever nothing is lost.
"""

from __future__ import annotations

from typing import Any, Final

from antiphon.codec.compact_json import compact_json
from antiphon.errors import SchemaError

__all__ = ["MAX_SCHEMA_DEPTH", "reference_typescript"]

MAX_SCHEMA_DEPTH: Final = 128
"""Deepest nesting of a schema, in levels of JSON. The reference stops at 128, wrapping included."""

_SIMPLE: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}


def reference_typescript(schema: object) -> str:
    """The type the reference prints for ``schema``. Raises SchemaError if it is nested too deep."""
    return _convert(schema, "", MAX_SCHEMA_DEPTH)


def _convert(schema: object, indent: str, depth: int) -> str:
    if not isinstance(schema, dict):
        return "any"
    if depth <= 0:
        raise SchemaError(f"a schema is nested deeper than {MAX_SCHEMA_DEPTH} levels of JSON")
    variants = schema.get("oneOf")
    if isinstance(variants, list | tuple):
        return "".join([f"\n{indent} | {_variant(v, indent, depth)}" for v in variants])
    kind = schema.get("type")
    if isinstance(kind, str):
        if kind == "object":
            return _object(schema, indent, depth)
        if kind == "array":
            if "items" in schema:
                return _convert(schema["items"], indent, depth - 1) + "[]"
            return "Array<any>"
        if kind == "string" and isinstance(enum := schema.get("enum"), list | tuple):
            return " | ".join([f'"{v}"' for v in enum if isinstance(v, str)]) or "string"
        return _SIMPLE.get(kind, "any")
    if isinstance(kind, list | tuple):
        words = ["number" if k == "integer" else str(k) for k in kind if isinstance(k, str)]
        return " | ".join(words) if words else "any"
    return "any"


def _object(schema: dict[str, Any], indent: str, depth: int) -> str:
    out = []
    if isinstance(description := schema.get("description"), str):
        out.append(f"{indent}// {description}\n")
    out.append("{\n")
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        names = set()
        if isinstance(required, list | tuple):
            names = {name for name in required if isinstance(name, str)}
        for key, value in properties.items():
            _property(out, str(key), value, "" if key in names else "?", indent, depth)
    out.append(f"{indent}}}")
    return "".join(out)


def _property(
    out: list[str], key: str, value: object, optional: str, indent: str, depth: int
) -> None:
    schema = value if isinstance(value, dict) else {}
    if isinstance(title := schema.get("title"), str):
        out.append(f"{indent}// {title}\n{indent}//\n")
    description = schema.get("description")
    if isinstance(description, str) and "oneOf" not in schema:
        out.append(f"{indent}// {description}\n")
    examples = schema.get("examples")
    if isinstance(examples, list | tuple) and examples:
        out.append(f"{indent}// Examples:\n")
        out.extend([f'{indent}// - "{e}"\n' for e in examples if isinstance(e, str)])
    variants = schema.get("oneOf")
    if isinstance(variants, list | tuple):
        _one_of_property(out, key, schema, variants, optional, indent, depth)
        return
    shown = _convert(value, indent + "    ", depth - 2)
    null = " | null" if schema.get("nullable") is True and "null" not in shown else ""
    comment = ""
    if "default" in schema and "oneOf" not in schema:
        comment = f" // default: {_default(schema['default'], not _has_enum(schema))}"
    out.append(f"{indent}{key}{optional}: {shown}{null},{comment}\n")


def _one_of_property(
    out: list[str],
    key: str,
    schema: dict[str, Any],
    variants: list[Any] | tuple[Any, ...],
    optional: str,
    indent: str,
    depth: int,
) -> None:
    """Rule 3d: the description and default above the name, then one variant a line."""
    description = schema.get("description")
    printed = False
    if isinstance(description, str):
        first = variants[0] if variants else None
        own = first.get("description") if isinstance(first, dict) else None
        if own != description:
            out.append(f"{indent}// {description}\n")
            printed = True
    if "default" in schema:
        out.append(f"{indent}// default: {_default(schema['default'], not _has_enum(schema))}\n")
    out.append(f"{indent}{key}{optional}:\n")
    for i, variant in enumerate(variants):
        skip = variant.get("description") if isinstance(variant, dict) else None
        if not (printed and i == 0) and skip != description:
            skip = None
        line = _variant(variant, indent, depth, skip=skip, quote_enum=False)
        out.append(f"{indent} | {line}\n")
    out.append(f"{indent},\n")


def _variant(
    variant: object, indent: str, depth: int, *, skip: str | None = None, quote_enum: bool = True
) -> str:
    shown = _convert(variant, indent + "   ", depth - 2)
    if not isinstance(variant, dict):
        return shown
    if variant.get("nullable") is True and "null" not in shown:
        shown += " | null"
    notes = []
    description = variant.get("description")
    if isinstance(description, str) and description != skip:
        notes.append(description)
    if "default" in variant:
        default = variant["default"]
        if not _has_enum(variant):
            notes.append(f"default: {_default(default, True)}")
        elif quote_enum:
            notes.append(f"default: {compact_json(default)}")
        else:
            notes.append(f"default: {_default(default, False)}")
    return f"{shown} // {' '.join(notes)}" if notes else shown


def _has_enum(schema: dict[str, Any]) -> bool:
    enum = schema.get("enum")
    return isinstance(enum, list | tuple) and bool(enum)


def _default(value: object, quote: bool) -> str:
    if isinstance(value, str):
        return f'"{value}"' if quote else value
    return compact_json(value)
