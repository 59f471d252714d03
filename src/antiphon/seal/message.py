"""HTTP messages as values, whole and as the events of a stream (RFC 9292, RFC 9110).

Field names and values are bytes, as ASGI has them; names are lower case. The parts of a request's
target are ASCII text. Nothing here checks anything: `antiphon.seal.encode` and
`antiphon.seal.decode` do, in both directions by the rules of `antiphon.seal.fields`.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "Content",
    "EndOfMessage",
    "Event",
    "Field",
    "Informational",
    "Request",
    "RequestHead",
    "Response",
    "ResponseHead",
]

Field = tuple[bytes, bytes]
"""Name and value."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a request begins with."""

    method: str
    scheme: str = "https"
    authority: str = ""
    """Empty: the ``host`` field says it, or nothing does."""
    path: str = "/"
    """With the query."""
    fields: tuple[Field, ...] = ()


class Informational(msgspec.Struct, frozen=True, kw_only=True):
    """A 1xx response, before the final one."""

    status: int
    fields: tuple[Field, ...] = ()


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a final response begins with: a status of 200 to 599."""

    status: int
    fields: tuple[Field, ...] = ()


class Content(msgspec.Struct, frozen=True):
    """A piece of the content, never empty. Where pieces end means nothing."""

    data: bytes


class EndOfMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message is complete."""

    trailers: tuple[Field, ...] = ()


Event = RequestHead | Informational | ResponseHead | Content | EndOfMessage
"""A request is `RequestHead`, `Content`…, `EndOfMessage`; a response `Informational`…,
`ResponseHead`, `Content`…, `EndOfMessage`.
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request."""

    head: RequestHead
    content: bytes = b""
    trailers: tuple[Field, ...] = ()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response."""

    head: ResponseHead
    content: bytes = b""
    trailers: tuple[Field, ...] = ()
    informational: tuple[Informational, ...] = ()
