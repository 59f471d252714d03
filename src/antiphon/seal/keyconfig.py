"""Public key configurations (RFC 9458, section 3), lists of them, fingerprints and pins.

A fingerprint is the SHA-256 of one encoded configuration, key identifier and algorithms included,
so that nobody in between can take an algorithm away either.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec

from antiphon.seal.errors import KeyConfigError, PinError
from antiphon.seal.suites import KEMS, Suite, Symmetric

__all__ = [
    "MAX_KEYS_BYTES",
    "KeyConfig",
    "Pin",
    "decode_keys",
    "encode_keys",
]

MAX_KEYS_BYTES: Final = 64 * 1024
"""Of a list of configurations. The largest of ours, a hybrid, is 1.2 kB."""

_FINGERPRINT: Final = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+\Z")


class KeyConfig(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One public key and what may be done with it. Encoding gives back the bytes it came from."""

    key_id: int
    """0 to 255."""
    kem: int
    public_key: bytes
    symmetric: tuple[Symmetric, ...]
    """In the gateway's order of preference; unsupported ones included."""

    @classmethod
    def decode(cls, data: bytes) -> KeyConfig:
        """Raises KeyConfigError, also for a KEM that is not supported."""
        if len(data) < 3:
            raise KeyConfigError("a key configuration is too short")
        kem = KEMS.get(int.from_bytes(data[1:3], "big"))
        if kem is None:
            raise KeyConfigError("a key configuration is for a KEM that is not supported")
        at = 3 + kem.public
        size = int.from_bytes(data[at : at + 2], "big")
        pairs = data[at + 2 :]
        if len(data) < at + 2 or len(pairs) != size or not size or size % 4:
            raise KeyConfigError("a key configuration has the wrong length")
        return cls(
            key_id=data[0],
            kem=kem.id,
            public_key=data[3:at],
            symmetric=tuple(
                Symmetric(
                    int.from_bytes(pairs[n : n + 2], "big"),
                    int.from_bytes(pairs[n + 2 : n + 4], "big"),
                )
                for n in range(0, size, 4)
            ),
        )

    def encode(self) -> bytes:
        pairs = b"".join(
            pair.kdf.to_bytes(2, "big") + pair.aead.to_bytes(2, "big") for pair in self.symmetric
        )
        return b"".join(
            (
                bytes((self.key_id,)),
                self.kem.to_bytes(2, "big"),
                self.public_key,
                len(pairs).to_bytes(2, "big"),
                pairs,
            )
        )

    @cached_property
    def suites(self) -> tuple[Suite, ...]:
        """Those both sides can use, the gateway's favourite first. Empty: not usable by us."""
        return tuple(
            Suite(self.kem, pair.kdf, pair.aead) for pair in self.symmetric if pair.supported
        )

    @cached_property
    def fingerprint(self) -> str:
        """``sha256:`` and 64 hexadecimal digits."""
        return f"sha256:{hashlib.sha256(self.encode()).hexdigest()}"


def encode_keys(configs: Iterable[KeyConfig]) -> bytes:
    """An `application/ohttp-keys` list."""
    encoded = [config.encode() for config in configs]
    return b"".join(len(one).to_bytes(2, "big") + one for one in encoded)


def decode_keys(data: bytes) -> tuple[KeyConfig, ...]:
    """The usable configurations of a list, in its order.

    A list with any mistake is refused as a whole, because picking from it could be used to tell
    clients apart (RFC 9458, section 3.2); well-formed configurations for other KEMs or suites are
    passed over. Raises KeyConfigError, also if none can be used.
    """
    if len(data) > MAX_KEYS_BYTES:
        raise KeyConfigError("the list of key configurations is too long")
    configs = []
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        one = data[at + 2 : at + 2 + size]
        if len(data) < at + 2 or len(one) != size or size < 3:
            raise KeyConfigError("the list of key configurations is cut off or damaged")
        at += 2 + size
        if int.from_bytes(one[1:3], "big") in KEMS:
            config = KeyConfig.decode(one)
            if config.suites:
                configs.append(config)
    if not configs:
        raise KeyConfigError("none of the gateway's key configurations can be used")
    return tuple(configs)


class Pin(msgspec.Struct, frozen=True):
    """What a client was told about the gateway's key beforehand."""

    fingerprint: str
    config: KeyConfig | None = None
    """The whole configuration, if that was what it was told: nothing need be fetched then."""

    @classmethod
    def parse(cls, text: str) -> Pin:
        """From a fingerprint, with or without ``sha256:``, or from a configuration or a list with
        one of them, in hexadecimal or base64. Raises KeyConfigError.
        """
        text = text.strip()
        if found := _FINGERPRINT.match(text):
            return cls(f"sha256:{found[1].lower()}")
        try:
            data = bytes.fromhex(text) if _HEX.match(text) else _base64(text)
        except (ValueError, binascii.Error):
            raise KeyConfigError(
                "the pin is neither a SHA-256 fingerprint nor a key configuration"
            ) from None
        if len(data) > 2 and int.from_bytes(data[:2], "big") == len(data) - 2:
            data = data[2:]
        config = KeyConfig.decode(data)
        return cls(config.fingerprint, config)

    @classmethod
    def of(cls, config: KeyConfig) -> Pin:
        """The pin of a configuration that was seen: trust on first use."""
        return cls(config.fingerprint, config)

    def pick(self, configs: Iterable[KeyConfig]) -> KeyConfig:
        """The pinned one of the gateway's configurations. Raises PinError if it is not there."""
        seen = list(configs)
        for config in seen:
            if config.fingerprint == self.fingerprint:
                return config
        shown = ", ".join(config.fingerprint for config in seen) or "none"
        raise PinError(f"the gateway's key is not the pinned {self.fingerprint}; it has {shown}")


def _base64(text: str) -> bytes:
    standard = text.replace("-", "+").replace("_", "/")
    return b64decode(standard + "=" * (-len(standard) % 4), validate=True)
