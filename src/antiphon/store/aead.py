"""Authenticated encryption with one secret for any number of messages.

AES-256-GCM with a key of its own for each message: HMAC-SHA256 of the secret over a label and half
of a random 24-byte nonce; the other half is GCM's. So nonces do not repeat however many messages
there are, and what was sealed for one purpose opens for no other.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from antiphon.errors import MissingExtraError

__all__ = ["NONCE_BYTES", "SECRET_BYTES", "open_", "require", "seal"]

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 24
_HALF: Final = 12
_TAG_BYTES: Final = 16


def require() -> None:
    """Raises MissingExtraError without the library that does it."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("cryptography", "gateway") from error


def seal(secret: bytes, label: bytes, data: bytes, associated: bytes) -> bytes:
    """``data`` so that only the secret opens it, and only beside ``associated``."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    cipher = AESGCM(_message_key(secret, label, nonce))
    return nonce + cipher.encrypt(nonce[_HALF:], data, associated)


def open_(secret: bytes, label: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """What was sealed; None if anything of it is not as it was."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < NONCE_BYTES + _TAG_BYTES:
        return None
    nonce = sealed[:NONCE_BYTES]
    cipher = AESGCM(_message_key(secret, label, nonce))
    try:
        return cipher.decrypt(nonce[_HALF:], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None


def _message_key(secret: bytes, label: bytes, nonce: bytes) -> bytes:
    return hmac.digest(secret, label + nonce[:_HALF], "sha256")
