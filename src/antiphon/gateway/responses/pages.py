"""Lists in OpenAI's shape: what a query asks for, and one page of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from antiphon.api.errors import ApiError
from antiphon.api.responses.conversations import list_body
from antiphon.api.responses.seen import without_seen
from antiphon.api.responses.stored import StoredItem
from antiphon.store.records import Order

__all__ = ["MAX_PAGE", "Page", "page_body", "query_of", "read_page", "value_of", "values_of"]

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
MAX_QUERY_BYTES: Final = 8192
MAX_FIELDS: Final = 64
MAX_ID_CHARS: Final = 512

Query = list[tuple[str, str]]


class Page(msgspec.Struct, frozen=True):
    """Which part of a list."""

    limit: int
    order: Order
    after: str | None


class Entry(Protocol):
    """Anything with an id and its JSON."""

    @property
    def id(self) -> str: ...
    @property
    def body(self) -> bytes: ...


def query_of(scope: Scope) -> Query:
    """The query's fields. Raises ApiError for one that is too long."""
    raw: bytes = scope["query_string"]
    if len(raw) > MAX_QUERY_BYTES:
        raise ApiError("the query is too long", code="invalid_value")
    try:
        return parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise ApiError("the query has too many fields", code="invalid_value") from None


def value_of(query: Query, name: str) -> str | None:
    """The last value of a field."""
    return next((value for found, value in reversed(query) if found == name), None)


def values_of(query: Query, name: str) -> list[str]:
    """All values of a field, written ``name``, ``name[]`` or ``name[0]``."""
    return [value for found, value in query if found == name or found.startswith(f"{name}[")]


def read_page(query: Query, *, order: Order = "desc") -> Page:
    """What ``limit``, ``order`` and ``after`` say. Raises ApiError naming the one that is wrong."""
    limit = DEFAULT_PAGE
    given = value_of(query, "limit")
    if given is not None:
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MAX_PAGE):
            raise _wrong("limit", f"a number from 1 to {MAX_PAGE}", given)
        limit = int(given)
    wanted = value_of(query, "order")
    if wanted not in (None, "asc", "desc"):
        raise _wrong("order", "asc or desc", wanted or "")
    after = value_of(query, "after") or None
    if after is not None and len(after) > MAX_ID_CHARS:
        raise _wrong("after", "an id", after)
    return Page(limit, order if wanted is None else ("asc" if wanted == "asc" else "desc"), after)


def page_body(found: Sequence[Entry], page: Page) -> bytes:
    """The JSON of a page. ``found`` has one entry more than asked for if there are more."""
    shown = [StoredItem(entry.id, without_seen(entry.body)) for entry in found[: page.limit]]
    return list_body(shown, has_more=len(found) > page.limit)


def _wrong(name: str, expected: str, given: str) -> ApiError:
    return ApiError(
        f"{name}: expected {expected}, got {given[:60]!r}", param=name, code="invalid_value"
    )
