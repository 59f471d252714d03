"""Whether a whole call keeps to what its tool is bound to: a schema, or a custom tool's grammar."""

from __future__ import annotations

import asyncio

from antiphon.api.errors import ApiError
from antiphon.errors import SchemaError
from antiphon.turn.grammar_check import grammar_checker
from antiphon.turn.record import BoundCall
from antiphon.turn.validation import misfit

__all__ = ["call_misfit"]


async def call_misfit(call: BoundCall) -> str | None:
    """Why it does not, None if it does.

    Raises ApiError 502 for an input of which that cannot be told, because its grammar takes too
    long.
    """
    tool = call.tool
    if tool.grammar is not None:
        try:
            return await grammar_checker().misfit(tool.grammar, call.text)
        except SchemaError as error:
            raise ApiError(
                f"the input of {tool.name} could not be checked against its grammar: {error}",
                status=502,
                type="engine_error",
                param=tool.grammar.field,
                code="structured_output_failed",
            ) from error
    if call.arguments is None or tool.schema is None:
        return None
    if call.arguments.value is None:
        return "not a JSON object"
    return await asyncio.to_thread(misfit, tool.schema, call.arguments.value)
