"""Reading Binary HTTP (RFC 9292) as it comes, in any pieces, with named limits.

The decoder is a generator that asks for bytes: it reads as if everything were there, and where
something is missing it waits. So the pieces a message comes in cannot change what is read, apart
from where pieces of content end. Content is handed on as it comes and never collected.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, Literal

import msgspec

from antiphon.seal.errors import BinaryHttpError
from antiphon.seal.fields import check_fields, check_request_head, content_length
from antiphon.seal.message import (
    Content,
    EndOfMessage,
    Event,
    Field,
    Informational,
    Request,
    RequestHead,
    Response,
    ResponseHead,
)
from antiphon.seal.varint import read_varint

__all__ = [
    "BinaryHttpDecoder",
    "BinaryHttpLimits",
    "decode_request",
    "decode_response",
]

KIB: Final = 1024
MIB: Final = 1024 * KIB

_Need = Generator[None, None, bytes]
_NeedNumber = Generator[None, None, int]
_NeedFields = Generator[None, None, tuple[Field, ...]]


class BinaryHttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each part is read. What is beyond is refused as soon as that is known."""

    target: int = 16 * KIB
    """Bytes of method, scheme, authority and path, each. Status 414 is left to the application."""
    fields: int = 64 * KIB
    """Bytes of one section of fields."""
    lines: int = 256
    """Fields in one section."""
    content: int = 64 * MIB
    """Bytes of content."""
    informational: int = 16
    """1xx responses before the final one."""
    padding: int = MIB
    """Zero bytes after the end."""


class BinaryHttpDecoder:
    """Bytes in, events out.

    What comes before a mistake is given first, and the mistake raised by the next call, so that the
    pieces the bytes come in make no difference here either.
    """

    def __init__(
        self,
        kind: Literal["request", "response"],
        *,
        limits: BinaryHttpLimits = BinaryHttpLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._kind = kind
        self._limits = limits
        self._buffer = bytearray()
        self._at = 0
        self._ended = False
        self._failure: BinaryHttpError | None = None
        self._events: list[Event] = []
        self._steps = self._message()

    def feed(self, data: bytes) -> list[Event]:
        """The events that ``data`` completes. Raises BinaryHttpError for an invalid message."""
        if self._ended:
            raise ValueError("the message has ended")
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data
        return self._go_on()

    def eof(self) -> list[Event]:
        """The last events, with `EndOfMessage`. Raises BinaryHttpError if the message is cut off
        where it must not be, or was invalid.
        """
        self._ended = True
        events = self._go_on()
        if self._failure is not None:
            raise self._failure
        return events

    def _go_on(self) -> list[Event]:
        if self._failure is None:
            try:
                next(self._steps, None)
            except BinaryHttpError as failure:
                self._failure = failure
                self._buffer.clear()
                self._at = 0
        events, self._events = self._events, []
        if self._failure is not None and not events:
            raise self._failure
        return events

    # The format. `yield` waits for bytes or for the end.

    def _message(self) -> Generator[None, None, None]:
        framing = yield from self._number("the framing indicator")
        if framing > 3 or (framing & 1) != (self._kind == "response"):
            raise BinaryHttpError(f"the message is not a binary HTTP {self._kind}")
        known = framing < 2
        if self._kind == "request":
            fields = yield from self._request_head(known=known)
            length = content_length(fields)
        else:
            yield from self._response_heads(known=known)
            length = None  # what it means depends on the request: RFC 9110, section 8.6
        total = yield from (self._known_content() if known else self._chunks())
        if length is not None and length != total:
            raise BinaryHttpError("content-length is not the length of the content")
        trailers = yield from self._fields(known=known, may_be_cut=True)
        check_fields(trailers)
        self._events.append(EndOfMessage(trailers=trailers))
        yield from self._padding()

    def _request_head(self, *, known: bool) -> _NeedFields:
        parts: list[str] = []
        for name in ("the method", "the scheme", "the authority", "the path"):
            part = yield from self._prefixed(name, self._limits.target)
            if not part.isascii():
                raise BinaryHttpError(f"{name} is not ASCII")
            parts.append(part.decode("ascii"))
        fields = yield from self._fields(known=known, may_be_cut=True)
        method, scheme, authority, path = parts
        head = RequestHead(
            method=method, scheme=scheme, authority=authority, path=path, fields=fields
        )
        check_request_head(head)
        check_fields(fields)
        self._events.append(head)
        return fields

    def _response_heads(self, *, known: bool) -> Generator[None, None, None]:
        for _ in range(self._limits.informational + 1):
            status = yield from self._number("the status")
            if not 100 <= status <= 599:
                raise BinaryHttpError("the status is not 100 to 599")
            final = status >= 200
            fields = yield from self._fields(known=known, may_be_cut=final)
            check_fields(fields)
            if final:
                self._events.append(ResponseHead(status=status, fields=fields))
                return
            self._events.append(Informational(status=status, fields=fields))
        raise BinaryHttpError("too many informational responses")

    def _fields(self, *, known: bool, may_be_cut: bool) -> _NeedFields:
        """A section of fields; no fields if the message ends before it and may."""
        if may_be_cut and (yield from self._at_end()):
            return ()
        if known:
            section = yield from self._prefixed("a field section", self._limits.fields, status=431)
            return self._known_fields(section)
        fields: list[Field] = []
        left = self._limits.fields
        while name := (yield from self._prefixed("a field name", max(left, 0), status=431)):
            value = yield from self._prefixed("a field value", left - len(name), status=431)
            left -= len(name) + len(value) + 2
            fields.append((name, value))
            self._limit(len(fields), self._limits.lines)
        return tuple(fields)

    def _known_fields(self, section: bytes) -> tuple[Field, ...]:
        inner = _Section(section)
        fields: list[Field] = []
        while inner.at < len(section):
            name = inner.take()
            if not name:
                raise BinaryHttpError("a field name is empty")
            fields.append((name, inner.take()))
            self._limit(len(fields), self._limits.lines)
        return tuple(fields)

    def _known_content(self) -> _NeedNumber:
        if (yield from self._at_end()):
            return 0
        size = yield from self._number("the length of the content")
        self._limit(size, self._limits.content, status=413)
        yield from self._content(size)
        return size

    def _chunks(self) -> _NeedNumber:
        if (yield from self._at_end()):
            return 0
        total = 0
        while size := (yield from self._number("the length of a piece of content")):
            total += size
            self._limit(total, self._limits.content, status=413)
            yield from self._content(size)
        return total

    def _content(self, size: int) -> Generator[None, None, None]:
        while size:
            here = min(size, len(self._buffer) - self._at)
            if here:
                piece = bytes(memoryview(self._buffer)[self._at : self._at + here])
                self._at += here
                size -= here
                self._events.append(Content(piece))
            else:
                self._must_go_on("the content")
                yield

    def _padding(self) -> Generator[None, None, None]:
        total = 0
        while True:
            rest = self._buffer[self._at :]
            self._at = len(self._buffer)
            if rest.count(0) != len(rest):
                raise BinaryHttpError("padding is not zero")
            total += len(rest)
            self._limit(total, self._limits.padding, status=413)
            if self._ended:
                return
            yield

    # Parts of it

    def _at_end(self) -> Generator[None, None, bool]:
        """Whether the message ends here."""
        while self._at == len(self._buffer):
            if self._ended:
                return True
            yield
        return False

    def _number(self, what: str) -> _NeedNumber:
        while (found := read_varint(self._buffer, self._at)) is None:
            self._must_go_on(what)
            yield
        value, self._at = found
        return value

    def _prefixed(self, what: str, limit: int, *, status: int = 413) -> _Need:
        """Bytes behind their length."""
        size = yield from self._number(what)
        self._limit(size, limit, status=status)
        while len(self._buffer) - self._at < size:
            self._must_go_on(what)
            yield
        start, self._at = self._at, self._at + size
        return bytes(memoryview(self._buffer)[start : self._at])

    def _must_go_on(self, what: str) -> None:
        if self._ended:
            raise BinaryHttpError(f"the message ends in {what}")

    @staticmethod
    def _limit(size: int, limit: int, *, status: int = 431) -> None:
        if size > limit:
            raise BinaryHttpError("a part of the message is over its limit", status=status)


class _Section:
    """A cursor over a section of fields that is all there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self) -> bytes:
        """The next length-prefixed bytes."""
        found = read_varint(self.data, self.at)
        if found is None or found[1] + found[0] > len(self.data):
            raise BinaryHttpError("a field is longer than its section")
        size, start = found
        self.at = start + size
        return self.data[start : self.at]


def decode_request(
    data: bytes,
    *,
    limits: BinaryHttpLimits = BinaryHttpLimits(),  # noqa: B008 - frozen
) -> Request:
    """A whole request. Raises BinaryHttpError."""
    head, content, end, _ = _whole("request", data, limits)
    assert isinstance(head, RequestHead)
    return Request(head=head, content=content, trailers=end)


def decode_response(
    data: bytes,
    *,
    limits: BinaryHttpLimits = BinaryHttpLimits(),  # noqa: B008 - frozen
) -> Response:
    """A whole response. Raises BinaryHttpError."""
    head, content, end, early = _whole("response", data, limits)
    assert isinstance(head, ResponseHead)
    return Response(head=head, content=content, trailers=end, informational=early)


def _whole(
    kind: Literal["request", "response"], data: bytes, limits: BinaryHttpLimits
) -> tuple[RequestHead | ResponseHead, bytes, tuple[Field, ...], tuple[Informational, ...]]:
    decoder = BinaryHttpDecoder(kind, limits=limits)
    head: RequestHead | ResponseHead | None = None
    early: list[Informational] = []
    content: list[bytes] = []
    trailers: tuple[Field, ...] = ()
    for event in decoder.feed(data) + decoder.eof():
        match event:
            case RequestHead() | ResponseHead():
                head = event
            case Informational():
                early.append(event)
            case Content():
                content.append(event.data)
            case EndOfMessage():
                trailers = event.trailers
    assert head is not None
    return head, b"".join(content), trailers, tuple(early)
