"""``response_format`` → what the answer must be, and what the prompt says of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import MAX_NAME_CHARS, decode_field
from antiphon.api.chat.wire import ResponseFormatParameter
from antiphon.api.turn import StructuredOutput
from antiphon.codec.grammar.limits import check_schema
from antiphon.errors import MessageError, SchemaError
from antiphon.model.content import ResponseFormat

__all__ = ["JSON_INSTRUCTION", "Output", "read_output"]

JSON_INSTRUCTION: Final = "Answer with one JSON object and nothing else."
"""What ``json_object`` adds to the instructions."""
MAX_KNOWN_BYTES: Final = 1 << 17
KNOWN_OUTPUTS: Final = 64
"""So many formats of at most so many bytes are kept: agents repeat theirs."""

_FORMAT: Final = msgspec.json.Decoder(ResponseFormatParameter | None)
_NAME: Final = re.compile(rf"[\w.\-]{{1,{MAX_NAME_CHARS}}}\Z")


class Output(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What the answer must be. Equal only to itself."""

    structured: StructuredOutput | None = None
    formats: tuple[ResponseFormat, ...] = ()
    """For the developer message."""
    instruction: str = ""
    size: int = 0
    """Bytes of JSON that it was read from."""


_TEXT: Final = Output()
_OBJECT: Final = Output(
    structured=StructuredOutput(schema={"type": "object"}), instruction=JSON_INSTRUCTION
)


def read_output(raw: bytes) -> Output:
    """Raises MessageError naming what is wrong."""
    return (_known if len(raw) <= MAX_KNOWN_BYTES else _read)(raw)


def _read(raw: bytes) -> Output:
    wanted = decode_field(_FORMAT, raw, "response_format")
    if wanted is None or wanted.type == "text":
        return _TEXT
    if wanted.type == "json_object":
        return _OBJECT
    if wanted.type != "json_schema":
        raise _wrong("type", f"expected text, json_object or json_schema, got {wanted.type[:60]!r}")
    given = wanted.json_schema
    if given is None:
        raise _wrong("json_schema", "is missing")
    if not _NAME.match(given.name):
        raise _wrong(
            "json_schema.name",
            f"{given.name[:60]!r} is not a name (letters, digits, '_', '.', '-', at most"
            f" {MAX_NAME_CHARS} characters)",
        )
    schema: dict[str, Any] = given.schema or {}
    field = "response_format.json_schema.schema"
    try:
        check_schema(schema, field)
    except SchemaError as error:
        raise MessageError(str(error), field=field) from error
    return Output(
        structured=StructuredOutput(schema=schema, name=given.name, strict=bool(given.strict)),
        formats=(ResponseFormat(name=given.name, schema=schema, description=given.description),),
        size=len(raw),
    )


_known = lru_cache(maxsize=KNOWN_OUTPUTS)(_read)


def _wrong(field: str, what: str) -> MessageError:
    field = f"response_format.{field}"
    return MessageError(f"{field}: {what}", field=field)
