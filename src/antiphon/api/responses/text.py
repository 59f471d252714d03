"""``text`` of a Responses request: the form of the answer, and how much of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.output import JSON_OBJECT, TEXT, Output, schema_output
from antiphon.api.responses.wire import TextFormat
from antiphon.errors import MessageError

__all__ = ["read_format"]

MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_FORMATS: Final = 64
"""So many formats of at most so many bytes are kept: agents repeat theirs."""

_FORMAT: Final = msgspec.json.Decoder(TextFormat | None)


def read_format(raw: bytes) -> tuple[Output, dict[str, Any]]:
    """``text.format`` as asked for and as a response repeats it. Raises MessageError."""
    return (_known if len(raw) <= MAX_KNOWN_BYTES else _read)(raw)


def _read(raw: bytes) -> tuple[Output, dict[str, Any]]:
    wanted = decode_field(_FORMAT, raw, "text.format")
    if wanted is None or wanted.type == "text":
        return TEXT, {"type": "text"}
    if wanted.type == "json_object":
        return JSON_OBJECT, {"type": "json_object"}
    field = "text.format"
    if wanted.type != "json_schema":
        raise MessageError(
            f"{field}.type: expected text, json_object or json_schema, got {wanted.type[:60]!r}",
            field=f"{field}.type",
        )
    for name in ("name", "schema"):
        if getattr(wanted, name) is None:
            raise MessageError(f"{field}.{name}: is missing", field=f"{field}.{name}")
    assert wanted.name is not None
    output = schema_output(
        name=wanted.name,
        schema=wanted.schema,
        description=wanted.description,
        strict=wanted.strict,
        size=len(raw),
        field=field,
    )
    echo = {
        "type": "json_schema",
        "name": wanted.name,
        "schema": wanted.schema,
        "strict": bool(wanted.strict),
    }
    if wanted.description is not None:
        echo["description"] = wanted.description
    return output, echo


_known = lru_cache(maxsize=KNOWN_FORMATS)(_read)
