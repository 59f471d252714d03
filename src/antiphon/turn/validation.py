"""Whether JSON fits a client's schema. The schema and its patterns are hostile.

`jsonschema-rs` with the regex engine that is linear in the text, and no reference followed out of
the document. Call it off the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.codec.grammar.limits import check_schema
from antiphon.codec.grammar.satisfiable import satisfiable
from antiphon.errors import SchemaError

__all__ = ["MAX_REGEX_BYTES", "check_text", "check_usable", "misfit"]

MAX_REGEX_BYTES: Final = 2 * 1024 * 1024
"""Largest compiled pattern, and largest cache of one."""
_KNOWN: Final = 64
_MAX_KNOWN_BYTES: Final = 65_536
_MAX_DETAIL: Final = 300
_MAX_WHOLE: Final = 2.0**53


def check_usable(schema: Mapping[str, Any], where: str, *, object_only: bool = False) -> None:
    """Raise SchemaError, naming ``where``, if no validator can be made of the schema, or if no
    value satisfies it; with ``object_only``, no object.
    """
    data = msgspec.json.encode(check_schema(schema, where))
    known = len(data) <= _MAX_KNOWN_BYTES
    try:
        (_remembered if known else _made)(data)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from error
    if (_satisfied if known else _satisfiable)(data, object_only):
        return
    what = "object" if object_only else "value"
    raise SchemaError(f"{where}: no {what} satisfies the schema")


def misfit(schema: Mapping[str, Any], value: Any) -> str | None:
    """Why the value does not fit, in a few words; None if it does. Raises SchemaError.

    A number without a fraction is an integer, however it is written: before draft 6, ``1.0`` was
    none.
    """
    validator = _validator(schema, "schema")
    why = _misfit(validator, value)
    if why is not None and (whole := _whole(value)) is not value:
        why = _misfit(validator, whole)
    return why


def _misfit(validator: Any, value: Any) -> str | None:
    from jsonschema_rs import ValidationError

    try:
        validator.validate(value)
    except ValidationError as error:
        path = "/".join(map(str, error.instance_path))
        return f"{path[:100] or 'the value'}: {error.message}"[:_MAX_DETAIL]
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"cannot be checked: {error}"[:_MAX_DETAIL]) from error
    return None


def _whole(value: Any) -> Any:
    """The value with its whole numbers as integers; the very same if there is nothing to change."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _MAX_WHOLE else value
    if isinstance(value, list):
        items = [_whole(item) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        members = {key: _whole(item) for key, item in value.items()}
        return members if any(members[key] is not value[key] for key in value) else value
    return value


def check_text(schema: Mapping[str, Any], text: str) -> str | None:
    """Why the JSON text does not fit the schema, None if it does. Raises SchemaError."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return f"not JSON: {error}"[:_MAX_DETAIL]
    return misfit(schema, value)


def _validator(schema: Mapping[str, Any], where: str) -> Any:
    plain = check_schema(schema, where)
    data = msgspec.json.encode(plain)
    return (_remembered if len(data) <= _MAX_KNOWN_BYTES else _made)(data)


def _made(data: bytes) -> Any:
    from jsonschema_rs import ReferencingError, RegexOptions, ValidationError, validator_for

    try:
        return validator_for(
            msgspec.json.decode(data),
            validate_formats=False,
            retriever=_refused,
            pattern_options=RegexOptions(
                size_limit=MAX_REGEX_BYTES, dfa_size_limit=MAX_REGEX_BYTES
            ),
        )
    except (ValidationError, ReferencingError, ValueError, RecursionError) as error:
        message = getattr(error, "message", None) or str(error)
        raise SchemaError(f"the schema cannot be used: {message}"[:_MAX_DETAIL]) from error


_remembered = lru_cache(maxsize=_KNOWN)(_made)


def _satisfiable(data: bytes, object_only: bool) -> bool:
    return satisfiable(msgspec.json.decode(data), object_only=object_only)


_satisfied = lru_cache(maxsize=2 * _KNOWN)(_satisfiable)


def _refused(uri: str) -> Any:
    raise ValueError(f"{uri[:100]!r} is not followed")
