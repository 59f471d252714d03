"""One request and its answer, sealed: what is sent, and what is made of what comes back. No I/O.

The request is sealed whole and sent without waiting for anything, so that the gateway cannot
measure how far away the client is (section 7.2 of the draft).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from antiphon.seal.chunked import ChunkedRequestSealer, ChunkedResponseOpener
from antiphon.seal.decode import BinaryHttpDecoder, BinaryHttpLimits
from antiphon.seal.encode import encode_request
from antiphon.seal.errors import OpenError, OuterError, TruncatedError
from antiphon.seal.exchange import ResponseSecret
from antiphon.seal.fields import forwardable
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.media import (
    CHUNKED_REQUEST,
    CHUNKED_RESPONSE,
    INCREMENTAL,
    KEY_PROBLEM,
    REQUEST,
    RESPONSE,
)
from antiphon.seal.message import Content, EndOfMessage, Field, Request, RequestHead, ResponseHead
from antiphon.seal.padding import NO_PADDING, Padding
from antiphon.seal.whole import open_response, seal_request
from antiphon.sealed.chat import error_message

__all__ = [
    "MAX_PROBLEM_BYTES",
    "USER_AGENT",
    "SealedExchange",
    "SealedReader",
    "fields_of",
    "media_type",
    "outer_error",
]

USER_AGENT: Final = "antiphon-seal"
"""The same for every client and release: what is outside the seal should tell nobody apart."""

MAX_PROBLEM_BYTES: Final = 16 * 1024
"""Of an answer in the clear that is looked at for what it says."""

MAX_ANSWER_BYTES: Final = 1024 * 1024 * 1024
"""Content of one answer."""

_MAX_WHOLE_ANSWER: Final = 64 * 1024 * 1024
"""Of an answer that is not chunked and has to be kept until its end."""

_LIMITS: Final = BinaryHttpLimits(content=MAX_ANSWER_BYTES)
_MAX_DETAIL: Final = 300


class SealedReader:
    """Opens the answer to one request. Content is authentic and in order when it is given; it is
    the whole answer only once `eof` has returned.
    """

    def __init__(self, secret: ResponseSecret) -> None:
        self._secret = secret
        self._chunks = ChunkedResponseOpener(secret) if secret.chunked else None
        self._whole = bytearray()
        self._message = BinaryHttpDecoder("response", limits=_LIMITS)
        self._content: list[bytes] = []
        self.head: ResponseHead | None = None
        """Status and fields, as soon as they are there."""
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """The content that ``data`` completes. Raises SealError."""
        if self._chunks is None:
            self._whole += data
            if len(self._whole) > _MAX_WHOLE_ANSWER:
                raise OpenError("the sealed answer is too long for one that is not chunked")
            return b""
        for chunk in self._chunks.feed(data):
            self._take(self._message.feed(chunk))
        return self._taken()

    def eof(self) -> bytes:
        """The last of the content. Raises SealError; TruncatedError if the answer was cut off."""
        if self._chunks is None:
            last = open_response(self._secret, bytes(self._whole))
        else:
            last = self._chunks.eof()
        self._take(self._message.feed(last))
        self._take(self._message.eof())
        if not self.complete:
            raise TruncatedError("the sealed answer ends inside its message")
        return self._taken()

    def _take(self, events: Iterable[object]) -> None:
        for event in events:
            match event:
                case ResponseHead():
                    self.head = event
                case Content():
                    self._content.append(event.data)
                case EndOfMessage():
                    self.complete = True

    def _taken(self) -> bytes:
        content, self._content = self._content, []
        return content[0] if len(content) == 1 else b"".join(content)


class SealedExchange:
    """A request, sealed for one key. A second attempt is a new exchange."""

    def __init__(
        self,
        config: KeyConfig,
        head: RequestHead,
        content: bytes,
        *,
        padding: Padding = NO_PADDING,
        chunked: bool = True,
    ) -> None:
        """Raises BinaryHttpError for a request that is not valid HTTP, KeyConfigError."""
        message = padding.fill_message(encode_request(Request(head=head, content=content)))
        if chunked:
            sealer = ChunkedRequestSealer(config)
            self.body = sealer.finish(message)
            self.secret = sealer.response
        else:
            sealed = seal_request(config, message)
            self.body, self.secret = sealed.body, sealed.response
        self._answer_type = CHUNKED_RESPONSE if chunked else RESPONSE
        self.headers: dict[str, str] = {
            "content-type": CHUNKED_REQUEST if chunked else REQUEST,
            "accept": self._answer_type,
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
        }
        if chunked:
            self.headers |= dict([INCREMENTAL])

    def is_answer(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether this answer is sealed. If not, it is an `outer_error`."""
        return status == 200 and media_type(headers) == self._answer_type

    def reader(self) -> SealedReader:
        return SealedReader(self.secret)


def media_type(headers: Mapping[str, str]) -> str:
    """Without parameters, in lower case; ``headers`` has lower-case names."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def outer_error(status: int, headers: Mapping[str, str], body: bytes) -> OuterError:
    """What an answer in the clear has to say, as an error."""
    problem, says = _problem(body)
    if status == 200:
        kind = media_type(headers) or "no type"
        message = f"the answer is not sealed ({kind}): something in between answered"
    elif problem == KEY_PROBLEM:
        message = "the gateway does not know the key that the request was sealed for"
    elif status in (404, 405, 415):
        message = f"there is no gateway for sealed requests here (status {status})"
    else:
        message = f"the sealed request was refused in the clear with status {status}"
    if says:
        message += f": {says}"
    return OuterError(
        message, status=status, problem=problem, retry_after=_seconds(headers.get("retry-after"))
    )


def _problem(body: bytes) -> tuple[str | None, str]:
    """Type and text of a problem document or an OpenAI error. Nothing for anything else."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None, ""
    kind = found.get("type") if isinstance(found, dict) else None
    return (kind if isinstance(kind, str) else None), (error_message(body) or "")[:_MAX_DETAIL]


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() and len(text) < 8 else None


def fields_of(headers: Iterable[Field]) -> tuple[Field, ...]:
    """Fields of a request as they go inside: without ``host``, which the authority says."""
    return tuple((name, value) for name, value in forwardable(headers) if name != b"host")
