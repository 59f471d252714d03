"""The answer to a sealed request: what the application sends, sealed piece by piece or as a whole.

Both are ASGI's ``send`` for the request inside. A piece becomes one chunk at once, with its own
seal: a stream of tokens stays one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from starlette.types import Message, Send

from antiphon.api.errors import ApiError
from antiphon.gateway.context import DirectBody
from antiphon.seal import (
    ChunkedResponseSealer,
    Padding,
    Response,
    ResponseHead,
    ResponseSecret,
    encode_content,
    encode_end,
    encode_head,
    encode_response,
    forwardable,
    seal_response,
)
from antiphon.seal.media import CHUNKED_RESPONSE, INCREMENTAL, RESPONSE

__all__ = ["Answer", "ChunkedAnswer", "WholeAnswer"]

MAX_HELD_BYTES: Final = 64 * 1024
"""The beginning of an event that is kept until the event is whole, so that it can be padded."""

_CHUNKED_HEADERS: Final = (
    (b"content-type", CHUNKED_RESPONSE.encode()),
    (INCREMENTAL[0].encode(), INCREMENTAL[1].encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_EVENTS: Final = b"text/event-stream"


class Answer(Protocol):
    """What the application answers into."""

    begun: bool
    """Whether anything has gone out."""
    complete: bool

    async def send(self, message: Message) -> None: ...


class ChunkedAnswer:
    """`message/ohttp-chunked-res`. It is the `DirectBody` of the request inside, too: what a stream
    writes is sealed, and goes the shortest way from there.
    """

    def __init__(
        self,
        secret: ResponseSecret,
        padding: Padding,
        send: Send,
        direct: DirectBody | None = None,
    ) -> None:
        self.begun = False
        self.complete = False
        self._direct = direct
        self._sealer = ChunkedResponseSealer(secret)
        self._padding = padding
        self._send = send
        self._head = b""
        self._events = False
        self._held = b""
        self._size = 0
        self.write: Callable[..., bool] = _not_yet

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            data = message.get("body", b"")
            if message.get("more_body", False):
                await self._piece(data)
            else:
                await self._last(data)
        elif message["type"] == "http.response.start":
            fields = forwardable(message.get("headers", ()))
            # It goes out with the first piece, in one chunk.
            self._head = encode_head(ResponseHead(status=message["status"], fields=fields))
            kinds = [value for name, value in fields if name == b"content-type"]
            self._events = (
                bool(self._padding.sizes) and kinds[:1] != [] and (kinds[0].startswith(_EVENTS))
            )

    def _padded(self, data: bytes) -> bytes:
        if self._events:
            data = self._filled(data)
        elif data:
            self._size += len(encode_content(data))
        return self._sealer.seal_content(data)

    async def _piece(self, data: bytes) -> None:
        if self._events:
            data = self._filled(data)
        if not data:
            return
        plain = encode_content(data)
        if not self.begun:
            await self._begin()
            plain = self._head + plain
        self._size += len(plain)
        await self._send(
            {"type": "http.response.body", "body": self._sealer.seal(plain), "more_body": True}
        )
        if self._direct is not None:
            sealed = self._padded if self._padding.sizes else self._sealer.seal_content
            self.write = partial(self._direct.write, made=sealed)

    async def _last(self, data: bytes) -> None:
        if self._events:
            whole, self._held = self._held + data, b""
            data = whole if _end_of_events(whole) < len(whole) else self._padding.fill_events(whole)
        plain = encode_content(data) + encode_end()
        if not self.begun:
            await self._begin()
            plain = self._head + plain
        if not self._events:
            total = self._size + len(plain)
            plain = plain.ljust(len(plain) + self._padding.target(total) - total, b"\0")
        self.complete = True
        await self._send(
            {"type": "http.response.body", "body": self._sealer.finish(plain), "more_body": False}
        )

    async def _begin(self) -> None:
        self.begun = True
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": list(_CHUNKED_HEADERS)}
        )

    def _filled(self, data: bytes) -> bytes:
        """Whole events, padded: a comment can stand between events, but not in one."""
        if self._held:
            data, self._held = self._held + data, b""
        end = _end_of_events(data)
        if len(data) - end > MAX_HELD_BYTES:
            return data
        self._held = data[end:]
        return self._padding.fill_events(data[:end])


def _not_yet(_: bytes) -> bool:
    """The head goes first, which is not for `DirectBody`."""
    return False


def _end_of_events(data: bytes) -> int:
    """Where the last whole event ends; 0 if none does."""
    if data.endswith(b"\n\n"):
        return len(data)
    ends = (at + len(end) for end in (b"\n\n", b"\n\r\n") if (at := data.rfind(end)) >= 0)
    return max(ends, default=0)


class WholeAnswer:
    """`message/ohttp-res`: collected, then sealed at once."""

    def __init__(
        self, secret: ResponseSecret, padding: Padding, send: Send, *, max_bytes: int
    ) -> None:
        self.begun = False
        self.complete = False
        self._secret = secret
        self._padding = padding
        self._send = send
        self._max_bytes = max_bytes
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        """Raises ApiError 400 for an answer that is too large; another may be sent instead."""
        if message["type"] == "http.response.start":
            fields = forwardable(message.get("headers", ()))
            self._head = ResponseHead(status=message["status"], fields=fields)
            self._pieces.clear()
            self._size = 0
        elif message["type"] == "http.response.body" and self._head is not None:
            data = message.get("body", b"")
            self._size += len(data)
            if self._size > self._max_bytes:
                self._pieces.clear()
                raise ApiError(
                    f"the answer is larger than {self._max_bytes} bytes: send the request as"
                    " message/ohttp-chunked-req",
                    code="answer_too_large",
                )
            self._pieces.append(data)
            if not message.get("more_body", False):
                await self._finish(self._head)

    async def _finish(self, head: ResponseHead) -> None:
        message = encode_response(Response(head=head, content=b"".join(self._pieces)))
        body = seal_response(self._secret, self._padding.fill_message(message))
        self.begun = self.complete = True
        headers = [
            (b"content-type", RESPONSE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
