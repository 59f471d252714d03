"""What a JSON Schema really says at one place: ``$ref`` followed, trivial wrappers taken off.

Only references into the same document are followed (``#/$defs/Node``); nothing is ever fetched. A
reference to a definition that is being written already gives its name, so recursion ends.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

__all__ = ["References", "View"]

_MAX_STEPS: Final = 64
"""Longest chain of references and single-element wrappers followed at one place."""

_MAX_NAME_CHARS: Final = 64
_NOT_NAME: Final = re.compile(r"\W+")
_SHAPE: Final = frozenset(
    ("properties", "items", "prefixItems", "enum", "const", "anyOf", "oneOf", "allOf")
)


class View(NamedTuple):
    """One resolved place of a schema."""

    schema: object
    """Without ``$ref``; a dict, a bool, or whatever was there instead."""
    opened: tuple[str, ...] = ()
    """The references followed to get here."""
    name: str | None = None
    """Set if this is a definition that is being written around this very place."""
    inner: str | None = None
    """The description of what was referred to, where the reference has one of its own."""


class References:
    """Resolves places of one document, and knows which definitions are being written."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._open: dict[str, str] = {}
        self._named: set[str] = set()
        self._targets: dict[str, object] = {}

    def enter(self, view: View) -> None:
        """The definitions of ``view`` are being written from here on."""
        for ref in view.opened:
            self._open[ref] = self._name(ref)

    def leave(self, view: View) -> str | None:
        """They are done. Returns the name by which one of them was referred to, if any was."""
        name = None
        for ref in view.opened:
            opened = self._open.pop(ref)
            if ref in self._named:
                self._named.discard(ref)
                name = opened
        return name

    def resolve(self, schema: object) -> View:
        """Follow references; unwrap an ``allOf`` of one and an ``anyOf`` of one type or null.

        Keywords beside the reference or wrapper win over those inside.
        """
        opened: list[str] = []
        inner: str | None = None
        for _ in range(_MAX_STEPS):
            if not isinstance(schema, dict):
                return View(schema, tuple(opened), inner=inner)
            ref = schema.get("$ref")
            if isinstance(ref, str):
                beside = {k: v for k, v in schema.items() if k != "$ref"}
                if ref in self._open:
                    self._named.add(ref)
                    return View(beside, name=self._open[ref])
                if ref in opened:
                    return View(beside)
                opened.append(ref)
                target = self._target(ref)
                inner = inner or _hidden_description(target, beside)
                schema = {**target, **beside} if isinstance(target, dict) else beside or target
                continue
            unwrapped = _unwrapped(schema)
            if unwrapped is None:
                return View(schema, tuple(opened), inner=inner)
            schema = unwrapped
        return View({})

    def _name(self, ref: str) -> str:
        words = ref.rpartition("/")[2]
        if ref == "#":
            title = self._root.get("title") if isinstance(self._root, dict) else None
            words = title if isinstance(title, str) else "Parameters"
        name = _NOT_NAME.sub("_", words[:_MAX_NAME_CHARS]).strip("_")
        return name if name and not name[0].isdigit() else f"Type{name}"

    def _target(self, ref: str) -> object:
        if ref not in self._targets:
            self._targets[ref] = _follow(self._root, ref)
        return self._targets[ref]


def _hidden_description(target: object, beside: dict[str, Any]) -> str | None:
    own = target.get("description") if isinstance(target, dict) else None
    if isinstance(own, str) and beside.get("description") not in (None, own):
        return own
    return None


def _unwrapped(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema inside an ``allOf`` of one or an ``anyOf`` of one type or null."""
    parts = schema.get("allOf")
    if isinstance(parts, list | tuple) and len(parts) == 1:
        return _overlaid(schema, "allOf", parts[0])
    variants = schema.get("anyOf")
    if isinstance(variants, list | tuple) and len(variants) == 1:
        return _overlaid(schema, "anyOf", variants[0])
    if isinstance(variants, list | tuple) and len(variants) == 2:
        for null, other in (variants, reversed(variants)):
            if isinstance(null, dict) and null.get("type") == "null":
                inner = _overlaid(schema, "anyOf", other)
                return None if inner is None else {**inner, "nullable": True}
    return None


def _overlaid(schema: dict[str, Any], wrapper: str, inner: object) -> dict[str, Any] | None:
    beside = {k: v for k, v in schema.items() if k != wrapper}
    if not isinstance(inner, dict) or beside.keys() & _SHAPE:
        return None
    return {**inner, **beside}


def _follow(root: object, ref: str) -> object:
    """The value at a JSON Pointer fragment, or an empty schema if there is none."""
    if ref == "#":
        return root
    if not ref.startswith("#/"):
        return {}
    if "%" in ref:
        from urllib.parse import unquote

        ref = unquote(ref)
    at = root
    for escaped in ref[2:].split("/"):
        step = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list | tuple) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return {}
    return at
