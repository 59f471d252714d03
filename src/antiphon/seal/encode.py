"""Writing Binary HTTP (RFC 9292): whole messages of known length, and streams of unknown length.

    encode_request(request)  encode_response(response)      known length
    encode_head(head) + encode_content(data)… + encode_end()      indeterminate length

The three functions for streams keep no state: a server that streams adds about half a microsecond
to each piece. Zero bytes may follow any message: `antiphon.seal.padding` adds them.
"""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.seal.errors import BinaryHttpError
from antiphon.seal.fields import check_fields, check_request_head
from antiphon.seal.message import (
    Field,
    Informational,
    Request,
    RequestHead,
    Response,
    ResponseHead,
)
from antiphon.seal.varint import varint

__all__ = [
    "encode_content",
    "encode_end",
    "encode_head",
    "encode_informational",
    "encode_request",
    "encode_response",
]

_KNOWN_REQUEST, _KNOWN_RESPONSE, _REQUEST, _RESPONSE = (bytes([n]) for n in range(4))


def encode_request(request: Request) -> bytes:
    """A request of known length. Raises BinaryHttpError if it is not valid HTTP."""
    check_request_head(request.head)
    return b"".join(
        (
            _KNOWN_REQUEST,
            _target(request.head),
            _section(request.head.fields),
            varint(len(request.content)),
            request.content,
            _section(request.trailers),
        )
    )


def encode_response(response: Response) -> bytes:
    """A response of known length, with the informational ones before it. Raises BinaryHttpError if
    it is not valid HTTP.
    """
    parts = [_KNOWN_RESPONSE]
    for early in response.informational:
        parts += (_informational_status(early.status), _section(early.fields))
    parts += (
        _final_status(response.head.status),
        _section(response.head.fields),
        varint(len(response.content)),
        response.content,
        _section(response.trailers),
    )
    return b"".join(parts)


def encode_informational(early: Informational, *, first: bool) -> bytes:
    """A 1xx response in a stream; the ``first`` thing of a stream carries the kind of message."""
    body = _informational_status(early.status) + _lines(early.fields) + b"\0"
    return _RESPONSE + body if first else body


def encode_head(head: RequestHead | ResponseHead, *, first: bool = True) -> bytes:
    """The head of a message of indeterminate length. ``first``: no informational response went
    before it. Raises BinaryHttpError if it is not valid HTTP.
    """
    if isinstance(head, RequestHead):
        check_request_head(head)
        return _REQUEST + _target(head) + _lines(head.fields) + b"\0"
    body = _final_status(head.status) + _lines(head.fields) + b"\0"
    return _RESPONSE + body if first else body


def encode_content(data: bytes) -> bytes:
    """A piece of content in a stream. Nothing for nothing: an empty piece would end the content."""
    return varint(len(data)) + data if data else b""


def encode_end(trailers: Iterable[Field] = ()) -> bytes:
    """The end of a stream. Zero bytes may follow as padding (RFC 9292, section 3.8)."""
    return b"\0" + _lines(trailers) + b"\0"


def _target(head: RequestHead) -> bytes:
    parts = (head.method, head.scheme, head.authority, head.path)
    return b"".join(varint(len(part)) + part.encode("ascii") for part in parts)


def _lines(fields: Iterable[Field]) -> bytes:
    lines = tuple(fields)
    check_fields(lines)
    return b"".join(varint(len(name)) + name + varint(len(value)) + value for name, value in lines)


def _section(fields: Iterable[Field]) -> bytes:
    lines = _lines(fields)
    return varint(len(lines)) + lines


def _informational_status(status: int) -> bytes:
    if not 100 <= status <= 199:
        raise BinaryHttpError("the status of an informational response is 100 to 199")
    return varint(status)


def _final_status(status: int) -> bytes:
    if not 200 <= status <= 599:
        raise BinaryHttpError("the status of a response is 200 to 599")
    return varint(status)
