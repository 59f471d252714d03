"""Chat completions that are kept: the object with its metadata, and the messages it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.api.errors import as_api_error
from antiphon.api.responses.metadata import check_metadata
from antiphon.api.responses.stored import StoredItem
from antiphon.errors import MessageError
from antiphon.model.json import decode_as

__all__ = ["read_update", "stored_completion", "stored_messages", "stored_summary"]

_ENCODE: Final = msgspec.json.Encoder().encode
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_SHOWN: Final = frozenset({"id", "content", "content_parts"})


class _Update(msgspec.Struct):
    metadata: dict[str, str] | None


class _Messages(msgspec.Struct):
    messages: list[dict[str, Any]]


class Summary(msgspec.Struct):
    """What a list is filtered by."""

    model: str = ""
    metadata: dict[str, str] = {}


_UPDATE: Final = msgspec.json.Decoder(_Update)
_MESSAGES: Final = msgspec.json.Decoder(_Messages)
_SUMMARY: Final = msgspec.json.Decoder(Summary)


def stored_completion(body: bytes, metadata: Mapping[str, str]) -> bytes:
    """The completion with its metadata."""
    return _ENCODE({**_MEMBERS.decode(body), "metadata": metadata})


def stored_summary(body: bytes) -> Summary:
    """Model and metadata of a kept completion."""
    return _SUMMARY.decode(body)


def read_update(body: bytes) -> Mapping[str, str]:
    """The metadata that replaces the old. Raises ApiError."""
    try:
        return check_metadata(decode_as(_UPDATE, body).metadata)
    except MessageError as error:
        raise as_api_error(error) from error


def stored_messages(body: bytes, id: str) -> list[StoredItem]:
    """The messages of a request that was read before, each with an id of its own."""
    made = []
    for at, message in enumerate(_MESSAGES.decode(body).messages):
        content = message.get("content")
        shown: dict[str, Any] = {"id": f"{id}-{at}", "content": content, "content_parts": None}
        if isinstance(content, list):
            texts = [part.get("text") for part in content if isinstance(part, dict)]
            shown["content"] = "".join([text for text in texts if isinstance(text, str)])
            shown["content_parts"] = content
        shown |= {name: value for name, value in message.items() if name not in _NOT_SHOWN}
        made.append(StoredItem(f"{id}-{at}", _ENCODE(shown)))
    return made
