"""Encryption at rest: what is in a row, bound to its place.

Ids, times, statuses and sizes stay readable: they are what is searched for.
"""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.errors import StoreError
from antiphon.store import aead
from antiphon.store.keyring import KeyRing

__all__ = ["RowCipher"]

_LABEL: Final = b"antiphon store row\x00"
_ENCODE: Final = msgspec.json.Encoder().encode


class RowCipher:
    """Seals rows with the newest key of ``ring``; without one, leaves them as they are."""

    def __init__(self, ring: KeyRing | None = None) -> None:
        if ring is not None:
            aead.require()
        self.ring: Final = ring

    def key(self) -> str:
        """The id of the key for new rows; empty: they stay plain."""
        return "" if self.ring is None else self.ring.newest().id

    def seal(self, key: str, data: bytes, *place: str) -> bytes:
        """``data`` as it is stored at ``place``: table, column, tenant, ids."""
        if not key:
            return data
        return aead.seal(self._secret(key), _LABEL, data, _ENCODE(place))

    def open(self, key: str, data: bytes, *place: str) -> bytes:
        """What was stored. Raises StoreError if the key is missing or the row is not as it was."""
        if not key:
            return data
        found = aead.open_(self._secret(key), _LABEL, data, _ENCODE(place))
        if found is None:
            raise StoreError(f"a row of the store was changed by another hand: {place[:2]}")
        return found

    def witness(self, stored: bytes | None) -> bytes | None:
        """What the store is to hold as proof of its keys, given what it holds; None: nothing.

        Raises StoreError if the store is encrypted and these are not its keys.
        """
        if stored is None:
            if self.ring is None:
                return None
            return self.new_witness(self.key())
        if self.ring is None:
            raise StoreError("the store is encrypted, and store.key_file is not set")
        name, _, sealed = stored.partition(b":")
        self.open(name.decode("ascii"), sealed, "witness")
        return stored

    def new_witness(self, key: str) -> bytes:
        """Proof that rows are sealed with ``key``."""
        return key.encode("ascii") + b":" + self.seal(key, b"", "witness")

    def _secret(self, key: str) -> bytes:
        found = None if self.ring is None else self.ring.find(key)
        if found is None:
            raise StoreError(f"the store is encrypted with key {key}, which store.key_file has not")
        return found.secret
