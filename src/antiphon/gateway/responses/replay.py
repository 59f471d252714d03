"""A response's stream once more, from any event on: what is stored, then what is still to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from antiphon.api.errors import ApiError
from antiphon.gateway.responses.kept import (
    is_unfinished,
    not_found,
    terminal_event,
)
from antiphon.gateway.responses.live import Running
from antiphon.store.records import RecordStore

__all__ = ["MAX_EVENTS", "POLL_SECONDS", "follow", "read_after"]

MAX_EVENTS: Final = 500
"""Events that are read at a time."""
POLL_SECONDS: Final = 0.25
"""How often a response is looked at that another process makes."""


async def follow(
    records: RecordStore, running: Running, tenant: str, id: str, *, after: int
) -> AsyncGenerator[Sequence[bytes], None]:
    """The events behind number ``after``, to the one that ends the response; () is a sign of life.

    Raises ApiError 404, at first or when the response is deleted on the way, and StoreError.
    """
    number = after
    while True:
        live = running.find(tenant, id)
        if live is not None and not live.ended:
            found = await live.after(number, MAX_EVENTS)
            if found:
                number += len(found)
                yield found
            else:
                yield ()
                await live.wait(number)
            continue
        record = await records.get(tenant, "response", id)  # Before its events: they are behind.
        if record is None:
            raise not_found(id)
        found = await records.events(tenant, id, after=number, limit=MAX_EVENTS)
        if found:
            number += len(found)
            yield found
        if len(found) == MAX_EVENTS:
            continue
        if not is_unfinished(record):
            if number == after and await _has_seen_all(records, tenant, id, after):
                return
            yield (terminal_event(record, number + 1),)
            return
        yield ()
        await asyncio.sleep(POLL_SECONDS)


async def _has_seen_all(records: RecordStore, tenant: str, id: str, after: int) -> bool:
    """Whether event ``after`` is the one that ends the response, which is not stored: the next
    behind those that are. One further on was told by a server that died before it was stored.
    """
    if after < 1:
        return after == 0 and not await records.events(tenant, id, after=-1, limit=1)
    return len(await records.events(tenant, id, after=after - 2, limit=2)) == 1


def read_after(given: str | None) -> int:
    """``starting_after``. Raises ApiError."""
    if given is None:
        return -1
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise ApiError(
            f"starting_after: expected a sequence number, got {given[:60]!r}",
            param="starting_after",
            code="invalid_value",
        )
    return int(given)
