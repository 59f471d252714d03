"""Which control data and fields an HTTP message may have (RFC 9110, and RFC 9113 section 8.2).

Binary HTTP takes the rules of HTTP/2. They are checked when reading, because what is inside a seal
is no more to be trusted than what is outside, and when writing, because a value with a line break
must not become someone else's field after translation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from antiphon.seal.errors import BinaryHttpError
from antiphon.seal.message import Field, RequestHead

__all__ = ["check_fields", "check_request_head", "content_length", "forwardable"]

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_NOT_IN_VALUE: Final = re.compile(rb"[\x00\r\n]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*\Z")
_VISIBLE: Final = re.compile(r"[!-~]*\Z")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*\Z")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}\Z")

_OF_A_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


def check_request_head(head: RequestHead) -> None:
    """Raises BinaryHttpError if the method or the target cannot be one, or for ``100-continue``.

    The fields are checked by `check_fields`. A target is an absolute path or ``*``, so that it
    cannot be mistaken for another kind.
    """
    if not _TOKEN.match(head.method):
        raise BinaryHttpError("the method is not a token")
    if not _SCHEME.match(head.scheme):
        raise BinaryHttpError("the scheme is not one")
    if not _AUTHORITY.match(head.authority):
        raise BinaryHttpError("the authority is not a host with a port")
    if not _VISIBLE.match(head.path) or not (head.path.startswith("/") or head.path == "*"):
        raise BinaryHttpError("the path does not begin with '/' or is not visible ASCII")
    # The answer could not come before the request is complete: RFC 9458, section 5.1.
    if any(name == b"expect" for name, _ in head.fields):
        raise BinaryHttpError("a sealed request cannot expect 100-continue")


def check_fields(fields: Iterable[Field]) -> None:
    """Raises BinaryHttpError for a field that would make an HTTP/2 message malformed."""
    for name, value in fields:
        if not _NAME.match(name):
            raise BinaryHttpError("a field name is not a token in lower case")
        if _NOT_IN_VALUE.search(value) or value != value.strip(b" \t"):
            raise BinaryHttpError("a field value has a line break, a NUL or space around it")
        if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
            raise BinaryHttpError("a field that belongs to a connection is in the message")


def content_length(fields: Iterable[Field]) -> int | None:
    """What ``content-length`` says, in bytes. Raises BinaryHttpError if it is not one number."""
    values = {value for name, value in fields if name == b"content-length"}
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.match(next(iter(values))):
        raise BinaryHttpError("content-length is not one number")
    return int(next(iter(values)))


def forwardable(fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields of an HTTP/1.1 message as they may stand in a binary one: names in lower case,
    values without space around them, none that belong to the connection (RFC 9110, section 7.6.1).
    """
    lower = [(bytes(name).lower(), bytes(value).strip(b" \t")) for name, value in fields]
    named = {
        option.strip(b" \t").lower()
        for name, value in lower
        if name == b"connection"
        for option in value.split(b",")
    }
    drop = _OF_A_CONNECTION | named | {b"te"}
    return tuple((name, value) for name, value in lower if name not in drop)
