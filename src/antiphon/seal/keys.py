"""The gateway's private keys: making them, their file format, and the ring that requests are opened
with.

A key file is JSON, so that a person sees what it is without it being parsed by a guess:

    {"antiphon_seal_key": 1, "key_id": 7, "kem": "x25519", "ciphers": ["aes-128-gcm", …],
     "created": 1793664000, "expires": null, "secret": "base64", "fingerprint": "sha256:…"}

The fingerprint is checked when a file is read, so that a damaged or edited file is noticed before a
client does. Reading and writing files, and their permissions, are the caller's.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.seal import hpke
from antiphon.seal.errors import KeyConfigError, UnknownKeyError
from antiphon.seal.keyconfig import KeyConfig, encode_keys
from antiphon.seal.suites import AEADS, HKDF_SHA256, Suite, Symmetric, aead_named, kem_named

__all__ = ["DEFAULT_CIPHERS", "MAX_KEY_FILE_BYTES", "Keyring", "SealKey"]

MAX_KEY_FILE_BYTES: Final = 16 * 1024

DEFAULT_CIPHERS: Final = ("aes-128-gcm", "chacha20-poly1305")
"""The first is what clients take that can do both."""


class SealKey(msgspec.Struct, frozen=True, kw_only=True):
    """A private key with its public configuration. Its repr shows no secret."""

    config: KeyConfig
    secret: bytes
    created: int
    """Seconds since 1970."""
    expires: int | None = None
    """From then on requests for it are requests for an unknown key."""

    @classmethod
    def generate(
        cls,
        key_id: int,
        *,
        created: int,
        expires: int | None = None,
        kem: str = "x25519",
        ciphers: Sequence[str] = DEFAULT_CIPHERS,
    ) -> SealKey:
        """A new key. ``key_id`` must not be one that clients may still know for another key.
        Raises KeyConfigError for a KEM or a cipher there is not.
        """
        secret = hpke.generate_secret(kem_named(kem).id)
        return cls.from_secret(
            key_id, secret, created=created, expires=expires, kem=kem, ciphers=ciphers
        )

    @classmethod
    def from_secret(
        cls,
        key_id: int,
        secret: bytes,
        *,
        created: int,
        expires: int | None = None,
        kem: str = "x25519",
        ciphers: Sequence[str] = DEFAULT_CIPHERS,
    ) -> SealKey:
        """The key that belongs to a secret. Raises KeyConfigError."""
        if not 0 <= key_id <= 255:
            raise KeyConfigError("a key identifier is 0 to 255")
        if not ciphers or len(set(ciphers)) != len(ciphers):
            raise KeyConfigError("a key needs ciphers, each once")
        number = kem_named(kem).id
        config = KeyConfig(
            key_id=key_id,
            kem=number,
            public_key=hpke.public_key_of(number, hpke.load_secret(number, secret)),
            symmetric=tuple(Symmetric(HKDF_SHA256, aead_named(name).id) for name in ciphers),
        )
        return cls(config=config, secret=secret, created=created, expires=expires)

    @classmethod
    def decode(cls, data: bytes) -> SealKey:
        """From the content of a key file. Raises KeyConfigError without quoting any of it."""
        if len(data) > MAX_KEY_FILE_BYTES:
            raise KeyConfigError("a key file is too long to be one")
        try:
            file = _decoder.decode(data)
            secret = b64decode(file.secret, validate=True)
        except (msgspec.DecodeError, binascii.Error, ValueError):
            raise KeyConfigError("a key file is not one, or damaged") from None
        key = cls.from_secret(
            file.key_id,
            secret,
            created=file.created,
            expires=file.expires,
            kem=file.kem,
            ciphers=file.ciphers,
        )
        if key.config.fingerprint != file.fingerprint:
            raise KeyConfigError("a key file's fingerprint does not belong to its key")
        return key

    def encode(self) -> bytes:
        """The content of a key file."""
        kem = Suite(self.config.kem, 1, 1)
        file = _KeyFile(
            key_id=self.config.key_id,
            kem=str(kem).split(",", 1)[0],
            ciphers=tuple(AEADS[pair.aead].name for pair in self.config.symmetric),
            created=self.created,
            expires=self.expires,
            secret=b64encode(self.secret).decode("ascii"),
            fingerprint=self.config.fingerprint,
        )
        return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires

    def __repr__(self) -> str:
        return f"SealKey(key_id={self.config.key_id}, fingerprint={self.config.fingerprint!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("key_id", self.config.key_id), ("fingerprint", self.config.fingerprint)]


class _KeyFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    antiphon_seal_key: Literal[1] = 1
    key_id: Annotated[int, Meta(ge=0, le=255)]
    kem: str
    ciphers: tuple[str, ...]
    created: int
    expires: int | None = None
    secret: str
    fingerprint: str


_decoder = msgspec.json.Decoder(_KeyFile)


class Keyring:
    """The keys a gateway takes requests for, the one it publishes first in front.

    A ring is a value: to rotate, build the next one with the new key first and the old one behind
    it until it expires. Requests that are under way keep the ring they began with.
    """

    def __init__(self, keys: Iterable[SealKey]) -> None:
        """Raises KeyConfigError if there is no key, or two with one identifier."""
        self._keys = tuple(keys)
        self._by_id = {
            key.config.key_id: (key, hpke.load_secret(key.config.kem, key.secret))
            for key in self._keys
        }
        if not self._keys or len(self._by_id) != len(self._keys):
            raise KeyConfigError("a gateway needs keys, each with an identifier of its own")

    @property
    def keys(self) -> tuple[SealKey, ...]:
        return self._keys

    @property
    def current(self) -> SealKey:
        """The one clients should use."""
        return self._keys[0]

    def published(self, now: float) -> bytes:
        """The `application/ohttp-keys` list: the keys that have not expired, the current one first.
        Empty once all have.
        """
        return encode_keys(key.config for key in self._keys if not key.expired(now))

    def free_key_id(self) -> int:
        """An identifier for the next key: the one after the current key's that is not in use."""
        start = self.current.config.key_id
        for step in range(1, 257):
            if (key_id := (start + step) % 256) not in self._by_id:
                return key_id
        raise KeyConfigError("all 256 key identifiers are in use")

    def find(self, key_id: int, now: float) -> tuple[SealKey, hpke.LoadedKey]:
        """Raises UnknownKeyError, also if the key has expired."""
        found = self._by_id.get(key_id)
        if found is None or found[0].expired(now):
            raise UnknownKeyError(key_id)
        return found
