"""What can be known to be wrong with a request before the model is asked: schemas and grammars.

The gateway checks each request before it answers anything, so that a stream, too, is refused with a
status; a turn checks for those who call it directly. What was found is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from antiphon.api.errors import ApiError
from antiphon.api.turn import TurnRequest
from antiphon.errors import SchemaError
from antiphon.turn.grammar_check import grammar_checker
from antiphon.turn.validation import check_usable

__all__ = ["check_request"]


async def check_request(request: TurnRequest) -> None:
    """Raise ApiError 400, naming the field, for a schema that nothing can satisfy or that cannot be
    used, and for a grammar that cannot be used. Client's schemas are looked at in a thread.
    """
    if request.output is not None or request.strict_tools:
        await asyncio.to_thread(_check_schemas, request)
    for grammar in request.input_grammars.values():
        try:
            await grammar_checker().check(grammar)
        except SchemaError as error:
            raise ApiError(
                f"{grammar.field}: {error}", param=grammar.field, code="invalid_grammar"
            ) from error


def _check_schemas(request: TurnRequest) -> None:
    output = request.output
    if output is not None:
        _check(output.schema, output.field, object_only=False)
    for key, namespace in request.tools.items():
        for tool in namespace.tools:
            recipient = f"{key}.{tool.name}"
            if recipient in request.strict_tools and tool.parameters is not None:
                field = request.schema_fields.get(recipient, "tools")
                _check(tool.parameters, field, object_only=True)


def _check(schema: Mapping[str, Any], field: str, *, object_only: bool) -> None:
    try:
        check_usable(schema, field, object_only=object_only)
    except SchemaError as error:
        raise ApiError(str(error), param=field, code="invalid_json_schema") from error
