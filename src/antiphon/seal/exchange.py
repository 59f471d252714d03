"""One request and its response, as both sides of Oblivious HTTP see them (RFC 9458, section 4).

The header of a request, the HPKE context it leads to, and the secret of the response: what sealing
whole messages and sealing chunk by chunk have in common. They differ in two labels.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.seal import hpke
from antiphon.seal.errors import KeyConfigError, SealError
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.keys import Keyring, SealKey
from antiphon.seal.suites import KEMS, Suite

__all__ = ["HEADER_BYTES", "Accepted", "ResponseSecret", "accept", "begin", "header_bytes"]

HEADER_BYTES: Final = 7
"""Key identifier, KEM, KDF and AEAD. The encapsulated key follows."""

_WHOLE: Final = (b"message/bhttp request\0", b"message/bhttp response")
_CHUNKED: Final = (b"message/bhttp chunked request\0", b"message/bhttp chunked response")


class ResponseSecret(msgspec.Struct, frozen=True, kw_only=True):
    """All a client must keep to open the response to one request, and all a gateway needs to seal
    it. Good for one response. Its repr shows no secret.
    """

    suite: Suite
    enc: bytes
    secret: bytes
    chunked: bool

    @classmethod
    def decode(cls, data: bytes) -> ResponseSecret:
        """From `encode`. Raises SealError."""
        try:
            saved = _decoder.decode(data)
            suite = Suite(saved.kem, saved.kdf, saved.aead)
            enc, secret = b64decode(saved.enc), b64decode(saved.secret)
        except (msgspec.DecodeError, ValueError):
            raise SealError("the saved state of a request is not one, or damaged") from None
        if (
            not suite.supported
            or len(enc) != KEMS[suite.kem].encapsulated
            or len(secret) != suite.response_nonce
        ):
            raise SealError("the saved state of a request is not one, or damaged")
        return cls(suite=suite, enc=enc, secret=secret, chunked=saved.chunked)

    def encode(self) -> bytes:
        """JSON, for those who send the request with one program and open the response with another.
        Keep it as secret as the answer.
        """
        saved = _Saved(
            kem=self.suite.kem,
            kdf=self.suite.kdf,
            aead=self.suite.aead,
            enc=b64encode(self.enc).decode("ascii"),
            secret=b64encode(self.secret).decode("ascii"),
            chunked=self.chunked,
        )
        return msgspec.json.encode(saved) + b"\n"

    def keys(self, nonce: bytes) -> hpke.MessageKeys:
        """The keys of the response that begins with ``nonce``."""
        return hpke.response_keys(self.suite, self.enc, self.secret, nonce)

    def __repr__(self) -> str:
        return f"ResponseSecret(suite={self.suite}, chunked={self.chunked})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("suite", str(self.suite)), ("chunked", self.chunked)]


_Id = Annotated[int, Meta(ge=0, le=0xFFFF)]


class _Saved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    antiphon_seal_state: Literal[1] = 1
    kem: _Id
    kdf: _Id
    aead: _Id
    enc: str
    secret: str
    chunked: bool


_decoder = msgspec.json.Decoder(_Saved)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose header names a key of ours. Nothing of it has been opened yet."""

    key: SealKey
    context: hpke.Context
    response: ResponseSecret

    @property
    def replay_nonce(self) -> str:
        """What is the same if the same request comes twice, and never otherwise: a digest of the
        key and the encapsulated key, 64 hexadecimal digits.
        """
        fingerprint = self.key.config.fingerprint.encode("ascii")
        return hashlib.sha256(fingerprint + self.response.enc).hexdigest()


def begin(
    config: KeyConfig, suite: Suite | None, *, chunked: bool, ephemeral: bytes | None = None
) -> tuple[bytes, hpke.Context, ResponseSecret]:
    """The client's side: the header with the encapsulated key, the context, the response's secret.
    Raises KeyConfigError if the configuration does not offer the suite, or none we have.
    """
    offered = config.suites
    chosen = suite or next(iter(offered), None)
    if chosen is None or chosen not in offered:
        raise KeyConfigError("the gateway's key does not offer a usable suite")
    request_label, response_label = _CHUNKED if chunked else _WHOLE
    header = chosen.header(config.key_id)
    enc, context = hpke.sender(config, chosen, request_label + header, ephemeral)
    return header + enc, context, _response(chosen, enc, context, response_label, chunked=chunked)


def header_bytes(start: bytes | bytearray, ring: Keyring, now: float) -> int:
    """How long header and encapsulated key are together, from the first `HEADER_BYTES` of a
    request. Raises UnknownKeyError for a key that is not in the ring, before anything else.
    """
    key, _ = ring.find(start[0], now)
    return HEADER_BYTES + KEMS[key.config.kem].encapsulated


def accept(start: bytes, ring: Keyring, now: float, *, chunked: bool) -> Accepted:
    """The gateway's side, from header and encapsulated key. Raises UnknownKeyError or OpenError."""
    key, private = ring.find(start[0], now)
    for suite in key.config.suites:
        if suite.header(key.config.key_id) == start[:HEADER_BYTES]:
            break
    else:
        raise hpke.cannot_open()
    request_label, response_label = _CHUNKED if chunked else _WHOLE
    enc = start[HEADER_BYTES:]
    context = hpke.recipient(suite, enc, private, request_label + start[:HEADER_BYTES])
    response = _response(suite, enc, context, response_label, chunked=chunked)
    return Accepted(key=key, context=context, response=response)


def _response(
    suite: Suite, enc: bytes, context: hpke.Context, label: bytes, *, chunked: bool
) -> ResponseSecret:
    secret = context.export(label, suite.response_nonce)
    return ResponseSecret(suite=suite, enc=enc, secret=secret, chunked=chunked)
