"""The hybrid KEM of ML-KEM-768 and X25519: safe while either of the two is (X-Wing, 0x647a).

`cryptography` has both halves but puts them together only for single messages, without the exported
secret that responses need; pyhpke has none of it. So the combiner is here, ten lines of SHA-3 over
the library's primitives (draft-ietf-hpke-pq, draft-connolly-cfrg-xwing-kem, section 5), and the
tests hold it against the published vectors and against `cryptography`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pyhpke import KEMInterface, KEMKeyInterface, KEMKeyPair

from antiphon.seal.suites import HYBRID

__all__ = ["HybridKem"]

_LABEL: Final = rb"\.//^" + b"\\"
_MLKEM_PUBLIC: Final = 1184
_MLKEM_ENC: Final = 1088


class _HybridId:
    """What pyhpke asks a KEM's identifier for; its own enumeration ends before the hybrids."""

    value = HYBRID


class _PrivateKey(KEMKeyInterface):
    """A seed of 32 bytes and the two keys that grow from it."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        grown = hashlib.shake_256(seed).digest(96)
        self.mlkem = MLKEM768PrivateKey.from_seed_bytes(grown[:64])
        self.x25519 = X25519PrivateKey.from_private_bytes(grown[64:])

    def to_private_bytes(self) -> bytes:
        seed: bytes = self.raw
        return seed

    def to_public_bytes(self) -> bytes:
        return (
            self.mlkem.public_key().public_bytes_raw() + self.x25519.public_key().public_bytes_raw()
        )


class _PublicKey(KEMKeyInterface):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        if len(data) != _MLKEM_PUBLIC + 32:
            raise ValueError("a public key of the hybrid has 1216 bytes")
        self.mlkem = MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_PUBLIC])
        self.x25519 = X25519PublicKey.from_public_bytes(data[_MLKEM_PUBLIC:])

    def to_public_bytes(self) -> bytes:
        data: bytes = self.raw
        return data


class HybridKem(KEMInterface):
    """A KEM for pyhpke's `CipherSuite`. Keys and ciphertexts that are none raise ValueError."""

    @property
    def id(self) -> Any:
        return _HybridId

    def deserialize_private_key(self, key: bytes) -> KEMKeyInterface:
        return _PrivateKey(key)

    def deserialize_public_key(self, key: bytes) -> KEMKeyInterface:
        return _PublicKey(key)

    def encap(
        self,
        pkr: KEMKeyInterface,
        sks: KEMKeyInterface | None = None,
        eks: KEMKeyPair | None = None,
    ) -> tuple[bytes, bytes]:
        """The shared secret and its encapsulation. The library's randomness cannot be fixed."""
        if not isinstance(pkr, _PublicKey) or sks is not None or eks is not None:
            raise ValueError("the hybrid has the base mode and fresh keys only")
        secret_m, enc_m = pkr.mlkem.encapsulate()
        ephemeral = X25519PrivateKey.generate()
        enc_x = ephemeral.public_key().public_bytes_raw()
        secret_x = ephemeral.exchange(pkr.x25519)
        public_x = pkr.x25519.public_bytes_raw()
        return _combine(secret_m, secret_x, enc_x, public_x), enc_m + enc_x

    def decap(self, enc: bytes, skr: KEMKeyInterface, pks: KEMKeyInterface | None = None) -> bytes:
        if not isinstance(skr, _PrivateKey) or pks is not None:
            raise ValueError("the hybrid has the base mode only")
        enc_m, enc_x = enc[:_MLKEM_ENC], enc[_MLKEM_ENC:]
        secret_m = skr.mlkem.decapsulate(enc_m)
        secret_x = skr.x25519.exchange(X25519PublicKey.from_public_bytes(enc_x))
        public_x = skr.x25519.public_key().public_bytes_raw()
        return _combine(secret_m, secret_x, enc_x, public_x)


def _combine(secret_m: bytes, secret_x: bytes, enc_x: bytes, public_x: bytes) -> bytes:
    return hashlib.sha3_256(secret_m + secret_x + enc_x + public_x + _LABEL).digest()
