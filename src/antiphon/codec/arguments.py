"""The arguments of a tool call: valid, repaired with a diagnostic, or raw; never lost.

Recovery rule R7 (docs/recovery.md, rows 68 to 75). Valid JSON is never touched. What is not valid
is read leniently, and every change is named, so that a caller may refuse what it does not trust.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from antiphon.codec.argument_codes import Repair
from antiphon.codec.argument_repair import MAX_DEPTH, rewrite

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Arguments", "ArgumentsKind", "Repair", "parse_arguments"]

MAX_VALUES: Final = 64
"""Most JSON objects read from one body, as in ``{"a":1}{"b":2}``; the rest counts as text."""


class ArgumentsKind(StrEnum):
    """How far the text was from being a JSON object."""

    VALID = "valid"
    REPAIRED = "repaired"
    RAW = "raw"


class Arguments(msgspec.Struct, frozen=True):
    """What the body of a tool call means.

    ``json`` is what to hand to a client: the text itself if it is valid, repaired JSON, or, when
    nothing could be made of it, the raw text. ``value`` is the same as a dict, None if raw.
    ``more`` holds the further objects of a body such as ``{"a":1}{"b":2}``, each of them a call of
    its own perhaps. ``text`` is always the whole body as the model wrote it.
    """

    kind: ArgumentsKind
    text: str
    json: str
    value: dict[str, Any] | None
    repairs: tuple[Repair, ...] = ()
    more: tuple[Arguments, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the text ends inside the object: the arguments are partial."""
        return Repair.UNCLOSED_BRACKET in self.repairs or Repair.UNCLOSED_STRING in self.repairs


def parse_arguments(text: str, *, schema: Mapping[str, Any] | None = None) -> Arguments:
    """Read the body of a tool call. Never raises; linear in the length of the text.

    ``schema`` is the tool's parameter schema, if known. It decides what empty text means and into
    which parameter text that is no JSON goes: the only string the tool wants. The arguments are not
    validated against it.
    """
    start = _skip(text)
    opening = text[start : start + 1]
    if not opening or text[start:].rstrip() == "null":
        return _empty(text, schema)
    if opening in "{[":
        if _too_deep(text, start):
            return _raw(text, Repair.TOO_DEEP)
        value, end = _strictly(text, start)
        if isinstance(value, dict) and _skip(text, end) == len(text):
            return Arguments(ArgumentsKind.VALID, text, text, value)
        found = _structured(text, start, value, end)
    else:
        found = _unwrapped(text, start, schema)
    return found or _wrapped(text, schema) or _raw(text, _reason(text, start))


_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_FENCE: Final = re.compile(r"```[\w+.\-]{0,32}[ \t]*\r?\n?")
_CLOSERS: Final = re.compile(r"[\s\]})`;,\"']*\Z")
_LOOKS_LIKE_JSON: Final = re.compile(r"[\[\s]*\{\s*[\"'“}]")
_OUTSIDE: Final = re.compile(
    r"[^\"{}\[\]]+|\"(?:[^\"\\]++|\\.)*+(?:\"|\Z|\\\Z)|[{}\[\]]", re.DOTALL
)


def _skip(text: str, at: int = 0) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _too_deep(text: str, start: int) -> bool:
    """Whether brackets outside strings nest beyond MAX_DEPTH."""
    if text.count("{", start) + text.count("[", start) <= MAX_DEPTH:
        return False
    depth = 0
    for found in _OUTSIDE.finditer(text, start):
        char = found.group()
        if char in ("{", "["):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif char in ("}", "]"):
            depth -= 1
    return False


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # beyond the interpreter's limit on digits
        return float(digits)


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
_LONG_INTEGERS: Final = json.JSONDecoder(parse_constant=_no_number, parse_int=_integer)


def _strictly(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at ``start`` and its end, or (None, -1)."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        return None, -1
    except RecursionError:
        return None, -1
    except ValueError:
        pass
    try:
        return _LONG_INTEGERS.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, -1


def _reason(text: str, start: int) -> Repair:
    """Why the text is no arguments: JSON of another type, or no JSON."""
    _, end = _strictly(text, start)
    whole = end >= 0 and _skip(text, end) == len(text)
    return Repair.NOT_AN_OBJECT if whole else Repair.NOT_JSON


def _raw(text: str, *repairs: Repair) -> Arguments:
    return Arguments(ArgumentsKind.RAW, text, text, None, repairs)


def _empty(text: str, schema: Mapping[str, Any] | None) -> Arguments:
    if schema is not None and schema.get("required"):
        return _raw(text, Repair.EMPTY)
    return Arguments(ArgumentsKind.REPAIRED, text, "{}", {}, (Repair.EMPTY,))


def _structured(text: str, start: int, value: Any, end: int) -> Arguments | None:
    """Arguments of text that begins with a bracket; ``value`` is what strict reading found."""
    repairs: tuple[Repair, ...] = ()
    written = text[start:end]
    if end < 0:
        rewritten = rewrite(text, start)
        if isinstance(rewritten, Repair):
            return _raw(text, rewritten) if rewritten is Repair.TOO_DEEP else None
        written, end, repairs = rewritten
        value, stop = _strictly(written, 0)
        if stop != len(written):
            return None
    if isinstance(value, list):
        return _list(text, value, end, repairs)
    if not isinstance(value, dict):
        return None
    more, end = _further(text, end)
    if more:
        repairs += (Repair.SEVERAL_VALUES,)
    if _skip(text, end) < len(text):
        repairs += (Repair.TRAILING_TEXT,)
    return Arguments(ArgumentsKind.REPAIRED, text, written, value, repairs, more)


def _list(text: str, value: list[Any], end: int, repairs: tuple[Repair, ...]) -> Arguments | None:
    """``[{"a":1},{"b":2}]``: a list of arguments where one object was wanted."""
    if not value or len(value) > MAX_VALUES or not all(isinstance(item, dict) for item in value):
        return None
    if _CLOSERS.match(text, end) is None:
        return None
    try:
        written = [_dump(item) for item in value]
    except ValueError:  # a number beyond every float, which JSON text can hold and a value cannot
        return None
    first, *rest = [
        Arguments(ArgumentsKind.REPAIRED, json_text, json_text, item, (Repair.LIST_OF_OBJECTS,))
        for json_text, item in zip(written, value, strict=True)
    ]
    repairs += (Repair.LIST_OF_OBJECTS,)
    if _skip(text, end) < len(text):
        repairs += (Repair.TRAILING_TEXT,)
    return msgspec.structs.replace(first, text=text, repairs=repairs, more=tuple(rest))


def _dump(value: Any) -> str:
    """Compact JSON text that UTF-8 can carry. Raises ValueError for an infinite number."""
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if _SURROGATE.search(written):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return written


def _further(text: str, end: int) -> tuple[tuple[Arguments, ...], int]:
    """The valid, non-empty objects that follow the first one, and where they end."""
    more: list[Arguments] = []
    while len(more) < MAX_VALUES - 1:
        start = _skip(text, end)
        if text[start : start + 1] in (",", ";"):
            start = _skip(text, start + 1)
        if text[start : start + 1] != "{":
            break
        value, stop = _strictly(text, start)
        if stop < 0 or not value:
            break
        written = text[start:stop]
        more.append(Arguments(ArgumentsKind.VALID, written, written, value))
        end = stop
    return tuple(more), end


def _unwrapped(text: str, start: int, schema: Mapping[str, Any] | None) -> Arguments | None:
    """An object inside a code fence, inside a JSON string, or behind a word or a sentence."""
    if fence := _FENCE.match(text, start):
        body = text[fence.end() :]
        close = body.rfind("```")
        body = body[:close] if close >= 0 else body
        at = _skip(body)
        if body[at : at + 1] in ("{", "["):
            return _inside(text, body.strip(), Repair.CODE_FENCE)
        return _wrapped(text, schema, body.removesuffix("\n"), Repair.CODE_FENCE)
    if text[start] == '"':
        value, end = _strictly(text, start)
        if not isinstance(value, str) or _CLOSERS.match(text, end) is None:
            return None
        at = _skip(value)
        if value[at : at + 1] == "{":
            inner = _inside(text, value, Repair.DOUBLE_ENCODED)
            if inner and inner.value is not None and _fits(inner.value, schema):
                return inner
        return _wrapped(text, schema, value)
    return _after_text(text, start, schema)


def _inside(text: str, body: str, repair: Repair) -> Arguments | None:
    """Arguments found in a part of the text."""
    start = _skip(body)
    if _too_deep(body, start):
        return _raw(text, repair, Repair.TOO_DEEP)
    value, end = _strictly(body, start)
    if isinstance(value, dict) and _skip(body, end) == len(body):
        return Arguments(ArgumentsKind.REPAIRED, text, body, value, (repair,))
    found = _structured(body, start, value, end)
    if found is None:
        return None
    return msgspec.structs.replace(found, text=text, repairs=(repair, *found.repairs))


def _after_text(text: str, start: int, schema: Mapping[str, Any] | None) -> Arguments | None:
    """``json{"a":1}`` or ``Here it is: {"a":1}``: the object is all that follows the words."""
    brace = text.find("{", start)
    if brace < 0 or _too_deep(text, brace):
        return None
    value, end = _strictly(text, brace)
    if not isinstance(value, dict) or _CLOSERS.match(text, end) is None:
        return None
    if not value or not _fits(value, schema):
        return None
    repairs: tuple[Repair, ...] = (Repair.LEADING_TEXT,)
    if _skip(text, end) < len(text):
        repairs += (Repair.TRAILING_TEXT,)
    return Arguments(ArgumentsKind.REPAIRED, text, text[brace:end], value, repairs)


def _fits(value: Mapping[str, Any], schema: Mapping[str, Any] | None) -> bool:
    """Whether the object can be meant as this tool's arguments: it names one of its parameters."""
    properties = schema.get("properties") if schema is not None else None
    if not isinstance(properties, Mapping) or not properties or not value:
        return True
    return any(key in properties for key in value)


def _wrapped(
    text: str, schema: Mapping[str, Any] | None, body: str | None = None, *repairs: Repair
) -> Arguments | None:
    """Shell or Python text as the value of the only string parameter the tool wants."""
    name = _string_parameter(schema)
    content = text if body is None else body
    if name is None or _LOOKS_LIKE_JSON.match(content):
        return None
    value = {name: content}
    return Arguments(
        ArgumentsKind.REPAIRED, text, _dump(value), value, (*repairs, Repair.WRAPPED_TEXT)
    )


def _string_parameter(schema: Mapping[str, Any] | None) -> str | None:
    """The one required string, or the one string of a tool that requires nothing."""
    if schema is None:
        return None
    properties = schema.get("properties")
    required = schema.get("required") or ()
    if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
        return None
    names = required or [name for name, of in properties.items() if _is_string(of)]
    if len(names) == 1 and isinstance(names[0], str) and _is_string(properties.get(names[0])):
        return names[0]
    return None


def _is_string(schema: object) -> bool:
    """Whether the schema takes any string."""
    if not isinstance(schema, Mapping) or "enum" in schema or "const" in schema:
        return False
    kind = schema.get("type")
    if isinstance(kind, list):
        return "string" in kind and set(kind) <= {"string", "null"}
    return kind == "string"
