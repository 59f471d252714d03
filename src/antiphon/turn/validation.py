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
from antiphon.errors import SchemaError

__all__ = ["MAX_REGEX_BYTES", "check_text", "check_usable", "misfit"]

MAX_REGEX_BYTES: Final = 2 * 1024 * 1024
"""Largest compiled pattern, and largest cache of one."""
_KNOWN: Final = 64
_MAX_KNOWN_BYTES: Final = 65_536
_MAX_DETAIL: Final = 300


def check_usable(schema: Mapping[str, Any], where: str) -> None:
    """Raise SchemaError, naming ``where``, if no validator can be made of the schema."""
    try:
        _validator(schema, where)
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}") from error


def misfit(schema: Mapping[str, Any], value: Any) -> str | None:
    """Why the value does not fit, in a few words; None if it does. Raises SchemaError."""
    from jsonschema_rs import ValidationError

    validator = _validator(schema, "schema")
    try:
        validator.validate(value)
    except ValidationError as error:
        path = "/".join(map(str, error.instance_path))
        return f"{path[:100] or 'the value'}: {error.message}"[:_MAX_DETAIL]
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"cannot be checked: {error}"[:_MAX_DETAIL]) from error
    return None


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


def _refused(uri: str) -> Any:
    raise ValueError(f"{uri[:100]!r} is not followed")
