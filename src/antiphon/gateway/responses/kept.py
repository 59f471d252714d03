"""What a response's record holds beside the object that clients get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.responses.mend import Mended
from antiphon.store.records import UNFINISHED, Record, RecordStore

__all__ = [
    "ENDED",
    "Beside",
    "end_for_another",
    "find_response",
    "not_found",
    "read_beside",
    "terminal_event",
    "with_members",
]

ENDED: Final = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
}
"""How a response can end, and which event says so. OpenAI has none for cancelled ones."""

_PAGE: Final = 500
_ENCODE: Final = msgspec.json.Encoder().encode
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Beside(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``Record.extra`` of a response."""

    background: bool = False
    input: msgspec.Raw = msgspec.Raw(b"null")
    """Its own input items: a list. With its output, they are what it added to its chain."""
    output: msgspec.Raw = msgspec.Raw(b"null")
    """Its output with reasoning that clients do not see; null if the body has all of it."""
    encoded: bytes = b""
    """The tokens of the texts that it added (`antiphon.codec.encoded`)."""


_BESIDE: Final = msgspec.json.Decoder(Beside)


def read_beside(record: Record) -> Beside:
    """What stands beside a response; nothing, if another version of ours wrote it."""
    try:
        return _BESIDE.decode(record.extra) if record.extra else Beside()
    except msgspec.MsgspecError:
        return Beside()


def with_members(body: bytes, **members: Any) -> bytes:
    """A JSON object with other values for some of its members."""
    return _ENCODE({**_MEMBERS.decode(body), **members})


async def end_for_another(
    records: RecordStore,
    tenant: str,
    record: Record,
    status: str,
    error: Mapping[str, str] | None = None,
) -> bool:
    """End a response that another process works on, or worked on; whether it had not ended yet.

    Its stream is brought to a proper end. Raises StoreError.
    """
    mended = Mended()
    after = -1
    while True:
        events = await records.events(tenant, record.id, after=after, limit=_PAGE)
        mended.feed(events)
        after += len(events)
        if len(events) < _PAGE:
            break
    first, missing = mended.end(record.body)
    if missing:
        await records.add_events(tenant, record.id, first, missing)
    body = with_members(record.body, status=status, error=error, output=mended.output)
    ended = msgspec.structs.replace(record, status=status, owner="", body=body)
    return await records.put(tenant, ended, over=UNFINISHED)


def terminal_event(record: Record, number: int) -> bytes:
    """The event that ends a response's stream. It is not stored: the record says the same."""
    kind = ENDED.get(record.status, "response.failed").encode()
    return b'{"type":"%s","sequence_number":%d,"response":%s}' % (kind, number, record.body)


async def find_response(records: RecordStore, tenant: str, id: str) -> Record:
    """A response of this tenant. Raises ApiError 404."""
    record = await records.get(tenant, "response", id)
    if record is None:
        raise not_found(id)
    return record


def not_found(id: str, what: str = "Response", param: str | None = None) -> ApiError:
    """There is no such thing, for this key at least."""
    return ApiError(
        f"{what} with id '{id[:200]}' not found.",
        status=404,
        type="not_found_error",
        param=param,
        code="not_found",
    )


def is_unfinished(record: Record) -> bool:
    """Whether somebody works on it."""
    return record.status in UNFINISHED
