"""Files that code made in a container, in the state store: any worker can hand them out."""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.store.protocol import StateStore

__all__ = ["SPACE", "KeptFile", "find_file", "keep_file"]

SPACE: Final = "container_files"
"""The store's space."""


class KeptFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that code made, as it is kept."""

    name: str
    """Its path below /mnt/data."""
    media_type: str
    data: bytes
    created: int
    """Seconds since the epoch."""


async def keep_file(
    store: StateStore, tenant: str, container: str, file: str, kept: KeptFile, *, seconds: float
) -> None:
    """Keep it for so long. Raises StoreError."""
    data = msgspec.msgpack.encode(kept)
    await store.put(SPACE, _key(tenant, container, file), data, ttl=seconds)


async def find_file(store: StateStore, tenant: str, container: str, file: str) -> KeptFile | None:
    """A file that code of this tenant made, as long as it is kept. Raises StoreError."""
    data = await store.get(SPACE, _key(tenant, container, file))
    return None if data is None else msgspec.msgpack.decode(data, type=KeptFile)


def _key(tenant: str, container: str, file: str) -> str:
    return f"{tenant}:{container}:{file}"
