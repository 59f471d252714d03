"""The ``# Tools`` section of a prompt, read back: TypeScript → tools with JSON Schemas.

Reads what `antiphon.codec.faithful` and `antiphon.codec.typescript` write. It is total: a type that
cannot be read is any object, and text that is no tool table offers no tools.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

__all__ = ["OfferedTool", "read_tools", "read_type"]

MAX_DEPTH: Final = 120
"""Deepest nesting of a type that is read."""

_SECTION: Final = re.compile(r"(?:\A|\n\n)## ([\w.-]+)\n\n")
_BODY: Final = re.compile(r"^namespace \S+ \{$(.*?)^\} // namespace \S+$", re.MULTILINE | re.DOTALL)
_TOOL: Final = re.compile(r"^type (\S+) = \((\)|_: )", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)|//[ ]?(?P<comment>[^\n]*)|/\*[ ]?(?P<label>.*?)[ ]?\*/"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<word>[^\W\d][\w$]*|\$[\w$]*)|(?P<mark>\.\.\.|=>|.)""",
    re.DOTALL,
)
_BOUND: Final = (
    r"(?:format|pattern|minimum|exclusiveMinimum|maximum|exclusiveMaximum|multipleOf|minLength"
    r"|maxLength|minItems|maxItems|uniqueItems|minProperties|maxProperties)"
)
_BOUNDS: Final = re.compile(rf"(?:^|(?<= ))({_BOUND}: \S.*)$")
_NEXT_BOUND: Final = re.compile(rf", (?={_BOUND}: )")
_TEXTUAL: Final = frozenset({"format", "pattern"})
_KEYS_MATCHING: Final = "keys matching "
_WORDS: Final[dict[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "array": {"type": "array"},
    "null": {"type": "null"},
    "true": {"const": True},
    "false": {"const": False},
    "any": {},
}


class OfferedTool(msgspec.Struct, frozen=True):
    """A tool as the prompt offers it. ``schema`` is None if its body is free text (``python``)."""

    recipient: str
    description: str
    schema: dict[str, Any] | None


def read_tools(section: str) -> list[OfferedTool]:
    """The tools of a ``# Tools`` section, from behind its heading."""
    tools: list[OfferedTool] = []
    parts = _SECTION.split(section)
    for namespace, text in zip(parts[1::2], parts[2::2], strict=True):
        body = _BODY.search(text)
        if body is None:
            tools.append(OfferedTool(namespace, text.strip(), None))
            continue
        inside = body.group(1)
        done = 0
        for found in _TOOL.finditer(inside):
            above = inside[done : found.start()].rpartition("\n\n")[2]
            done = found.end()
            comments = above.splitlines()
            description = "\n".join([line[3:] for line in comments])
            schema: dict[str, Any] = {"type": "object"}
            if found.group(2) != ")":
                schema = read_type(inside, found.end()) or schema
            recipient = f"{namespace}.{found.group(1)}"
            free = schema.get("type") == "string"
            tools.append(OfferedTool(recipient, description, None if free else schema))
    return tools


def read_type(text: str, at: int = 0) -> dict[str, Any]:
    """The JSON Schema of the type at ``at`` in ``text``; an empty one if it cannot be read."""
    reader = _Reader(text, at)
    try:
        schema = reader.type(0)
    except _UnreadableError:
        return {}
    return {**schema, "$defs": reader.named} if reader.named else schema


class _UnreadableError(Exception):
    """The text is no type of ours."""


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self.named: dict[str, dict[str, Any]] = {}
        self._text = text
        self._at = at
        self._notes: list[str] = []
        self._label: str | None = None
        self._kind = ""
        self._word = ""
        self._advance()

    def _advance(self) -> None:
        """Go to the next token; comments on the way become notes and labels."""
        while True:
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                self._kind = self._word = ""
                return
            self._at = found.end()
            kind = found.lastgroup or "comment"
            if kind == "comment":
                self._notes.append(found.group("comment"))
            elif kind == "label":
                self._label = found.group("label")
            elif kind != "space":
                self._kind, self._word = kind, found.group()
                return

    def _take(self, word: str) -> bool:
        if self._word != word or self._kind == "string":
            return False
        self._advance()
        return True

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise _UnreadableError

    def type(self, depth: int) -> dict[str, Any]:
        """A choice of intersections."""
        if depth > MAX_DEPTH:
            raise _UnreadableError
        label, self._label = self._label, None
        self._take("|")
        options = [self._intersection(depth)]
        while True:
            notes, self._notes = self._notes, []
            options[-1] = {**options[-1], **_bounds(notes)}
            if not self._take("|"):
                break
            options.append(self._intersection(depth))
        self._notes = notes
        schema = options[0] if len(options) == 1 else _choice(options)
        if label:
            self.named[label] = schema
            return {"$ref": f"#/$defs/{label}"}
        return schema

    def _intersection(self, depth: int) -> dict[str, Any]:
        parts = [self._postfix(depth)]
        while self._take("&"):
            parts.append(self._postfix(depth))
        return parts[0] if len(parts) == 1 else {"allOf": parts}

    def _postfix(self, depth: int) -> dict[str, Any]:
        label, self._label = self._label, None
        schema = self._atom(depth)
        if label:
            self.named[label] = schema
            schema = {"$ref": f"#/$defs/{label}"}
        while self._take("["):
            self._need("]")
            schema = {"type": "array", "items": schema}
        return schema

    def _atom(self, depth: int) -> dict[str, Any]:
        kind, word = self._kind, self._word
        if kind in ("string", "number"):
            self._advance()
            try:
                return {"const": msgspec.json.decode(word)}
            except msgspec.DecodeError:
                return {}
        if kind == "word":
            self._advance()
            if word == "Array":
                self._need("<")
                self._need("any")
                self._need(">")
                return {"type": "array"}
            known = _WORDS.get(word)
            return {"$ref": f"#/$defs/{word}"} if known is None else dict(known)
        if self._take("{"):
            return self._members(depth + 1)
        if self._take("["):
            return self._tuple(depth + 1)
        self._need("(")
        schema = self.type(depth + 1)
        self._need(")")
        return schema

    def _tuple(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"}
        first: list[dict[str, Any]] = []
        fewest = 0
        while not self._take("]"):
            if self._take("..."):
                schema["items"] = self.type(depth)["items"]
            else:
                first.append(self.type(depth))
                fewest += not self._take("?")
            if not self._take(","):
                self._need("]")
                break
        schema.setdefault("items", False)
        return {**schema, "prefixItems": first, "minItems": fewest}

    def _members(self, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        required: list[str] = []
        while True:
            notes, self._notes = self._notes, []
            if self._take("}"):
                break
            if self._take("["):  # an index signature
                for word in ("key", ":", "string", "]", ":"):
                    self._need(word)
                value = self.type(depth)
                patterns = [n for n in notes if n.startswith(_KEYS_MATCHING)]
                if patterns:
                    pattern = patterns[-1].removeprefix(_KEYS_MATCHING)
                    schema.setdefault("patternProperties", {})[pattern] = value
                else:
                    schema["additionalProperties"] = value
            else:
                name = self._name()
                optional = self._take("?")
                self._need(":")
                value = self.type(depth)
                described = [note for note in notes if not _BOUNDS.match(note)]
                if described:
                    value = {**value, "description": "\n".join(described)}
                properties[name] = {**value, **_bounds(notes)}
                if not optional:
                    required.append(name)
            self._take(",")
        if required:
            schema["required"] = required
        return schema

    def _name(self) -> str:
        kind, word = self._kind, self._word
        if kind not in ("word", "string"):
            raise _UnreadableError
        self._advance()
        return msgspec.json.decode(word, type=str) if kind == "string" else word


def _choice(options: list[dict[str, Any]]) -> dict[str, Any]:
    if all(option.keys() == {"const"} for option in options):
        return {"enum": [option["const"] for option in options]}
    return {"anyOf": options}


def _bounds(notes: list[str]) -> dict[str, Any]:
    """The limits that comments state: ``minLength: 2, maxLength: 9``."""
    bounds: dict[str, Any] = {}
    for note in notes:
        found = _BOUNDS.search(note)
        for item in _NEXT_BOUND.split(found.group(1)) if found else ():
            key, _, value = item.partition(": ")
            try:
                bounds[key] = value if key in _TEXTUAL else msgspec.json.decode(value)
            except msgspec.DecodeError:
                continue
    return bounds
