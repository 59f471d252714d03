"""A matcher of structural tags on marked text, for the formats that our tags are made of.

It follows xgrammar's documentation of each format. Control tokens are their names, as they are for
xgrammar, and JSON content is one value that a JSON Schema validator accepts.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema

__all__ = ["FORMATS", "takes"]

FORMATS = {
    "any_text": {"excludes"},
    "const_string": {"value"},
    "json_schema": {"json_schema"},
    "or": {"elements"},
    "sequence": {"elements"},
    "star": {"content"},
    "tag": {"begin", "content", "end"},
    "tags_with_separator": {"tags", "separator", "at_least_one", "stop_after_first"},
}
"""The fields of each format, all of which we write."""

_DECODER = json.JSONDecoder()


def takes(tag: dict[str, Any], text: str) -> bool:
    """Whether the whole text is one that the tag allows."""
    return len(text) in _ends(tag["format"], text, 0)


def _ends(form: dict[str, Any], text: str, at: int) -> set[int]:
    assert set(form) - {"type"} == FORMATS[form["type"]], form
    match form["type"]:
        case "const_string":
            return _after(form["value"], text, at)
        case "or":
            return set().union(*[_ends(one, text, at) for one in form["elements"]])
        case "sequence":
            ends = {at}
            for one in form["elements"]:
                ends = set().union(*[_ends(one, text, end) for end in ends])
            return ends
        case "star":
            return _repeated(text, {at}, lambda end: _ends(form["content"], text, end))
        case "tag":
            closing = form["end"] if isinstance(form["end"], list) else [form["end"]]
            inside = [
                end
                for start in _after(form["begin"], text, at)
                for end in _ends(form["content"], text, start)
            ]
            return set().union(*[_after(close, text, end) for end in inside for close in closing])
        case "any_text":
            stops = [
                text.find(word, at) + len(word) - 1
                for word in form["excludes"]
                if word in text[at:]
            ]
            return set(range(at, min([*stops, len(text)]) + 1))
        case "json_schema":
            try:
                value, end = _DECODER.raw_decode(text, at)
            except ValueError:
                return set()
            return (
                {end}
                if jsonschema.Draft202012Validator(form["json_schema"]).is_valid(value)
                else set()
            )
        case _:
            return _separated(form, text, at)


def _after(word: str, text: str, at: int) -> set[int]:
    return {at + len(word)} if text.startswith(word, at) else set()


def _repeated(text: str, ends: set[int], step: Any) -> set[int]:
    out = set(ends)
    while ends:
        ends = set().union(*[step(end) for end in ends]) - out
        out |= ends
    return out


def _separated(form: dict[str, Any], text: str, at: int) -> set[int]:
    def one(end: int) -> set[int]:
        return set().union(*[_ends(tag, text, end) for tag in form["tags"]])

    def more(end: int) -> set[int]:
        return set().union(*[one(start) for start in _after(form["separator"], text, end)])

    first = one(at)
    ends = first if form["stop_after_first"] else _repeated(text, first, more)
    return ends if form["at_least_one"] else ends | {at}
