"""JSON Schema → TypeScript that keeps what the reference rendering loses.

For a schema the reference renders without loss the result is byte-identical to it, because that is
what gpt-oss was trained on. Beyond that it keeps ``$ref`` (recursive ones by name), ``anyOf``,
``allOf``, ``const``, enums of any type, null, tuples, index signatures, bounds and formats (as
comments), puts parentheses where ``[]`` needs them, comments *every* line of a description and
quotes names that are no identifiers.

It is total: any value gives a type. What is nested too deep, or beyond the size limit, is ``any``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from antiphon.codec.compact_json import compact_json
from antiphon.codec.prompt import PromptStyle
from antiphon.codec.schema_refs import References, View
from antiphon.codec.schema_shape import (
    bounds_of,
    enum_of,
    is_plain_object,
    list_of,
    merged,
    needs_lines,
    says_type,
    variants_of,
)
from antiphon.errors import SchemaError

__all__ = [
    "FAITHFUL",
    "MAX_FAITHFUL_CHARS",
    "MAX_FAITHFUL_DEPTH",
    "comment_lines",
    "faithful_typescript",
]

MAX_FAITHFUL_CHARS: Final = 1 << 19
"""Size limit of the types of one tool table, roughly: text that fills a context of gpt-oss."""

MAX_FAITHFUL_DEPTH: Final = 100
"""Deepest nesting that is written out, in levels of JSON: fifty nested objects."""

_NODE_CHARS: Final = 32
"""What each place of a schema counts besides its text."""

_ATOM, _INTERSECTION, _UNION = range(3)
_WORDS: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
_BREAKS: Final = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})


class _Type(NamedTuple):
    text: str
    rank: int = _ATOM
    null: bool = False

    def inside(self, rank: int) -> str:
        """The text as a part of something that binds tighter than ``rank``."""
        if self.rank < rank:
            return self.text
        return f"({self.text}\n)" if self.text.startswith("\n") else f"({self.text})"

    @property
    def closed(self) -> str:
        """The text, in parentheses if it is a choice in lines, whose last may end in a comment."""
        return self.inside(_UNION) if self.text.startswith("\n") else self.text


_ANY: Final = _Type("any")


class _Budget:
    """What is left to spend on the types of one tool table."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_FAITHFUL_CHARS

    def afford(self, chars: int) -> bool:
        """Spend ``chars``, or everything that is left if that is not enough."""
        if self.left < chars:
            self.left = 0
            return False
        self.left -= chars
        return True


def faithful_typescript(schema: object) -> str:
    """The TypeScript type of ``schema``. Never raises for a JSON value."""
    return _table_types()(schema)


def _table_types() -> Callable[[object], str]:
    """A writer for the types of one tool table, which share one size limit."""
    budget = _Budget()
    return lambda schema: (
        _Writer(schema, budget).type_at(schema, "", MAX_FAITHFUL_DEPTH, ("#",)).text
    )


def comment_lines(text: str) -> list[str]:
    """Split at everything that could end a ``//`` comment, ``\\r`` and U+2028 included."""
    return text.splitlines()


FAITHFUL: Final = PromptStyle(_table_types, comment_lines)


class _Writer:
    """Writes one schema document."""

    def __init__(self, root: object, budget: _Budget) -> None:
        self._refs = References(root)
        self._afford = budget.afford

    # Types

    def type_at(
        self, schema: object, indent: str, depth: int, opened: tuple[str, ...] = ()
    ) -> _Type:
        view = self._refs.resolve(schema)
        return self._type_of(view._replace(opened=opened + view.opened), indent, depth)

    def _type_of(self, view: View, indent: str, depth: int) -> _Type:
        if view.name is not None:
            return _nullable(_Type(view.name), view.schema)
        if view.schema is False:
            return _Type("never")
        if not isinstance(view.schema, dict) or depth <= 0:
            return _ANY
        if not self._afford(_NODE_CHARS + len(indent)):
            return _ANY
        schema = view.schema
        if view.inner is not None:  # both descriptions stand above the property
            schema = {k: v for k, v in schema.items() if k != "description"}
        self._refs.enter(view)
        shape = self._shape(schema, indent, depth)
        name = self._refs.leave(view)
        if name is not None:
            shape = _Type(f"/* {name} */ {shape.inside(_INTERSECTION)}", _ATOM, shape.null)
        return _nullable(shape, view.schema)

    def _shape(self, schema: dict[str, Any], indent: str, depth: int) -> _Type:
        if "const" in schema and (literal := self._literal(schema["const"])) is not None:
            return _Type(literal, null=schema["const"] is None)
        if values := enum_of(schema):
            texts = [t for t in map(self._literal, values) if t is not None]
            if texts:
                return _Type(" | ".join(texts), _rank(texts), None in values)
        if parts := list_of(schema, "allOf"):
            return self._all_of(schema, parts, indent, depth)
        for keyword in ("oneOf", "anyOf"):
            if isinstance(schema.get(keyword), list | tuple):
                variants = variants_of(schema, keyword)
                if variants is not None:
                    return self._choice(schema, keyword, variants, indent, depth)
        kind = schema.get("type")
        if isinstance(kind, list | tuple):
            words = [k for k in kind if isinstance(k, str)]
            if words:
                types = [self._typed(k, schema, indent, depth, alone=False) for k in words]
                texts = [t.text for t in types]
                return _Type(" | ".join(texts), _rank(texts), "null" in words)
        return self._typed(kind, schema, indent, depth, alone=True)

    def _typed(
        self, kind: object, schema: dict[str, Any], indent: str, depth: int, *, alone: bool
    ) -> _Type:
        """The type ``kind``; with ``alone`` false it is one word of a list of types."""
        shaped_object = "properties" in schema or "additionalProperties" in schema
        shaped_array = "items" in schema or "prefixItems" in schema
        if kind == "object" and (alone or shaped_object):
            return _Type(self._object(schema, indent, depth))
        if kind == "array" and (alone or shaped_array):
            return self._array(schema, indent, depth)
        if isinstance(kind, str):
            word = _WORDS.get(kind) or ("any" if alone else kind)
            return _Type(word, null=word == "null")
        if shaped_object or "patternProperties" in schema:
            return _Type(self._object(schema, indent, depth))
        return self._array(schema, indent, depth) if shaped_array else _ANY

    def _array(self, schema: dict[str, Any], indent: str, depth: int) -> _Type:
        items = schema.get("items")
        first = list_of(schema, "prefixItems")
        rest = items if "items" in schema else True
        if not first and isinstance(items, list | tuple):
            first, rest = list(items), schema.get("additionalItems", True)
        if not first:
            if "items" not in schema:
                return _Type("Array<any>")
            return _Type(self.type_at(items, indent, depth - 2).inside(_INTERSECTION) + "[]")
        fewest = schema.get("minItems")
        optional_from = fewest if isinstance(fewest, int) else len(first)
        parts = []
        for i, item in enumerate(first):
            shown = self.type_at(item, indent, depth - 2)
            parts.append(shown.inside(_INTERSECTION) + "?" if i >= optional_from else shown.closed)
        most = schema.get("maxItems")
        if rest is not False and not (isinstance(most, int) and most <= len(first)):
            shown = self.type_at(rest, indent, depth - 2)
            parts.append(f"...{shown.inside(_INTERSECTION)}[]")
        return _Type(f"[{', '.join(parts)}]")

    def _all_of(
        self, schema: dict[str, Any], parts: Sequence[object], indent: str, depth: int
    ) -> _Type:
        """One object if all parts are plain objects, else an intersection."""
        base = {k: v for k, v in schema.items() if k not in ("allOf", "nullable")}
        views = [self._refs.resolve(part) for part in parts]
        if says_type(base):
            views.insert(0, View(base))
        plain = [v.schema for v in views if v.name is None and isinstance(v.schema, dict)]
        if len(plain) == len(views) and all(map(is_plain_object, plain)):
            opened = dict.fromkeys([ref for v in views for ref in v.opened])
            view = View(merged([*plain, base]), tuple(opened))
            return self._type_of(view, indent, depth - 2)
        types = [self._type_of(view, indent, depth - 2) for view in views]
        texts = list(dict.fromkeys([t.inside(_UNION) for t in types if t.text != "any"]))
        if not texts:
            return _ANY
        if len(texts) == 1:
            return next(t for t in types if t.inside(_UNION) == texts[0])
        return _Type(" & ".join(texts), _INTERSECTION)

    def _choice(
        self,
        schema: dict[str, Any],
        keyword: str,
        variants: Sequence[object],
        indent: str,
        depth: int,
    ) -> _Type:
        views = [self._refs.resolve(v) for v in variants]
        if keyword == "oneOf" or any(needs_lines(v.schema) for v in views if v.name is None):
            lines = [self._variant(view, indent, depth) for view in views]
            text = "".join([f"\n{indent} | {line}" for line, _ in lines])
            choice = _Type(text, _UNION, any(null for _, null in lines))
        else:
            types = [self._type_of(view, indent, depth - 2) for view in views]
            texts = list(dict.fromkeys([t.closed for t in types]))
            choice = _Type(" | ".join(texts), _rank(texts), any(t.null for t in types))
        if not schema.get("properties"):
            return choice
        base = {k: v for k, v in schema.items() if k not in (keyword, "nullable", "description")}
        own = self._type_of(View(base), indent, depth - 2)
        return _Type(f"{own.inside(_UNION)} & {choice.inside(_UNION)}", _INTERSECTION)

    def _variant(
        self, view: View, indent: str, depth: int, *, skip: object = None, in_property: bool = False
    ) -> tuple[str, bool]:
        """One line of a choice, and whether it allows null."""
        shown = self._type_of(view, indent + "   ", depth - 2)
        if not isinstance(view.schema, dict):
            return shown.text, shown.null
        notes = []
        description = view.schema.get("description")
        if isinstance(description, str) and description != skip:
            notes.append(" ".join(comment_lines(description)))
        if view.inner is not None:
            notes.append(" ".join(comment_lines(view.inner)))
        if "default" in view.schema:
            quote = not in_property or not list_of(view.schema, "enum")
            notes.append(self._default(view.schema["default"], quote))
        if bounds := self._bounds(view.schema):
            notes.append(bounds)
        notes = [note for note in notes if self._afford(len(note))]
        return (f"{shown.text} // {' '.join(notes)}" if notes else shown.text), shown.null

    # Objects

    def _object(self, schema: dict[str, Any], indent: str, depth: int) -> str:
        out: list[str] = []
        if isinstance(description := schema.get("description"), str):
            self._comment(out, indent, description)
        out.append("{\n")
        properties = schema.get("properties")
        if isinstance(properties, dict):
            required = {name for name in list_of(schema, "required") if isinstance(name, str)}
            for key, value in properties.items():
                name = self._property_name(str(key))
                if name is None:
                    break
                mark = "" if key in required else "?"
                self._property(out, name + mark, value, indent, depth)
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict):
            for pattern, value in patterns.items():
                self._comment(out, indent, f"keys matching {pattern}")
                self._property(out, "[key: string]", value, indent, depth)
        others = schema.get("additionalProperties")
        if others is True or isinstance(others, dict):
            self._property(out, "[key: string]", others, indent, depth)
        out.append(f"{indent}}}")
        return "".join(out)

    def _property(self, out: list[str], name: str, value: object, indent: str, depth: int) -> None:
        view = self._refs.resolve(value)
        schema = view.schema if isinstance(view.schema, dict) else {}
        if isinstance(title := schema.get("title"), str):
            self._comment(out, indent, title)
            out.append(f"{indent}//\n")
        in_lines = view.name is None and self._in_lines(schema)
        description = schema.get("description")
        if isinstance(description, str) and not in_lines:
            self._comment(out, indent, description)
        if view.inner is not None:
            self._comment(out, indent, view.inner)
        if examples := list_of(schema, "examples"):
            out.append(f"{indent}// Examples:\n")
            shown_examples = [e for e in map(self._literal, examples) if e is not None]
            out += [f"{indent}// - {example}\n" for example in shown_examples]
        if in_lines:
            self._choice_property(out, name, view, schema, indent, depth)
            return
        if bounds := self._bounds(schema):
            self._comment(out, indent, bounds)
        shown = self._type_of(view, indent + "    ", depth - 2).closed
        note = ""
        if "default" in schema:
            note = f" // {self._default(schema['default'], not list_of(schema, 'enum'))}"
        out.append(f"{indent}{name}: {shown},{note}\n")

    def _in_lines(self, schema: dict[str, Any]) -> bool:
        """Whether a property's type is a choice written one variant a line."""
        if "oneOf" not in schema and "anyOf" not in schema:
            return False
        if (
            "const" in schema
            or enum_of(schema)
            or list_of(schema, "allOf")
            or schema.get("properties")
        ):
            return False
        if isinstance(schema.get("oneOf"), list | tuple):
            return variants_of(schema, "oneOf") is not None
        variants = variants_of(schema, "anyOf") if list_of(schema, "anyOf") else None
        if variants is None:
            return False
        views = [self._refs.resolve(v) for v in variants]
        return any(needs_lines(view.schema) for view in views if view.name is None)

    def _choice_property(
        self,
        out: list[str],
        name: str,
        view: View,
        schema: dict[str, Any],
        indent: str,
        depth: int,
    ) -> None:
        keyword = "oneOf" if isinstance(schema.get("oneOf"), list | tuple) else "anyOf"
        self._refs.enter(view)
        views = [self._refs.resolve(v) for v in variants_of(schema, keyword) or ()]
        description = schema.get("description")
        printed = False
        if isinstance(description, str):
            first = views[0].schema if views else None
            if not isinstance(first, dict) or first.get("description") != description:
                self._comment(out, indent, description)
                printed = True
        if "default" in schema:
            out.append(
                f"{indent}// {self._default(schema['default'], not list_of(schema, 'enum'))}\n"
            )
        if bounds := self._bounds(schema):
            self._comment(out, indent, bounds)
        head = len(out)
        null = False
        for i, variant in enumerate(views):
            own = variant.schema.get("description") if isinstance(variant.schema, dict) else None
            skip = own if (printed and i == 0) or own == description else None
            line, allows_null = self._variant(variant, indent, depth, skip=skip, in_property=True)
            null = null or allows_null
            out.append(f"{indent} | {line}\n")
        if schema.get("nullable") is True and not null:
            out.append(f"{indent} | null\n")
        back = self._refs.leave(view)
        out.insert(head, f"{indent}{name}:{f' /* {back} */' if back else ''}\n")
        out.append(f"{indent},\n")

    # Words

    def _bounds(self, schema: dict[str, Any]) -> str:
        found = [
            f"{key}: {value if isinstance(value, str) else self._literal(value)}"
            for key, value in bounds_of(schema)
        ]
        return " ".join(comment_lines(", ".join(found)))

    def _property_name(self, key: str) -> str | None:
        """The name, quoted if it must be; None once the size limit is reached."""
        if not self._afford(len(key)):
            return None
        return key if key.replace("$", "_").isidentifier() else _quoted(key)

    def _comment(self, out: list[str], indent: str, text: str) -> None:
        if self._afford(len(text)):
            out += [f"{indent}// {line}\n" for line in comment_lines(text) or [""]]

    def _literal(self, value: object) -> str | None:
        try:
            text = compact_json(value)
        except SchemaError:
            return None
        if not text.isascii():
            text = text.translate(_BREAKS)
        return text if self._afford(len(text)) else None

    def _default(self, value: object, quote: bool) -> str:
        if isinstance(value, str) and not quote and len(comment_lines(value)) <= 1:
            return f"default: {value}" if self._afford(len(value)) else "default: …"
        text = self._literal(value)
        return f"default: {'…' if text is None else text}"


def _nullable(shape: _Type, schema: object) -> _Type:
    if shape.null or not isinstance(schema, dict) or schema.get("nullable") is not True:
        return shape
    if not shape.text:
        return _Type("null", null=True)
    head = shape.text.partition(" | ")[0] if shape.text.startswith("\n") else ""
    return _Type(f"{shape.text}{head} | null", _UNION, True)


def _rank(texts: Sequence[str]) -> int:
    return _UNION if len(texts) > 1 else _ATOM


def _quoted(key: str) -> str:
    return compact_json(key).translate(_BREAKS)
