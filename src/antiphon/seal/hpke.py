"""HPKE (RFC 9180) as Oblivious HTTP uses it: base mode, one context for a request, one exported
secret for its response.

pyhpke does HPKE. It lacks the hybrid KEM, which `antiphon.seal.hybrid` adds. The keys of a response
are plain HKDF and an AEAD of `cryptography`, set up once for a response (RFC 9458, section 4.4).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import count, repeat
from typing import Final

from antiphon.errors import MissingExtraError
from antiphon.seal.errors import KeyConfigError, OpenError
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.suites import AEADS, HYBRID, KEMS, NONCE_BYTES, Suite

try:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMInterface, KEMKeyPair, PyHPKEError
    from pyhpke import ContextInterface as Context
    from pyhpke import KEMKeyInterface as LoadedKey
except ModuleNotFoundError as missing:
    raise MissingExtraError("pyhpke", "seal") from missing

__all__ = [
    "Context",
    "LoadedKey",
    "MessageKeys",
    "cannot_open",
    "generate_secret",
    "load_secret",
    "public_key_of",
    "random_nonce",
    "recipient",
    "response_keys",
    "sender",
]

KNOWN_KEYS: Final = 64
"""Public keys that are kept as the library wants them; a client has one for each gateway."""
_CANNOT_OPEN: Final = "the sealed message cannot be opened"

REFUSED: Final = (InvalidTag, PyHPKEError, UnsupportedAlgorithm, ValueError)
"""What the libraries raise for keys, points and ciphertexts that are not right."""


def cannot_open() -> OpenError:
    """The one error for everything that does not open."""
    return OpenError(_CANNOT_OPEN)


@cache
def _cipher_suite(suite: Suite) -> CipherSuite:
    kdf, aead = KDFId(suite.kdf), AEADId(suite.aead)
    if suite.kem != HYBRID:
        return CipherSuite.new(KEMId(suite.kem), kdf, aead)
    try:
        from antiphon.seal.hybrid import HybridKem
    except ImportError as missing:  # pragma: no cover - an old release of the library
        raise KeyConfigError("the hybrid KEM needs a newer release of cryptography") from missing
    plain = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, kdf, aead)
    return CipherSuite(HybridKem(), plain.kdf, plain.aead)


def _kem(kem: int) -> KEMInterface:
    return _cipher_suite(Suite(kem, 1, 1)).kem


@lru_cache(maxsize=KNOWN_KEYS)
def _public(kem: int, key: bytes) -> LoadedKey:
    return _kem(kem).deserialize_public_key(key)


def sender(
    config: KeyConfig, suite: Suite, info: bytes, ephemeral: bytes | None = None
) -> tuple[bytes, Context]:
    """The encapsulated key and the client's context. Raises KeyConfigError for an unusable key.

    ``ephemeral`` fixes the secret that must be new for every request; only the examples of the
    specifications do that.
    """
    cipher = _cipher_suite(suite)
    try:
        public = _public(config.kem, config.public_key)
        pair = None
        if ephemeral is not None:
            private = cipher.kem.deserialize_private_key(ephemeral)
            mine = cipher.kem.deserialize_public_key(public_key_of(suite.kem, private))
            pair = KEMKeyPair(private, mine)
        return cipher.create_sender_context(public, info, eks=pair)
    except REFUSED as error:
        raise KeyConfigError("the gateway's public key cannot be used") from error


def recipient(suite: Suite, enc: bytes, private: LoadedKey, info: bytes) -> Context:
    """The gateway's context. Raises OpenError."""
    try:
        return _cipher_suite(suite).create_recipient_context(enc, private, info)
    except REFUSED:
        raise cannot_open() from None


def generate_secret(kem: int) -> bytes:
    """A new private key, from the library's source of randomness."""
    if kem == HYBRID:
        return AESGCM.generate_key(256)
    if kem == KEMId.DHKEM_P256_HKDF_SHA256.value:
        number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        return number.to_bytes(32, "big")
    return X25519PrivateKey.generate().private_bytes_raw()


def load_secret(kem: int, secret: bytes) -> LoadedKey:
    """A private key, ready for use. Raises KeyConfigError."""
    try:
        if len(secret) != KEMS[kem].secret:
            raise ValueError("length")
        return _kem(kem).deserialize_private_key(secret)
    except REFUSED as error:
        raise KeyConfigError("the private key is not one of its kind") from error


def public_key_of(kem: int, private: LoadedKey) -> bytes:
    """The public key of a private one, as configurations have it."""
    if kem == HYBRID:
        return private.to_public_bytes()
    return type(private)(private.raw.public_key()).to_public_bytes()


def random_nonce(size: int) -> bytes:
    """16 or 32 random bytes: what the library takes for a new AES key."""
    return AESGCM.generate_key(8 * size)


class MessageKeys:
    """The AEAD of a response, set up once: nonces count up from the first."""

    __slots__ = ("decrypt", "encrypt", "next_nonce")

    encrypt: Callable[[bytes, bytes, bytes | None], bytes]
    """Of nonce, data and associated data; as `cryptography` has it."""
    next_nonce: Callable[[], bytes]
    decrypt: Callable[[bytes, bytes, bytes | None], bytes]

    def __init__(self, suite: Suite, key: bytes, nonce: bytes) -> None:
        cipher = AESGCM(key) if AEADS[suite.aead].name == "aes-128-gcm" else ChaCha20Poly1305(key)
        self.encrypt = cipher.encrypt
        self.decrypt = cipher.decrypt
        # 256**12 of them: no stream reaches the end of the count.
        numbers = map(int.from_bytes(nonce, "big").__xor__, count())
        nonces = map(int.to_bytes, numbers, repeat(NONCE_BYTES), repeat("big"))  # type: ignore[arg-type]
        self.next_nonce = nonces.__next__

    def seal(self, data: bytes, associated: bytes | None = None) -> bytes:
        return self.encrypt(self.next_nonce(), data, associated)

    def open(self, sealed: bytes, associated: bytes | None = None) -> bytes:
        """Raises OpenError."""
        try:
            return self.decrypt(self.next_nonce(), sealed, associated)
        except REFUSED:
            raise cannot_open() from None


def response_keys(suite: Suite, enc: bytes, secret: bytes, nonce: bytes) -> MessageKeys:
    """The keys of a response (RFC 9458, section 4.4). One block of HKDF is enough for each."""
    prk = hmac.digest(enc + nonce, secret, "sha256")
    key = hmac.digest(prk, b"key\x01", "sha256")[: AEADS[suite.aead].key]
    base = hmac.digest(prk, b"nonce\x01", "sha256")[:NONCE_BYTES]
    return MessageKeys(suite, key, base)
