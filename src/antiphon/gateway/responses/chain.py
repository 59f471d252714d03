"""What a request builds on: the chain of previous responses, a conversation, items named by id.

Each response keeps what it added, its own input and its output; a chain is read link by link and
remembered, so that the next link of a chain served here costs one lookup.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain as concatenated
from itertools import repeat
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.responses.items import PlacedItem, open_turn, place
from antiphon.api.responses.request import Past, References
from antiphon.api.responses.seen import MEMBER, SERVED_ITEMS
from antiphon.api.responses.wire import MessageItem, OutputItem
from antiphon.codec.encoded import NOTHING_ENCODED, EncodedTexts
from antiphon.gateway.responses.kept import not_found, read_beside
from antiphon.store.records import UNFINISHED, Record, RecordStore

__all__ = [
    "ITEM_DIGITS",
    "MAX_CONVERSATION_ITEMS",
    "MAX_LINKS",
    "Chain",
    "ChainMemory",
    "Chains",
    "Link",
    "LocalChain",
    "conversation_digest",
    "output_items",
]

MAX_LINKS: Final = 10_000
"""Longest chain of responses that is followed."""
MAX_CONVERSATION_ITEMS: Final = 20_000
"""Most items of a conversation that one request builds on."""
KNOWN_CHAINS: Final = 4096
KNOWN_BYTES: Final = 256 * 1024 * 1024
"""So many chains, and so many bytes that they added, are remembered."""
MAX_RECALLED: Final = 256
"""Calls of the server's tools that are looked up when a client sends them again."""
LOCAL_CHAINS: Final = 8
"""Responses that a connection remembers for those that are not stored."""
LINEAGE_PAGES: Final = (1, 8, 64, 512)
"""Responses of a chain that are read together: few at first, as what is before is often known."""
_ITEM_BYTES: Final = 24
"""What a chain needs for an item that it has in common with others."""
_PAGE: Final = 1000
ITEM_DIGITS: Final = 5
"""An item's id is its response's or conversation's, with another prefix, and so many digits: so an
item that is named by its id alone is found."""


class Chain(msgspec.Struct, frozen=True):
    """Everything said up to the end of a response."""

    items: tuple[bytes, ...]
    added: int
    """Bytes that it has for itself, and not in common with the chain that it was made of."""
    key: str
    """A digest of the first user message."""
    size: int = 0
    """Bytes of all items together."""
    encoded: EncodedTexts = NOTHING_ENCODED
    """Texts of the items whose tokens are known."""

    def and_then(self, links: Sequence[Link], key: str = "") -> Chain:
        """The chain so many responses longer. ``key`` is its digest, if it is known."""
        if not links:
            return self
        items, encoded = list(self.items), self.encoded
        key = self.key or key
        for link in links:
            items += link.added
            key = key or items_digest(link.added)
        packed = [link.encoded for link in links]
        if encoded is NOTHING_ENCODED:
            encoded = EncodedTexts(packed)
        else:
            for each in packed:
                encoded = encoded.and_then(each)
        size = sum([len(item) for link in links for item in link.added])
        added = size + sum(map(len, packed))
        return Chain(tuple(items), added, key, self.size + size, encoded)


class Link(msgspec.Struct, frozen=True):
    """What one response added to its chain."""

    added: tuple[bytes, ...]
    encoded: bytes = b""
    """`antiphon.codec.encoded.pack_texts` of texts in it."""


EMPTY: Final = Chain((), 0, "")


class ChainMemory:
    """Chains of stored responses, the least recently used going first."""

    def __init__(self, *, entries: int = KNOWN_CHAINS, max_bytes: int = KNOWN_BYTES) -> None:
        self._entries = entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._chains: OrderedDict[tuple[str, str], Chain] = OrderedDict()

    def get(self, tenant: str, id: str) -> Chain | None:
        chain = self._chains.get((tenant, id))
        if chain is not None:
            self._chains.move_to_end((tenant, id))
        return chain

    def put(self, tenant: str, id: str, chain: Chain) -> None:
        self.forget(tenant, id)
        self._chains[tenant, id] = chain
        self._bytes += _cost(chain)
        while self._chains and (len(self._chains) > self._entries or self._bytes > self._max_bytes):
            _, old = self._chains.popitem(last=False)
            self._bytes -= _cost(old)

    def forget(self, tenant: str, id: str) -> None:
        chain = self._chains.pop((tenant, id), None)
        if chain is not None:
            self._bytes -= _cost(chain)


class LocalChain:
    """What one connection remembers: its last responses, stored or not."""

    def __init__(self) -> None:
        self._chains: OrderedDict[str, Chain] = OrderedDict()

    def get(self, id: str) -> Chain | None:
        return self._chains.get(id)

    def put(self, id: str, chain: Chain) -> None:
        self._chains[id] = chain
        while len(self._chains) > LOCAL_CHAINS:
            self._chains.popitem(last=False)

    def forget(self, id: str) -> None:
        self._chains.pop(id, None)


class Chains:
    """Fetches what requests build on."""

    def __init__(self, records: RecordStore, memory: ChainMemory) -> None:
        self._records = records
        self._memory = memory

    async def past(
        self, tenant: str, first: References, local: LocalChain | None = None
    ) -> tuple[Past, Chain]:
        """What the request builds on. Raises ApiError for what is not there."""
        chain = EMPTY
        if first.previous_response_id is not None:
            chain = await self.of(tenant, first.previous_response_id, local)
        elif first.conversation is not None:
            chain = await self._conversation(tenant, first.conversation)
        if first.previous_response_id is not None or first.conversation is not None:
            _check_outputs(first.items or (), chain)
        referenced = await self._referenced(tenant, first.item_ids, chain)
        past = Past(
            items=chain.items,
            referenced=referenced,
            encoded=chain.encoded,
            key=chain.key or None,
        )
        return past, chain

    async def of(self, tenant: str, id: str, local: LocalChain | None = None) -> Chain:
        """The chain that ends with a response. Raises ApiError 404."""
        known = local.get(id) if local is not None else None
        if known is not None:
            return known
        links: list[Link] = []
        chain: Chain | None = None
        at: str | None = id
        pages = concatenated(LINEAGE_PAGES, repeat(LINEAGE_PAGES[-1]))
        while at is not None:
            size = next(pages)
            records = await self._records.lineage(tenant, at, limit=size)
            for record in records:
                _check_link(record, len(links))
                chain = self._memory.get(tenant, record.id)
                if chain is not None:
                    at = None
                    break
                links.append(_link(record))
                at = record.parent
            if at is not None and len(records) < size:
                raise _no_previous(at)
        chain = (EMPTY if chain is None else chain).and_then(links[::-1])
        if links:
            self._memory.put(tenant, id, chain)
        return chain

    def remember(self, tenant: str, id: str, chain: Chain) -> None:
        """A response was stored that ends this chain."""
        self._memory.put(tenant, id, chain)

    def forget(self, tenant: str, id: str) -> None:
        """A response was deleted."""
        self._memory.forget(tenant, id)

    async def _conversation(self, tenant: str, id: str) -> Chain:
        if await self._records.get(tenant, "conversation", id) is None:
            raise not_found(id, "Conversation", "conversation")
        items: list[bytes] = []
        after: str | None = None
        while True:
            page = await self._records.items(
                tenant, "conversation", id, after=after, limit=_PAGE, order="asc"
            )
            items += [item.body for item in page]
            if len(items) > MAX_CONVERSATION_ITEMS:
                raise ApiError(
                    f"the conversation has more than {MAX_CONVERSATION_ITEMS} items",
                    param="conversation",
                    code="conversation_too_long",
                )
            if len(page) < _PAGE:
                return Chain(tuple(items), 0, items_digest(items), sum(map(len, items)))
            after = page[-1].id

    async def _referenced(self, tenant: str, ids: Iterable[str], chain: Chain) -> dict[str, bytes]:
        """Items that a request names, as far as there are such."""
        found: dict[str, bytes] = {}
        holders: dict[str, dict[str, bytes]] = {}
        for id_ in dict.fromkeys(ids):
            here = _find(chain.items, id_)
            if here is None:
                origin = id_.split("_")[1][:-ITEM_DIGITS] if "_" in id_ else ""
                if origin and origin not in holders:
                    holders[origin] = await self._held(tenant, origin)
                here = holders.get(origin, {}).get(id_)
            if here is not None:
                found[id_] = here
        return found

    async def recalled(self, tenant: str, first: References) -> References:
        """The request with what is known of the server's own calls that the client sends again:
        the items that clients get do not say all that the model saw.
        """
        wanted = [
            item.read.id
            for item in open_turn(first.items or ())
            if item.type in SERVED_ITEMS and item.read.id and MEMBER.encode() not in item.raw
        ]
        if not wanted:
            return first
        found = await self._referenced(tenant, wanted[-MAX_RECALLED:], EMPTY)
        items = tuple(
            [
                place(found[item.read.id], item.list, item.at)
                if item.read.id in found and item.type in SERVED_ITEMS
                else item
                for item in first.items or ()
            ]
        )
        return msgspec.structs.replace(first, items=items)

    async def _held(self, tenant: str, origin: str) -> dict[str, bytes]:
        """The items of the response or conversation that an item's id begins with."""
        record = await self._records.get(tenant, "response", f"resp_{origin}")
        if record is not None:
            return {_id(raw): raw for raw in added_items(record)}
        items = await self._records.items(
            tenant, "conversation", f"conv_{origin}", after=None, limit=_PAGE, order="desc"
        )
        return {item.id: item.body for item in items}


def _check_link(record: Record, links: int) -> None:
    if record.status in UNFINISHED:
        raise ApiError(
            f"Response '{record.id[:100]}' is not finished yet.",
            param="previous_response_id",
            code="previous_response_not_finished",
        )
    if links >= MAX_LINKS:
        raise ApiError(
            f"the chain of responses is longer than {MAX_LINKS}",
            param="previous_response_id",
            code="invalid_value",
        )


def added_items(record: Record) -> tuple[bytes, ...]:
    """What a response added to its chain: its input and its output, hidden reasoning included."""
    return _link(record).added


def _link(record: Record) -> Link:
    beside = read_beside(record)
    hidden = _split(bytes(beside.output))
    added = (*_split(bytes(beside.input)), *(hidden or output_items(record.body)))
    return Link(added, beside.encoded)


def input_items(record: Record) -> tuple[bytes, ...]:
    """A response's own input items."""
    return _split(bytes(read_beside(record).input))


class _Output(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw(b"[]")


class _Named(msgspec.Struct):
    id: str | None = None


_OUTPUT: Final = msgspec.json.Decoder(_Output)
_ITEMS: Final = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_NAMED: Final = msgspec.json.Decoder(_Named)


def output_items(body: bytes) -> tuple[bytes, ...]:
    """The JSON of each item of a response's output."""
    return _split(bytes(_OUTPUT.decode(body).output))


def _split(raw: bytes) -> tuple[bytes, ...]:
    return tuple([bytes(item) for item in _ITEMS.decode(raw)]) if raw != b"null" else ()


def _id(raw: bytes) -> str:
    try:
        return _NAMED.decode(raw).id or ""
    except msgspec.MsgspecError:
        return ""


def _find(items: Sequence[bytes], id: str) -> bytes | None:
    quoted = msgspec.json.encode(id)
    return next((raw for raw in reversed(items) if quoted in raw and _id(raw) == id), None)


def conversation_digest(items: Iterable[PlacedItem]) -> str:
    """A digest of the first user message; empty without one."""
    for item in items:
        message = item.read.item
        if isinstance(message, MessageItem) and message.role == "user":
            content = message.content
            text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
            return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return ""


def items_digest(items: Iterable[bytes]) -> str:
    """The same, of items that have not been read."""
    return conversation_digest(place(raw, "item") for raw in items if b'"user"' in raw)


class _Call(msgspec.Struct):
    call_id: Any = None


_CALL: Final = msgspec.json.Decoder(_Call)


def _check_outputs(items: Sequence[PlacedItem], chain: Chain) -> None:
    """Each result belongs to a call: where the history is known, one without is a mistake."""
    known: set[Any] | None = None
    for placed in items:
        item = placed.read.item
        if not isinstance(item, OutputItem) or item.call_id is None:
            continue
        if known is None:
            own = [other.raw for other in items if not isinstance(other.read.item, OutputItem)]
            known = {_call_id(raw) for raw in (*chain.items, *own) if b'"call_id"' in raw}
        if item.call_id not in known:
            raise ApiError(
                f"No tool call found for function call output with call_id {item.call_id[:200]}.",
                param=f"{placed.where}.call_id",
                code="tool_call_not_found",
            )


def _call_id(raw: bytes) -> Any:
    try:
        found = _CALL.decode(raw).call_id
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, str) else None


def _cost(chain: Chain) -> int:
    return chain.added + _ITEM_BYTES * len(chain.items) + 500


def _no_previous(id: str) -> ApiError:
    return ApiError(
        f"Previous response with id '{id[:200]}' not found.",
        status=404,
        type="not_found_error",
        param="previous_response_id",
        code="previous_response_not_found",
    )
