"""What a structured answer must be, and what the prompt says of it, whatever API asked for it."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from antiphon.api.toolset import MAX_NAME_CHARS
from antiphon.api.turn import StructuredOutput
from antiphon.codec.grammar.limits import check_schema
from antiphon.errors import MessageError, SchemaError
from antiphon.model.content import ResponseFormat

__all__ = ["JSON_INSTRUCTION", "JSON_OBJECT", "TEXT", "Output", "schema_output"]

JSON_INSTRUCTION: Final = "Answer with one JSON object and nothing else."
"""What ``json_object`` adds to the instructions."""

_NAME: Final = re.compile(rf"[\w.\-]{{1,{MAX_NAME_CHARS}}}\Z")


class Output(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What the answer must be. Equal only to itself."""

    structured: StructuredOutput | None = None
    formats: tuple[ResponseFormat, ...] = ()
    """For the developer message."""
    instruction: str = ""
    size: int = 0
    """Bytes of JSON that it was read from."""


TEXT: Final = Output()
JSON_OBJECT: Final = Output(
    structured=StructuredOutput(schema={"type": "object"}), instruction=JSON_INSTRUCTION
)


def schema_output(
    *,
    name: str,
    schema: dict[str, Any] | None,
    description: str | None,
    strict: bool | None,
    size: int,
    field: str,
) -> Output:
    """An answer bound to a schema. Raises MessageError naming what is wrong below ``field``."""
    if not _NAME.match(name):
        raise MessageError(
            f"{field}.name: {name[:60]!r} is not a name (letters, digits, '_', '.', '-', at most"
            f" {MAX_NAME_CHARS} characters)",
            field=f"{field}.name",
        )
    schema = schema or {}
    try:
        check_schema(schema, f"{field}.schema")
    except SchemaError as error:
        raise MessageError(str(error), field=f"{field}.schema") from error
    return Output(
        structured=StructuredOutput(
            schema=schema, name=name, strict=bool(strict), field=f"{field}.schema"
        ),
        formats=(ResponseFormat(name=name, schema=schema, description=description),),
        size=size,
    )
