"""Token ids → bytes and text, with the reference library's errors (openai-harmony 0.0.8)."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.vocab import spellings
from antiphon.vocab.table import token_bytes

__all__ = ["DecodeError", "decode_bytes", "decode_utf8"]


class DecodeError(ValueError):
    """Tokens that cannot be decoded; the text is the reference's."""


def decode_bytes(ids: Sequence[int]) -> bytes:
    """The bytes of all tokens, control tokens as their names.

    Raises DecodeError for an id that is not in the vocabulary.
    """
    joined = spellings.join(ids)
    if joined is not None:
        return spellings.named(joined)
    parts = []
    for token in ids:
        spelling = token_bytes(token)
        if spelling is None:
            raise DecodeError(f"Invalid token for decoding: {token}")
        parts.append(spelling)
    return b"".join(parts)


def decode_utf8(ids: Sequence[int]) -> str:
    """The text of all tokens. Raises DecodeError for an unknown id or invalid UTF-8."""
    try:
        return decode_bytes(ids).decode()
    except DecodeError as error:
        raise DecodeError(f"Could not decode tokens: Invalid token error: {error}") from None
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            what = f"incomplete utf-8 byte sequence from index {error.start}"
        else:
            length = error.end - error.start
            what = f"invalid utf-8 sequence of {length} bytes from index {error.start}"
        raise DecodeError(f"Could not decode tokens: Invalid utf-8 sequence: {what}") from None
