"""Records, items and events as rows, the same for every database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from antiphon.store.encryption import RowCipher
from antiphon.store.records import Item, Kind, Record
from antiphon.store.text import original_text, stored_text

__all__ = [
    "RecordRow",
    "clamped",
    "events_from",
    "item_from",
    "item_row",
    "missing",
    "pack_events",
    "record_from",
    "record_row",
]

_LARGEST: Final = 2**53
"""What JSON can say exactly."""
_PACK: Final = msgspec.msgpack.Encoder().encode
_UNPACK: Final = msgspec.msgpack.Decoder(list[bytes]).decode


class RecordRow(NamedTuple):
    """The columns of a record, in their order."""

    tenant: str
    kind: str
    id: str
    created: int
    status: str
    owner: str
    parent: str | None
    key: str
    body: bytes
    extra: bytes


COLUMNS: Final = ", ".join(RecordRow._fields)


def record_row(cipher: RowCipher, tenant: str, record: Record) -> RecordRow:
    """A record as it is stored."""
    key = cipher.key()
    place = (stored_text(tenant), record.kind, stored_text(record.id))
    return RecordRow(
        *place,
        record.created,
        stored_text(record.status),
        stored_text(record.owner),
        None if record.parent is None else stored_text(record.parent),
        key,
        cipher.seal(key, record.body, "records", "body", *place),
        cipher.seal(key, record.extra, "records", "extra", *place),
    )


def record_from(cipher: RowCipher, row: Sequence[Any]) -> tuple[str, Record]:
    """The tenant and the record of a row."""
    tenant, kind, id_, created, status, owner, parent, key, body, extra = row
    record = Record(
        kind=cast("Kind", kind),
        id=original_text(id_),
        created=created,
        status=original_text(status),
        owner=original_text(owner),
        parent=None if parent is None else original_text(parent),
        body=cipher.open(key, body, "records", "body", tenant, kind, id_),
        extra=cipher.open(key, extra, "records", "extra", tenant, kind, id_),
    )
    return original_text(tenant), record


def item_row(cipher: RowCipher, record: tuple[str, str, str], item: Item) -> tuple[str, str, bytes]:
    """Id, key and body of an item as they are stored; ``record`` is tenant, kind and id."""
    key, id_ = cipher.key(), stored_text(item.id)
    return id_, key, cipher.seal(key, item.body, "items", "body", *record, id_)


def item_from(cipher: RowCipher, record: tuple[str, str, str], row: Sequence[Any]) -> Item:
    """The item of a row of id, key and body."""
    id_, key, body = row
    return Item(original_text(id_), cipher.open(key, body, "items", "body", *record, id_))


def clamped(after: int, limit: int) -> tuple[int, int]:
    """Numbers from a client, so that a database can count with them."""
    return max(-1, min(after, _LARGEST)), max(0, min(limit, _LARGEST))


def missing(first: int, behind: int, rows: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Which parts of ``first`` up to ``behind`` no row has. Rows are their first number and the one
    behind their last, those that begin before ``behind``, from the end.
    """
    parts: list[tuple[int, int]] = []
    for start, end in rows:
        if end <= first:
            break
        if end < behind:
            parts.append((end, behind))
        behind = max(first, start)
    if first < behind:
        parts.append((first, behind))
    return parts


def pack_events(
    cipher: RowCipher, record: tuple[str, str, str], first: int, events: Sequence[bytes]
) -> tuple[str, bytes]:
    """Key and content of a row that holds ``events``."""
    key = cipher.key()
    return key, cipher.seal(key, _PACK(events), "events", "events", *record, str(first))


def events_from(
    cipher: RowCipher,
    record: tuple[str, str, str],
    rows: Iterable[Sequence[Any]],
    *,
    after: int,
    limit: int,
) -> list[bytes]:
    """The events behind ``after`` up to the first gap. Rows are first number, key and content, by
    their first numbers.
    """
    found: list[bytes] = []
    wanted = after + 1
    for first, key, content in rows:
        if first > wanted:
            break
        events = _UNPACK(cipher.open(key, content, "events", "events", *record, str(first)))
        fresh = events[wanted - first :]
        found += fresh
        wanted += len(fresh)
        if len(found) >= limit:
            return found[:limit]
    return found
