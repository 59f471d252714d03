"""The algorithms sealed messages may use, by the numbers of the IANA HPKE registry.

`Suite` is what a request's header names: a KEM, a KDF and an AEAD. Importing this costs nothing;
`antiphon.seal.hpke` has the cryptography.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from antiphon.seal.errors import KeyConfigError

__all__ = [
    "AEADS",
    "HKDF_SHA256",
    "HYBRID",
    "KEMS",
    "NONCE_BYTES",
    "TAG_BYTES",
    "Aead",
    "Kem",
    "Suite",
    "Symmetric",
    "aead_named",
    "kem_named",
]


class Kem(msgspec.Struct, frozen=True, kw_only=True):
    """A key encapsulation mechanism and the lengths of what it makes, in bytes."""

    id: int
    name: str
    public: int
    """A public key (Npk)."""
    encapsulated: int
    """An encapsulated key (Nenc)."""
    secret: int = 32
    """A private key (Nsk)."""


class Aead(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated cipher. All of ours have nonces of 12 bytes and tags of 16."""

    id: int
    name: str
    key: int
    """Bytes of a key (Nk)."""


_HEADER: Final = struct.Struct(">BHHH")
HKDF_SHA256: Final = 0x0001
HYBRID: Final = 0x647A
"""ML-KEM-768 with X25519, which the registry calls X-Wing: safe while either of the two is."""
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

KEMS: Final = {
    kem.id: kem
    for kem in (
        Kem(id=0x0020, name="x25519", public=32, encapsulated=32),
        Kem(id=0x0010, name="p256", public=65, encapsulated=65),
        Kem(id=HYBRID, name="mlkem768-x25519", public=1216, encapsulated=1120),
    )
}
"""By number. All of them use SHA-2 or SHA-3 of 256 bits inside."""

AEADS: Final = {
    aead.id: aead
    for aead in (
        Aead(id=0x0001, name="aes-128-gcm", key=16),
        Aead(id=0x0003, name="chacha20-poly1305", key=32),
    )
}


class Symmetric(msgspec.Struct, frozen=True):
    """A pair of KDF and AEAD, as a key configuration lists them."""

    kdf: int
    aead: int

    @property
    def supported(self) -> bool:
        return self.kdf == HKDF_SHA256 and self.aead in AEADS


class Suite(msgspec.Struct, frozen=True):
    """A KEM, a KDF and an AEAD that are all supported."""

    kem: int
    kdf: int
    aead: int

    @property
    def supported(self) -> bool:
        return self.kem in KEMS and Symmetric(self.kdf, self.aead).supported

    @property
    def response_nonce(self) -> int:
        """Bytes of the nonce a response begins with: max(Nn, Nk) (RFC 9458, section 4.2)."""
        return max(NONCE_BYTES, AEADS[self.aead].key)

    def header(self, key_id: int) -> bytes:
        """The seven bytes a request begins with (RFC 9458, section 4.1)."""
        return _HEADER.pack(key_id, self.kem, self.kdf, self.aead)

    def __str__(self) -> str:
        return f"{KEMS[self.kem].name}, hkdf-sha256, {AEADS[self.aead].name}"


def kem_named(name: str) -> Kem:
    """Raises KeyConfigError with the names there are."""
    for kem in KEMS.values():
        if kem.name == name:
            return kem
    raise KeyConfigError(f"{name!r} is not one of {', '.join(k.name for k in KEMS.values())}")


def aead_named(name: str) -> Aead:
    """Raises KeyConfigError with the names there are."""
    for aead in AEADS.values():
        if aead.name == name:
            return aead
    raise KeyConfigError(f"{name!r} is not one of {', '.join(a.name for a in AEADS.values())}")
