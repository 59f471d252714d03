"""Sealing chunk by chunk: `message/ohttp-chunked-req` and `message/ohttp-chunked-res`
(draft-ietf-ohai-chunked-ohttp-08).

    client   sealer = ChunkedRequestSealer(config)            sealer.seal(…)…, sealer.finish(…)
    gateway  opener = ChunkedRequestOpener(ring, now)         opener.feed(…)…, opener.eof()
    gateway  sealer = ChunkedResponseSealer(opener.response)  sealer.seal(…)…, sealer.finish(…)
    client   opener = ChunkedResponseOpener(sealer.response)  opener.feed(…)…, opener.eof()

Order and end are authenticated: each chunk's number is in its nonce, and the final one is marked.
A chunk that was altered, dropped, repeated or moved does not open, nor does anything after it; a
stream without its final chunk is never complete. Chunks and pieces of the message inside need not
line up.

Openers give plain chunks in order. What is wrong is raised by the call after the one that gave the
last good chunk, so that the pieces the bytes come in make no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from antiphon.seal import hpke
from antiphon.seal.encode import encode_content
from antiphon.seal.errors import SealError, TruncatedError
from antiphon.seal.exchange import HEADER_BYTES, ResponseSecret, accept, begin, header_bytes
from antiphon.seal.frames import CHUNK_BYTES, MAX_CHUNK_BYTES, MAX_FINAL_BYTES, ChunkFrames
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.keys import Keyring, SealKey
from antiphon.seal.suites import TAG_BYTES, Suite
from antiphon.seal.varint import varint

__all__ = [
    "ChunkedRequestOpener",
    "ChunkedRequestSealer",
    "ChunkedResponseOpener",
    "ChunkedResponseSealer",
]

_FINAL: Final = b"final"
_TWO_BYTES: Final = 0x40
"""The smallest number whose variable-length integer takes two bytes …"""
_TWO_BYTES_MARK: Final = 0x4000
"""… its first bits, and the smallest number that takes more."""
_CONTENT_BYTES: Final = _TWO_BYTES_MARK - 2 - TAG_BYTES
"""Content of fewer bytes takes two for its length and is sealed into so few that two say it."""


class _Sealer:
    """What both sealers share."""

    def __init__(self, start: bytes, seal: Callable[[bytes, bytes], bytes]) -> None:
        self._start = start
        self._seal = seal
        self._done = False

    def seal(self, data: bytes) -> bytes:
        """The bytes to send for ``data`` now: one chunk, or several if it is larger than every
        receiver takes. Nothing for nothing. The first call also gives what the stream begins with.
        """
        if self._done:
            raise ValueError("the message is finished")
        if 0 < len(data) <= CHUNK_BYTES and not self._start:
            sealed = self._seal(data, b"")
            return varint(len(sealed)) + sealed
        if not data:
            return b""
        parts, self._start = [self._start], b""
        for at in range(0, len(data), CHUNK_BYTES):
            sealed = self._seal(data[at : at + CHUNK_BYTES], b"")
            parts += (varint(len(sealed)), sealed)
        return b"".join(parts)

    def finish(self, data: bytes = b"") -> bytes:
        """The final chunk with what is left, and the end. Nothing can be sealed afterwards."""
        head, tail = data[:-CHUNK_BYTES], data[-CHUNK_BYTES:]
        before = self.seal(head)
        start, self._start = self._start, b""
        self._done = True
        return b"".join((before, start, b"\0", self._seal(tail, _FINAL)))


class ChunkedRequestSealer(_Sealer):
    """The client's side of a request. Sealing all at once and not waiting for answers keeps the
    gateway from measuring the distance to the client (section 7.2 of the draft).
    """

    def __init__(
        self, config: KeyConfig, *, suite: Suite | None = None, ephemeral: bytes | None = None
    ) -> None:
        """``suite``: one of the configuration's, else its first. ``ephemeral`` is for the examples
        of the specification alone. Raises KeyConfigError.
        """
        start, context, self.response = begin(config, suite, chunked=True, ephemeral=ephemeral)
        super().__init__(start, context.seal)


class ChunkedResponseSealer(_Sealer):
    """The gateway's side of a response: its AEAD is set up once, a chunk costs two microseconds."""

    def __init__(self, response: ResponseSecret, *, nonce: bytes | None = None) -> None:
        """``nonce`` is for the examples of the specification alone."""
        start = nonce or hpke.random_nonce(response.suite.response_nonce)
        keys = response.keys(start)
        self._next_nonce, self._encrypt = keys.next_nonce, keys.encrypt
        super().__init__(start, keys.seal)

    def seal_content(self, data: bytes) -> bytes:
        """What `seal` gives for a piece of content (`encode_content`), in one step for sizes that
        tokens have: each call more is felt where the processor has slept since the last token.
        """
        size = len(data)
        if self._start or self._done or not _TWO_BYTES <= size < _CONTENT_BYTES:
            return self.seal(encode_content(data))
        plain = (size | _TWO_BYTES_MARK).to_bytes(2, "big") + data
        sealed = self._encrypt(self._next_nonce(), plain, None)
        return (len(sealed) | _TWO_BYTES_MARK).to_bytes(2, "big") + sealed


class _Opener:
    """What both openers share. `_begin` reads what comes before the chunks."""

    def __init__(self, *, max_chunk: int, max_final: int) -> None:
        self._frames = ChunkFrames(max_chunk=max_chunk, max_final=max_final)
        self._start = bytearray()
        self._open: Callable[[bytes, bytes], bytes] | None = None
        self._failure: SealError | None = None
        self._done = False

    def feed(self, data: bytes) -> list[bytes]:
        """The plain chunks that ``data`` completes; the final one comes from `eof`.

        Raises OpenError; at the gateway also UnknownKeyError.
        """
        if self._done:
            raise ValueError("the message has ended")
        if self._failure is not None:
            raise self._failure
        chunks: list[bytes] = []
        try:
            if self._open is None:
                self._start += data
                start = self._begin(self._start)
                if not start or self._open is None:
                    return chunks
                data = bytes(self._start[start:])
                self._start.clear()
            for sealed in self._frames.feed(data):
                plain = self._open(sealed, b"")
                if not plain:
                    raise hpke.cannot_open()
                chunks.append(plain)
        except hpke.REFUSED:
            self._failure = hpke.cannot_open()
        except SealError as failure:
            self._failure = failure
        if self._failure is not None and not chunks:
            raise self._failure from None
        return chunks

    def eof(self) -> bytes:
        """The plain final chunk, which may be empty: only now is the message complete.

        Raises OpenError; at the client TruncatedError if the stream ended too early.
        """
        if self._failure is not None:
            raise self._failure
        self._done = True
        try:
            if self._open is None:
                raise TruncatedError("the stream ends before its first chunk")
            return self._open(self._frames.eof(), _FINAL)
        except hpke.REFUSED:
            self._failure = hpke.cannot_open()
        except SealError as failure:
            self._failure = self._cut(failure)
        raise self._failure from None

    def _begin(self, start: bytearray) -> int:
        """How much of ``start`` came before the chunks, once it is all there; 0 until then."""
        raise NotImplementedError

    def _cut(self, failure: SealError) -> SealError:
        return failure


class ChunkedRequestOpener(_Opener):
    """The gateway's side of a request.

    ``key``, ``response`` and ``replay_nonce`` are there once `feed` has given a chunk or `eof` has.
    Claim the nonce before acting on anything. All failures but an unknown key are one OpenError.
    """

    key: SealKey
    response: ResponseSecret
    replay_nonce: str

    def __init__(
        self,
        ring: Keyring,
        now: float,
        *,
        max_chunk: int = MAX_CHUNK_BYTES,
        max_final: int = MAX_FINAL_BYTES,
    ) -> None:
        super().__init__(max_chunk=max_chunk, max_final=max_final)
        self._ring = ring
        self._now = now

    def _begin(self, start: bytearray) -> int:
        if len(start) < HEADER_BYTES:
            return 0
        size = header_bytes(start, self._ring, self._now)
        if len(start) < size:
            return 0
        accepted = accept(bytes(start[:size]), self._ring, self._now, chunked=True)
        self.key = accepted.key
        self.response = accepted.response
        self.replay_nonce = accepted.replay_nonce
        self._open = accepted.context.open
        return size

    def _cut(self, failure: SealError) -> SealError:
        return hpke.cannot_open()


class ChunkedResponseOpener(_Opener):
    """The client's side of a response."""

    def __init__(
        self,
        response: ResponseSecret,
        *,
        max_chunk: int = MAX_CHUNK_BYTES,
        max_final: int = MAX_FINAL_BYTES,
    ) -> None:
        super().__init__(max_chunk=max_chunk, max_final=max_final)
        self._response = response

    def _begin(self, start: bytearray) -> int:
        size = self._response.suite.response_nonce
        if len(start) < size:
            return 0
        self._open = self._response.keys(bytes(start[:size])).open
        return size
