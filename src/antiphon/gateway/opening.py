"""What of a Chat request is read before it is decided who serves it, and how.

The body is decoded for good only when a prompt is made of it; a request that passes through is not
touched at all.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError

__all__ = ["Opening", "given_text", "read_opening"]


class _Fields(msgspec.Struct):
    model: Any = None
    stream: Any = None
    prompt_cache_key: Any = None


class _Head(msgspec.Struct):
    messages: list[msgspec.Raw] = []


class _Turn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Which model, and which conversation."""

    model: str
    stream: bool
    conversation: str
    """The same for every request of one conversation, as far as can be told: a digest of its
    ``prompt_cache_key``, else of its first user message; empty if there is neither."""
    continues: bool
    """Whether the model has spoken in it before."""


_FIELDS: Final = msgspec.json.Decoder(_Fields)
_HEAD: Final = msgspec.json.Decoder(_Head)
_TURN: Final = msgspec.json.Decoder(_Turn)
_SPOKEN: Final = frozenset({"assistant", "tool", "function"})


def given_text(body: bytes) -> str:
    """The JSON of what others than the model said in a chat that was read before."""
    try:
        head = _HEAD.decode(body)
        return "\n".join(
            [
                bytes(message).decode("utf-8", "replace")
                for message in head.messages
                if _TURN.decode(message).role != "assistant"
            ]
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def read_opening(body: bytes) -> Opening:
    """Raises ApiError for a body that is not a JSON object or names no model."""
    try:
        fields = _FIELDS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(
            f"the request's body is not a JSON object: {error}", code="invalid_json"
        ) from None
    if not isinstance(fields.model, str) or not fields.model:
        raise ApiError(
            "`model` must name a model", param="model", code="missing_required_parameter"
        )
    key, continues = _conversation(body)
    if isinstance(fields.prompt_cache_key, str) and fields.prompt_cache_key:
        key = blake2b(
            fields.prompt_cache_key.encode("utf-8", "replace"), digest_size=16
        ).hexdigest()
    return Opening(
        model=fields.model,
        stream=fields.stream is True,
        conversation=key,
        continues=continues,
    )


def _conversation(body: bytes) -> tuple[str, bool]:
    """A digest of the first user message, and whether the model has spoken.

    System messages do not count: agents put the time of day into them.
    """
    try:
        turns = [_TURN.decode(message) for message in _HEAD.decode(body).messages]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", False  # Refused by whoever decodes the messages, with the right words.
    first = next((turn.content for turn in turns if turn.role == "user"), None)
    key = "" if first is None else blake2b(first, digest_size=16).hexdigest()
    return key, any(turn.role in _SPOKEN for turn in turns)
