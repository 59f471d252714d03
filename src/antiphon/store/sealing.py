"""What clients carry for us, sealed: Responses' ``encrypted_content``.

It opens for the tenant it was sealed for, at every gateway with the same keys. A new key is made
each month; old ones go on opening for a year.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import time
from collections.abc import Callable
from typing import Final

from antiphon.errors import StoreError
from antiphon.store import aead
from antiphon.store.keyring import ID_BYTES, KeyRing, SecretKey

__all__ = ["KEEP_SECONDS", "ROTATE_SECONDS", "Sealer"]

ROTATE_SECONDS: Final = 30 * 86_400
"""Older keys seal nothing new."""
KEEP_SECONDS: Final = 365 * 86_400
"""Older keys are forgotten."""
_VERSION: Final = b"\x01"
_SIGNED: Final = b"antiphon signed content\x00"
_SIGNATURE_DIGITS: Final = 32
_LABEL: Final = b"antiphon sealed content\x00"
_HEADER_BYTES: Final = 1 + ID_BYTES


class Sealer:
    """Seals and opens. ``now`` is in Unix seconds."""

    def __init__(self, ring: KeyRing, *, now: Callable[[], float] = time.time) -> None:
        aead.require()
        self._ring = ring
        self._now = now

    def seal(self, tenant: str, data: bytes) -> str:
        """``data`` as text for the client to keep: URL-safe base64."""
        key = self._current()
        header = _VERSION + bytes.fromhex(key.id)
        sealed = aead.seal(key.secret, _LABEL, data, header + _bytes(tenant))
        return base64.urlsafe_b64encode(header + sealed).decode("ascii")

    def open(self, tenant: str, text: str) -> bytes | None:
        """What was sealed; None if it was not sealed by us for this tenant, or long ago."""
        try:
            data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        header = data[:_HEADER_BYTES]
        if len(header) != _HEADER_BYTES or header[:1] != _VERSION:
            return None
        key = self._ring.find(header[1:].hex())
        if key is None:
            return None
        return aead.open_(key.secret, _LABEL, data[_HEADER_BYTES:], header + _bytes(tenant))

    def sign(self, tenant: str, data: bytes) -> str:
        """What shows that we gave ``data`` to this tenant: 40 hexadecimal digits."""
        return self._signature(self._current(), tenant, data)

    def signed(self, tenant: str, data: bytes, signature: str) -> bool:
        """Whether `sign` made it, with a key that is still kept."""
        key = self._ring.find(signature[: 2 * ID_BYTES])
        if key is None or not signature.isascii():
            return False
        return hmac.compare_digest(self._signature(key, tenant, data), signature)

    @staticmethod
    def _signature(key: SecretKey, tenant: str, data: bytes) -> str:
        said = _SIGNED + _bytes(tenant) + b"\x00" + data
        return key.id + hmac.new(key.secret, said, "sha256").hexdigest()[:_SIGNATURE_DIGITS]

    def _current(self) -> SecretKey:
        key = self._ring.newest()
        now = int(self._now())
        if now - key.created < ROTATE_SECONDS:
            return key
        # Where the file is not ours to write, whoever provides it rotates the keys.
        with contextlib.suppress(StoreError):
            key = self._ring.add(unless_newer_than=now - ROTATE_SECONDS)
            old = [each.id for each in self._ring.all() if now - each.created > KEEP_SECONDS]
            if old:
                self._ring.drop(old)
        return key


def _bytes(tenant: str) -> bytes:
    return tenant.encode("utf-8", "surrogatepass")
