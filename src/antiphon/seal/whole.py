"""Sealing whole messages: `message/ohttp-req` and `message/ohttp-res` (RFC 9458, section 4).

    client   sealed = seal_request(config, message);  send sealed.body
    gateway  opened = open_request(ring, body, now);  answer seal_response(opened.response, message)
    client   open_response(sealed.response, body)

Messages are Binary HTTP: `antiphon.seal.encode`, `antiphon.seal.decode`.
"""

from __future__ import annotations

import msgspec

from antiphon.seal import hpke
from antiphon.seal.exchange import HEADER_BYTES, ResponseSecret, accept, begin, header_bytes
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.keys import Keyring, SealKey
from antiphon.seal.suites import TAG_BYTES, Suite

__all__ = [
    "OpenedRequest",
    "SealedRequest",
    "open_request",
    "open_response",
    "seal_request",
    "seal_response",
]


class SealedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request ready to send, and what opens its response."""

    body: bytes
    response: ResponseSecret


class OpenedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was opened: authentic, but perhaps not for the first time. Claim
    ``replay_nonce`` before acting on it.
    """

    message: bytes
    key: SealKey
    response: ResponseSecret
    replay_nonce: str


def seal_request(
    config: KeyConfig,
    message: bytes,
    *,
    suite: Suite | None = None,
    ephemeral: bytes | None = None,
) -> SealedRequest:
    """Seal a request with a new key. ``suite``: one of the configuration's, else its first.
    ``ephemeral`` is for the examples of the specification alone. Raises KeyConfigError.
    """
    start, context, response = begin(config, suite, chunked=False, ephemeral=ephemeral)
    return SealedRequest(body=start + context.seal(message), response=response)


def open_request(ring: Keyring, body: bytes, now: float) -> OpenedRequest:
    """Open a request. Raises UnknownKeyError, or OpenError for everything else that is wrong."""
    if len(body) < HEADER_BYTES:
        raise hpke.cannot_open()
    end = header_bytes(body, ring, now)
    try:
        accepted = accept(body[:end], ring, now, chunked=False)
        message = accepted.context.open(body[end:])
    except hpke.REFUSED:
        raise hpke.cannot_open() from None
    return OpenedRequest(
        message=message,
        key=accepted.key,
        response=accepted.response,
        replay_nonce=accepted.replay_nonce,
    )


def seal_response(response: ResponseSecret, message: bytes, *, nonce: bytes | None = None) -> bytes:
    """Seal the response to a request, once. ``nonce`` is for the examples of the specification."""
    first = nonce or hpke.random_nonce(response.suite.response_nonce)
    return first + response.keys(first).seal(message)


def open_response(response: ResponseSecret, body: bytes) -> bytes:
    """Open the response to a request. Raises OpenError."""
    size = response.suite.response_nonce
    if len(body) < size + TAG_BYTES:
        raise hpke.cannot_open()
    return response.keys(body[:size]).open(body[size:])
