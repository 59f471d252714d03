"""What has to be sent and read, one step after the other, whatever the HTTP library.

A generator yields `Send`, `Read` and `Close`, and is told what came of each: a `Reply`, bytes
(empty at the end), nothing. So there is one description of what happens, and two short loops that
do it: `antiphon.sealed.transport`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from email.utils import formatdate
from typing import Any, NamedTuple, TypeVar

from antiphon.seal.errors import KeyConfigError, OpenError
from antiphon.seal.keyconfig import MAX_KEYS_BYTES, KeyConfig, decode_keys
from antiphon.seal.media import KEYS, WELL_KNOWN_GATEWAY
from antiphon.seal.message import RequestHead
from antiphon.sealed.exchange import (
    MAX_PROBLEM_BYTES,
    USER_AGENT,
    SealedExchange,
    SealedReader,
    media_type,
    outer_error,
)
from antiphon.sealed.target import Target

__all__ = [
    "Close",
    "Opened",
    "Read",
    "Reply",
    "Send",
    "Step",
    "Steps",
    "attempt",
    "dated",
    "fetch_keys",
    "fetch_keys_sealed",
    "read_rest",
]


class Send(NamedTuple):
    """Send a request in the clear; what comes of it is a `Reply`, before its body."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


class Reply(NamedTuple):
    """What an answer begins with."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""


class Read(NamedTuple):
    """The next bytes of the body of the last reply; empty at its end."""


class Close(NamedTuple):
    """Done with the last reply."""


Step = Send | Read | Close
_T = TypeVar("_T")
Steps = Generator[Step, Any, _T]


class Opened(NamedTuple):
    """A sealed answer whose head is there. The rest of the body is still to be read."""

    reader: SealedReader
    content: bytes
    """What came with the head."""
    ended: bool


def attempt(url: str, exchange: SealedExchange) -> Steps[Opened]:
    """Send a sealed request and open its answer up to its head. Raises SealError."""
    reply: Reply = yield Send("POST", url, exchange.headers, exchange.body)
    if not exchange.is_answer(reply.status, reply.headers):
        body = yield from _read_up_to(MAX_PROBLEM_BYTES)
        yield Close()
        raise outer_error(reply.status, reply.headers, body)
    reader = exchange.reader()
    content = b""
    while reader.head is None:
        data: bytes = yield Read()
        if not data:
            return Opened(reader, reader.eof(), ended=True)
        content = reader.feed(data)
    return Opened(reader, content, ended=False)


def read_rest(opened: Opened, limit: int) -> Steps[bytes]:
    """The whole content of an answer. Raises SealError, also if it is longer than ``limit``."""
    content = bytearray(opened.content)
    ended = opened.ended
    while not ended and len(content) <= limit:
        data: bytes = yield Read()
        ended = not data
        content += opened.reader.eof() if ended else opened.reader.feed(data)
    yield Close()
    if len(content) > limit:
        raise OpenError("the answer is longer than it can be")
    return bytes(content)


def fetch_keys(url: str) -> Steps[tuple[KeyConfig, ...]]:
    """The configurations a gateway offers, from whoever answers. Raises SealError."""
    headers = {"accept": KEYS, "accept-encoding": "identity", "user-agent": USER_AGENT}
    reply: Reply = yield Send("GET", url, headers)
    body = yield from _read_up_to(MAX_KEYS_BYTES + 1)
    yield Close()
    if reply.status != 200:
        raise outer_error(reply.status, reply.headers, body[:MAX_PROBLEM_BYTES])
    if media_type(reply.headers) != KEYS:
        raise KeyConfigError(f"{url} does not answer with a list of keys")
    return decode_keys(body)


def fetch_keys_sealed(
    target: Target, config: KeyConfig, date: Callable[[], float]
) -> Steps[tuple[KeyConfig, ...] | None]:
    """The configurations a gateway offers, asked for under a key that is trusted and so answered by
    who holds it. None if it does not tell. Raises SealError.
    """
    head = RequestHead(
        method="GET",
        scheme=target.scheme,
        authority=target.authority,
        path=WELL_KNOWN_GATEWAY,
        fields=((b"accept", KEYS.encode("ascii")),),
    )
    exchange = SealedExchange(config, dated(head, date()), b"")
    opened = yield from attempt(target.resource, exchange)
    body = yield from read_rest(opened, MAX_KEYS_BYTES)
    head_of_answer = opened.reader.head
    assert head_of_answer is not None
    kinds = [value for name, value in head_of_answer.fields if name == b"content-type"]
    if head_of_answer.status != 200 or kinds != [KEYS.encode("ascii")]:
        return None
    return decode_keys(body)


def dated(head: RequestHead, now: float) -> RequestHead:
    """``head`` with a date, without which the gateway cannot tell a copy by its age."""
    if any(name == b"date" for name, _ in head.fields):
        return head
    date = formatdate(now, usegmt=True).encode("ascii")
    return RequestHead(
        method=head.method,
        scheme=head.scheme,
        authority=head.authority,
        path=head.path,
        fields=(*head.fields, (b"date", date)),
    )


def _read_up_to(limit: int) -> Steps[bytes]:
    body = bytearray()
    while len(body) < limit:
        data: bytes = yield Read()
        if not data:
            break
        body += data
    return bytes(body[:limit])
