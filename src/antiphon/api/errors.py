"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from antiphon.errors import (
    AntiphonError,
    EngineError,
    MessageError,
    RenderError,
    SchemaError,
    StoreError,
)

__all__ = ["ApiError", "ErrorType", "as_api_error"]

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "server_error",
    "engine_error",
]

MAX_MESSAGE_CHARS: Final = 2_000
MAX_PARAM_CHARS: Final = 300
"""What was wrong is quoted in errors; a request of megabytes is not sent back in one."""

_ENCODE: Final = msgspec.json.Encoder().encode
_MISSING: Final = re.compile(r"Object missing required field `([^`]+)`\Z")
_GOT: Final = re.compile(r"Expected `[^`]+`, got `")


class ApiError(AntiphonError):
    """An answer that is an error. ``param`` is the request's field, ``code`` stable and for
    programs, ``retry_after`` in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: ErrorType = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(_cut(message, MAX_MESSAGE_CHARS))
        self.status_hint = status
        self.type: Final = type
        self.param: Final = None if param is None else _cut(param, MAX_PARAM_CHARS)
        self.code: Final = code
        self.retry_after: Final = retry_after
        self.headers: Final = dict(headers or {})

    @property
    def status(self) -> int:
        return self.status_hint

    def body(self) -> bytes:
        """The JSON of the answer, also the data of an SSE ``error`` event."""
        return _ENCODE(
            {
                "error": {
                    "message": str(self),
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


def as_api_error(error: AntiphonError) -> ApiError:
    """The same error for a client: what it did wrong, or that the engine failed."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, MessageError):
        return _invalid(str(error), error.field)
    if isinstance(error, SchemaError | RenderError):
        return ApiError(
            str(error), code="invalid_schema" if isinstance(error, SchemaError) else None
        )
    if isinstance(error, EngineError):
        status = error.status_hint if error.status_hint in (400, 429, 503, 504) else 502
        type_: ErrorType = "invalid_request_error" if status == 400 else "engine_error"
        return ApiError(
            str(error),
            status=status,
            type=type_,
            code="engine_error",
            retry_after=error.retry_after,
        )
    if isinstance(error, StoreError):
        full = error.status_hint == 507
        return ApiError(
            "The server's store is full." if full else "The server's store cannot be used now.",
            status=error.status_hint,
            type="server_error",
            code="store_unavailable",
        )
    return ApiError(str(error), status=500, type="server_error")


def _cut(text: str, chars: int) -> str:
    """Its beginning and its end, where it is longer."""
    half = chars // 2
    return text if len(text) <= chars else f"{text[:half]} … {text[-half:]}"


def _invalid(message: str, field: str | None) -> ApiError:
    """A value that is wrong, with the code OpenAI has for it."""
    missing = _MISSING.search(message)
    if missing is not None:
        field = f"{field}.{missing[1]}" if field else missing[1]
        message = f"{field}: is missing"
    if field is None and message.startswith("not valid JSON"):
        code = "invalid_json"
    elif message.endswith(": is missing"):
        code = "missing_required_parameter"
    elif _GOT.search(message):
        code = "invalid_type"
    else:
        code = "invalid_value"
    return ApiError(message, param=field, code=code)
