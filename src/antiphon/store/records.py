"""What is kept for clients: responses with their events, conversations with their items.

Everything belongs to a tenant (an API key's id; empty without keys); what is another's is not
there. Bodies are JSON as the API shows it; the store looks into none of them.
``tests/contracts/test_record_stores.py`` is this module as a test suite.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal, Protocol

import msgspec

__all__ = ["UNFINISHED", "Item", "Kind", "Order", "Record", "RecordStore"]

UNFINISHED: Final = ("queued", "in_progress")
"""The statuses of a response that someone works on."""

Kind = Literal["response", "chat.completion", "conversation"]
Order = Literal["asc", "desc"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A response, a stored chat completion or a conversation."""

    kind: Kind
    id: str
    created: int
    """Unix seconds."""
    status: str = ""
    """Of a response: ``queued``, ``in_progress`` and the four ways it can end."""
    owner: str = ""
    """The process that works on it, so that what a dead one left can be found."""
    parent: str | None = None
    """The previous response."""
    body: bytes
    """The object as clients get it."""
    extra: bytes = b""
    """What we need beside it: rendered messages, the request."""


class Item(msgspec.Struct, frozen=True):
    """One item of a record: of a conversation, or of a response's input."""

    id: str
    body: bytes


class RecordStore(Protocol):
    """Raises StoreError: status_hint 503 if the store cannot be used, 507 if it is full.

    What is awaited is done: a write that has returned outlives the process.
    """

    async def put(
        self,
        tenant: str,
        record: Record,
        items: Sequence[Item] = (),
        *,
        over: Collection[str] | None = None,
    ) -> bool:
        """Keep a record, whole and at once; a record of the same id is replaced, its items are
        kept unless ``items`` are given.

        With ``over``, only a record that is there with one of these statuses is replaced: what was
        deleted stays so, and of two ways to end the first wins. Whether it was kept.
        """
        ...

    async def get(self, tenant: str, kind: Kind, id: str) -> Record | None: ...

    async def lineage(self, tenant: str, id: str, *, limit: int) -> Sequence[Record]:
        """A response and those before it (`Record.parent`), the newest first, ``limit`` at most; as
        far back as they are there.
        """
        ...

    async def delete(self, tenant: str, kind: Kind, id: str) -> bool:
        """Forget a record with its items and events; whether there was one."""
        ...

    async def list(
        self, tenant: str, kind: Kind, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Record]:
        """By creation. ``after`` is an id that is not among them; nothing if it is unknown."""
        ...

    async def add_items(self, tenant: str, kind: Kind, id: str, items: Sequence[Item]) -> bool:
        """Append, in order; False if there is no such record."""
        ...

    async def items(
        self, tenant: str, kind: Kind, id: str, *, after: str | None, limit: int, order: Order
    ) -> Sequence[Item]:
        """In the order in which they were added. ``after`` as in `list`; of several items with one
        id, all are passed over.
        """
        ...

    async def item(self, tenant: str, kind: Kind, id: str, item_id: str) -> Item | None: ...

    async def delete_item(self, tenant: str, kind: Kind, id: str, item_id: str) -> bool: ...

    async def add_events(self, tenant: str, id: str, first: int, events: Sequence[bytes]) -> None:
        """Append events of a response's stream; ``first`` is the sequence number of the first.
        Numbers begin at 0. Nothing happens if the response is gone; what is there stays.
        """
        ...

    async def events(self, tenant: str, id: str, *, after: int, limit: int) -> Sequence[bytes]:
        """The events behind sequence number ``after`` (-1: from the beginning), without a gap."""
        ...

    async def unfinished(self, owner: str | None) -> Sequence[tuple[str, Record]]:
        """Responses that are queued or in progress with their tenants; None: whoever's."""
        ...

    async def expire(self, before: int) -> int:
        """Forget what was created, and last got items, before; how many records."""
        ...

    async def aclose(self) -> None: ...
