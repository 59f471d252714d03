"""A value that fits a JSON Schema: what a model under a grammar would write, minus the wit.

Covers the keywords that people use; what it cannot satisfy (``not``, ``if``) it passes over.
Recursive definitions end as soon as they may.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from antiphon.engines.scripted.strings import make_string, string_fits

__all__ = ["Suggest", "instance"]

Suggest = Callable[[str, dict[str, Any], bool], list[Any]]
"""Property name, schema and whether it is required → values worth trying for it, the best first. An
optional property is written if there are any."""

MAX_ITEMS: Final = 1_000
"""Most items and properties made in one place, whatever a minimum asks for."""

_FRUGAL_DEPTH: Final = 12
"""Below this many levels only what is required is written."""
_MAX_DEPTH: Final = 80
_MAX_NODES: Final = 20_000
_MAX_REFERENCES: Final = 32


def instance(schema: object, suggest: Suggest | None = None, *, generous: bool = False) -> Any:
    """A value that fits ``schema``.

    ``generous`` also fills in the optional properties of objects that require none; otherwise an
    optional property is written if there is a suggestion for it. Deterministic.
    """
    return _Maker(schema, suggest or (lambda name, schema, required: []), generous=generous).value(
        schema
    )


class _Maker:
    def __init__(self, root: object, suggest: Suggest, *, generous: bool) -> None:
        self._root = root
        self._suggest = suggest
        self._generous = generous
        self._nodes = 0

    def value(self, given: object, name: str = "", depth: int = 0, number: int = 0) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            return None
        schema = self._resolved(given)
        if "const" in schema:
            return schema["const"]
        tried = self._suggest(name, schema, True) if name and not number else []
        values = schema.get("enum")
        if isinstance(values, list | tuple) and values:
            allowed = [v for v in values if _kind_fits(v, schema)] or list(values)
            return next((t for t in tried if t in allowed), allowed[number % len(allowed)])
        for keyword in ("anyOf", "oneOf"):
            variants = schema.get(keyword)
            if isinstance(variants, list | tuple) and variants:
                base = {k: v for k, v in schema.items() if k != keyword}
                return self.value(
                    _both(base, self._chosen(variants, depth)), name, depth + 1, number
                )
        kind = _kind_of(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            lists = [t for t in tried if isinstance(t, list)]
            return self._array(schema, name, depth, lists[0] if lists else None)
        if kind in ("integer", "number"):
            return _number(schema, tried, number, whole=kind == "integer")
        if kind == "boolean":
            return next((t for t in tried if isinstance(t, bool)), True)
        if kind == "null":
            return None
        return self._string(schema, name, tried, number)

    def _resolved(self, schema: object) -> dict[str, Any]:
        """The schema with references followed and ``allOf`` merged in."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(schema, dict):
                return {}
            if isinstance(schema.get("$ref"), str):
                beside = {k: v for k, v in schema.items() if k != "$ref"}
                schema = _both(_follow(self._root, schema["$ref"]), beside)
                continue
            parts = schema.get("allOf")
            if not isinstance(parts, list | tuple):
                return schema
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            for part in parts:
                merged = _both(merged, part)
            schema = merged
        return {}

    def _chosen(self, variants: list[Any] | tuple[Any, ...], depth: int) -> object:
        """The first variant that says something; far down, one that ends the recursion."""
        real = [v for v in variants if not (isinstance(v, dict) and v.get("type") == "null")]
        if depth >= _FRUGAL_DEPTH:
            flat = [v for v in variants if not _opens(self._resolved(v))]
            return (flat or real or list(variants))[0]
        return (real or list(variants))[0]

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [n for n in _list(schema, "required") if isinstance(n, str)]
        everything = self._generous and not required and depth < 3
        out: dict[str, Any] = {}
        for name, value in properties.items():
            wanted = name in required or everything
            if not wanted and depth < _FRUGAL_DEPTH:
                wanted = bool(self._suggest(name, self._resolved(value), False))
            if wanted and value is not False:
                out[name] = self.value(value, name, depth + 1)
        others = schema.get("additionalProperties", True)
        for name in required:
            if name not in out:
                out[name] = self.value(others, name, depth + 1)
        for name, needed in _dependent(schema):
            if name in out:
                for other in needed:
                    if other not in out:
                        out[other] = self.value(properties.get(other, others), other, depth + 1)
        self._reach_minimum(schema, out, properties, others, depth)
        return out

    def _reach_minimum(
        self,
        schema: dict[str, Any],
        out: dict[str, Any],
        properties: dict[str, Any],
        others: object,
        depth: int,
    ) -> None:
        fewest = schema.get("minProperties")
        if not isinstance(fewest, int):
            return
        fewest = min(fewest, MAX_ITEMS)
        for name, value in properties.items():
            if len(out) < fewest and name not in out:
                out[name] = self.value(value, name, depth + 1)
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict) and len(out) < fewest:
            for pattern, value in patterns.items():
                for number in range(fewest - len(out)):
                    key = make_string({"pattern": pattern}, "key", number)
                    out[key] = self.value(value, key, depth + 1)
        for number in range(fewest - len(out) if others is not False else 0):
            out[f"key{number + 1}"] = self.value(others, "", depth + 1, number)

    def _array(
        self, schema: dict[str, Any], name: str, depth: int, given: list[Any] | None
    ) -> list[Any]:
        first = _list(schema, "prefixItems")
        items = schema.get("items", True)
        if isinstance(items, list | tuple):  # drafts before 2020-12
            first, items = list(items), schema.get("additionalItems", True)
        fewest, most = schema.get("minItems"), schema.get("maxItems")
        fewest = min(fewest, MAX_ITEMS) if isinstance(fewest, int) else 0
        count = max(fewest, len(first), 0 if depth >= _FRUGAL_DEPTH or items is True else 1)
        if given and items is not False and not first:
            count = max(count, len(given))
        if isinstance(most, int):
            count = min(count, max(0, most))
        if items is False:
            count = min(count, len(first))
        out: list[Any] = []
        for i in range(count):
            if i < len(first):
                out.append(self.value(first[i], name, depth + 1))
            elif i == 0 and "contains" in schema:
                out.append(self.value(_both(items, schema["contains"]), name, depth + 1))
            elif given and i < len(given) and _kind_fits(given[i], self._resolved(items)):
                out.append(given[i])
            else:
                out.append(self.value(items, name if i == 0 else "", depth + 1, i - len(first)))
        if schema.get("uniqueItems") is True:
            unique: list[Any] = []
            for value in out:
                if value not in unique:
                    unique.append(value)
            return unique
        return out

    def _string(self, schema: dict[str, Any], name: str, tried: list[Any], number: int) -> Any:
        for text in tried:
            if isinstance(text, str) and string_fits(text, schema):
                return text
            if not schema and text is not None:
                return text
        wanted = schema.get("default")
        return make_string(schema, wanted if isinstance(wanted, str) else name or "text", number)


def _number(schema: dict[str, Any], tried: list[Any], number: int, *, whole: bool) -> int | float:
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    over, under = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    step = _limit(schema, "multipleOf")
    step = step if step is not None and step > 0 else None

    def fits(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if whole and value != int(value):
            return False
        return (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (over is None or value > over)
            and (under is None or value < under)
            and (step is None or math.isclose(value / step, round(value / step), abs_tol=1e-9))
        )

    for value in tried:
        if fits(value):
            return int(value) if whole else value
    unit = step or 1
    bottom = max([v for v in (low, over) if v is not None], default=None)
    top = min([v for v in (high, under) if v is not None], default=None)
    candidates: list[float] = [unit * (number + 1)]
    if bottom is not None:
        base = math.ceil(bottom / unit) * unit
        candidates += [base + unit * number, base + unit * (number + 1), bottom]
    if top is not None:
        base = math.floor(top / unit) * unit
        candidates += [base - unit * number, base - unit * (number + 1), top]
    if bottom is not None and top is not None:
        candidates.append((bottom + top) / 2)
    best = next((c for c in candidates if fits(c)), candidates[0])
    return int(best) if best == int(best) else best


def _limit(schema: dict[str, Any], key: str) -> int | float | None:
    value = schema.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _kind_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list | tuple):
        kinds = [k for k in kind if isinstance(k, str)]
        kind = next((k for k in kinds if k != "null"), "null" if kinds else None)
    if isinstance(kind, str):
        return kind
    keys = schema.keys()
    if keys & {"properties", "required", "additionalProperties", "minProperties"}:
        return "object"
    if keys & {"items", "prefixItems", "minItems", "maxItems", "contains"}:
        return "array"
    if keys & {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}:
        return "number"
    return "string"


def _kind_fits(value: object, schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind
    if not isinstance(kinds, list | tuple):
        return True
    names: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "object": dict,
        "array": list,
        "null": type(None),
    }
    for name in kinds:
        python = names.get(name)
        if python is None or not isinstance(value, python):
            continue
        if not isinstance(value, bool) or name == "boolean":
            return True
    return False


def _opens(schema: dict[str, Any]) -> bool:
    """Whether a value of the schema holds others."""
    return _kind_of(schema) in ("object", "array") or "anyOf" in schema or "oneOf" in schema


def _both(base: object, more: object) -> dict[str, Any]:
    """A schema that asks for what both ask for, as far as that is a matter of merging."""
    base = base if isinstance(base, dict) else {}
    if not isinstance(more, dict):
        return base
    out = {**base, **more}
    for key in ("properties", "patternProperties", "$defs"):
        if isinstance(base.get(key), dict) and isinstance(more.get(key), dict):
            out[key] = {**base[key]}
            for name, value in more[key].items():
                known = base[key].get(name)
                out[key][name] = value if known is None else {"allOf": [known, value]}
    if "required" in base and "required" in more:
        out["required"] = [*_list(base, "required"), *_list(more, "required")]
    if "enum" in base and "enum" in more:
        shared = [v for v in _list(base, "enum") if v in _list(more, "enum")]
        out["enum"] = shared or _list(more, "enum")
    for key, pick in (("minimum", max), ("minLength", max), ("minItems", max)):
        if _limit(base, key) is not None and _limit(more, key) is not None:
            out[key] = pick(base[key], more[key])
    for key in ("maximum", "maxLength", "maxItems"):
        if _limit(base, key) is not None and _limit(more, key) is not None:
            out[key] = min(base[key], more[key])
    if "allOf" in base and "allOf" in more:
        out["allOf"] = [*_list(base, "allOf"), *_list(more, "allOf")]
    return out


def _list(schema: dict[str, Any], key: str) -> list[Any]:
    value = schema.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def _dependent(schema: dict[str, Any]) -> list[tuple[str, list[str]]]:
    given = schema.get("dependentRequired")
    if not isinstance(given, dict):
        return []
    return [(n, [o for o in v if isinstance(o, str)]) for n, v in given.items() if v]


def _follow(root: object, reference: str) -> object:
    """What a ``#/…`` reference points at; nothing else is ever looked up."""
    from urllib.parse import unquote

    if reference == "#":
        return root
    at = root
    for escaped in unquote(reference).removeprefix("#/").split("/"):
        step = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return {}
    return at
