"""What a request's entries for one kind of tool ask for; several must ask for the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from antiphon.api.errors import ApiError, as_api_error
from antiphon.errors import MessageError
from antiphon.gateway.servertools.protocol import NamedTool

__all__ = ["read_alike"]

Options = TypeVar("Options")


def read_alike(
    named: Sequence[NamedTool], read: Callable[[Mapping[str, Any], str], Options], another: str
) -> Options:
    """What ``read`` makes of the entries. Raises ApiError 400: one that it raises MessageError for,
    or that differs from the first; ``another`` says then what is not possible.
    """
    try:
        options = [read(tool.fields, tool.where) for tool in named]
    except MessageError as error:
        raise as_api_error(error) from error
    if any(other != options[0] for other in options[1:]):
        where = named[1].where
        raise ApiError(
            f"{where}: {another} is not possible",
            param=where,
            code="invalid_value",
        )
    return options[0]
