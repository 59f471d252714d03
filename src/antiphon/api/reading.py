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
"""Larger bodies with halves of characters are refused."""

_T = TypeVar("_T")
_KEYS: Final[msgspec.json.Decoder[Iterable[str]]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_HALF: Final = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL
)
"""A surrogate without its other half, or what looks like it behind an escaped backslash."""


def decode_body(decoder: msgspec.json.Decoder[_T], body: bytes) -> tuple[_T, list[str]]:
    """The body, and the names of its fields. Raises MessageError naming what is wrong.

    What the decoder passes over is looked at as well, because parts of it are kept and repeated.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"not valid JSON: {error}") from error
    if (b"\\ud" in body or b"\\uD" in body) and _HALF.search(body):
        body = _without_halves(body)
    return decode_as(decoder, body), list(decode_as(_KEYS, body))


def _without_halves(body: bytes) -> bytes:
    r"""The body with U+FFFD for every ``\ud800`` without its other half.

    Clients that cut a text in the middle of an emoji send such halves.
    """
    if len(body) > MAX_MENDED_BYTES:
        raise MessageError("not valid JSON: it holds half of a surrogate pair")
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        return body
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
