"""How the body of a request is read, whatever API it came by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.errors import MessageError
from antiphon.model.json import decode_as

__all__ = ["decode_body", "listed"]

MAX_IGNORED: Final = 64
"""Most names listed as ignored."""
MAX_IGNORED_CHARS: Final = 80
MAX_MENDED_BYTES: Final = 1 << 22
"""Larger bodies are not searched for halves of characters."""

_T = TypeVar("_T")
_KEYS: Final[msgspec.json.Decoder[Iterable[str]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def decode_body(decoder: msgspec.json.Decoder[_T], body: bytes) -> tuple[_T, list[str]]:
    """The body, and the names of its fields. Raises MessageError naming what is wrong."""
    try:
        return decode_as(decoder, body), list(decode_as(_KEYS, body))
    except MessageError as error:
        mended = _without_halves(body) if error.field is None else None
        if mended is None:
            raise
    return decode_as(decoder, mended), list(decode_as(_KEYS, mended))


def _without_halves(body: bytes) -> bytes | None:
    r"""The body with U+FFFD for every ``\ud800`` without its other half, or None.

    Clients that cut a text in the middle of an emoji send such halves.
    """
    if len(body) > MAX_MENDED_BYTES or not _HALF.search(body):
        return None
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def listed(ignored: Sequence[str], policy: PromptPolicy) -> tuple[str, ...]:
    """What was passed over, for the header. Raises ApiError if the server refuses such things."""
    if ignored and policy.strict_parameters:
        name = ignored[0].partition("=")[0][:MAX_IGNORED_CHARS]
        raise ApiError(
            f"{name}: has no effect here, and this server refuses such parameters",
            param=name,
            code="unsupported_parameter",
        )
    return tuple([name[:MAX_IGNORED_CHARS] for name in ignored[:MAX_IGNORED]])
