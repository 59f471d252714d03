"""An engine's refusal, in whatever shape it comes → EngineError with the status it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.errors import EngineError

__all__ = ["engine_error", "message_of", "refusal"]

_CALLERS: Final = frozenset({400, 413, 422})
"""Statuses that say the request cannot be served as it is."""
_KEPT: Final = frozenset({429, 503})
_CALLERS_WORDS: Final = (
    "context length",
    "context size",
    "context window",
    "exceeds the available",
    "prompt is too long",
    "parse grammar",
    "invalid grammar",
)
"""What engines say of a prompt that is too long or a bad grammar though they answer 500."""
_MAX_MESSAGE: Final = 500
_MAX_RETRY_AFTER: Final = 3600.0


def refusal(name: str, status: int, body: bytes, headers: Mapping[str, str]) -> EngineError:
    """The error for an answer other than 200. ``headers`` by names in lower case, or any case."""
    message = message_of(body)
    hint = ""
    if status in (401, 403):
        hint = " (is the engine's api_key right?)"
    error = engine_error(
        f"{name} refused the request with status {status}: {message}{hint}", status
    )
    if error.status_hint in _KEPT:
        error.retry_after = _seconds(headers.get("retry-after"))
    return error


def engine_error(message: str, status: int) -> EngineError:
    """An error with the status a client should see for the engine's ``status``."""
    error = EngineError(message)
    lowered = message.lower()
    if status in _CALLERS or (status == 500 and any(word in lowered for word in _CALLERS_WORDS)):
        error.status_hint = 400
    elif status in _KEPT:
        error.status_hint = status
    return error


def message_of(body: bytes) -> str:
    """What an error's body says: OpenAI's shape, FastAPI's, Ollama's, or any text."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body[:_MAX_MESSAGE].decode("utf-8", "replace").strip()
        return text[:200] or "no message"
    return message_in(value)


def message_in(value: Any) -> str:
    """The message in a decoded error."""
    for _ in range(3):
        if not isinstance(value, dict):
            break
        value = next(
            (value[key] for key in ("error", "message", "detail") if value.get(key)), "no message"
        )
    if isinstance(value, str):
        return value.strip()[:_MAX_MESSAGE] or "no message"
    return msgspec.json.encode(value)[:_MAX_MESSAGE].decode("utf-8", "replace")


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None  # The header may also hold a date; engines send none.
    return min(seconds, _MAX_RETRY_AFTER) if seconds >= 0 else None
