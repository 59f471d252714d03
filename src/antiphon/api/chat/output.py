"""``response_format`` → what the answer must be, and what the prompt says of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.chat.wire import ResponseFormatParameter
from antiphon.api.output import JSON_INSTRUCTION, JSON_OBJECT, TEXT, Output, schema_output
from antiphon.errors import MessageError

__all__ = ["JSON_INSTRUCTION", "Output", "read_output"]

MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_OUTPUTS: Final = 64
"""So many formats of at most so many bytes are kept: agents repeat theirs."""

_FORMAT: Final = msgspec.json.Decoder(ResponseFormatParameter | None)


def read_output(raw: bytes) -> Output:
    """Raises MessageError naming what is wrong."""
    return (_known if len(raw) <= MAX_KNOWN_BYTES else _read)(raw)


def _read(raw: bytes) -> Output:
    wanted = decode_field(_FORMAT, raw, "response_format")
    if wanted is None or wanted.type == "text":
        return TEXT
    if wanted.type == "json_object":
        return JSON_OBJECT
    if wanted.type != "json_schema":
        raise _wrong("type", f"expected text, json_object or json_schema, got {wanted.type[:60]!r}")
    given = wanted.json_schema
    if given is None:
        raise _wrong("json_schema", "is missing")
    return schema_output(
        name=given.name,
        schema=given.schema,
        description=given.description,
        strict=given.strict,
        size=len(raw),
        field="response_format.json_schema",
    )


_known = lru_cache(maxsize=KNOWN_OUTPUTS)(_read)


def _wrong(field: str, what: str) -> MessageError:
    field = f"response_format.{field}"
    return MessageError(f"{field}: {what}", field=field)
