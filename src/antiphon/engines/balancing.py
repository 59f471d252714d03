"""One engine, and its own routes, for the several that offer a model.

What balances is kept from one index to the next as long as the same engines are meant: its breakers
remember how their last requests went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from antiphon.engines.pool import Member, Pool
from antiphon.engines.protocol import Engine
from antiphon.engines.served import Offer
from antiphon.engines.shared import SharedMember, SharedPassthrough
from antiphon.engines.sources import Source, UrlSource

__all__ = ["Balancing"]

_Balancer = TypeVar("_Balancer")
_Key = tuple[object, ...]


class _Kept(Generic[_Balancer]):
    """Balancers by what they balance over."""

    def __init__(self) -> None:
        self.known: dict[_Key, _Balancer] = {}
        self._used: set[_Key] = set()

    def of(
        self, members: Sequence[tuple[object, float, int]], make: Callable[[], _Balancer]
    ) -> _Balancer:
        """The one over these engines or routes, each with weight and places."""
        key = tuple((id(what), weight, concurrent) for what, weight, concurrent in members)
        if (found := self.known.get(key)) is None:
            found = self.known[key] = make()
        self._used.add(key)
        return found

    def begin(self) -> None:
        self._used = set()

    def end(self) -> None:
        self.known = {key: self.known[key] for key in self._used}


class Balancing:
    """Pools and shared routes. Between `begin` and `end` all that are still meant are asked for."""

    def __init__(self) -> None:
        self._pools: _Kept[Pool] = _Kept()
        self._shared: _Kept[SharedPassthrough] = _Kept()
        self._owner: dict[int, Source] = {}

    @property
    def pools(self) -> tuple[Pool, ...]:
        """What balances over engines."""
        return tuple(self._pools.known.values())

    @property
    def shared(self) -> tuple[SharedPassthrough, ...]:
        """What balances over engines' own routes."""
        return tuple(self._shared.known.values())

    def begin(self, sources: Iterable[Source]) -> None:
        """Offers are of these sources from now on."""
        self._owner = {id(offer.engine): source for source in sources for offer in source.offers}
        self._pools.begin()
        self._shared.begin()

    def end(self) -> None:
        """Forget what was not asked for since `begin`."""
        self._pools.end()
        self._shared.end()

    def engine(self, offers: Sequence[Offer]) -> Engine:
        """One engine for several. One at a URL gets a breaker even if it is the only one."""
        sources = [self._owner.get(id(offer.engine)) for offer in offers]
        if len(offers) == 1 and not isinstance(sources[0], UrlSource):
            source = sources[0]
            if source is None or source.wanted.settings.concurrent == 0:
                return offers[0].engine
        members = [
            Member(
                offer.engine,
                weight=_weight(source),
                concurrent=_concurrent(source),
                check=source.check if isinstance(source, UrlSource) else None,
            )
            for offer, source in zip(offers, sources, strict=True)
        ]
        key = [(m.engine, m.weight, m.concurrent) for m in members]
        return self._pools.of(key, lambda: Pool(members))

    def passthrough(self, offers: Sequence[Offer]) -> object:
        """The own routes of one engine or of several; None if the first has none. Those at a URL
        get a breaker even if they are the only ones.
        """
        able = [offer for offer in offers if offer.passthrough is not None]
        sources = [self._owner.get(id(offer.engine)) for offer in able]
        if offers[0].passthrough is None:
            return None
        if len(able) == 1 and not isinstance(sources[0], UrlSource):
            return offers[0].passthrough
        members = [
            SharedMember(offer.passthrough, weight=_weight(source), concurrent=_concurrent(source))
            for offer, source in zip(able, sources, strict=True)
        ]
        key = [(m.routes, m.weight, m.concurrent) for m in members]
        return self._shared.of(key, lambda: SharedPassthrough(members))


def _weight(source: Source | None) -> float:
    return source.wanted.settings.weight if source else 1.0


def _concurrent(source: Source | None) -> int:
    return source.wanted.settings.concurrent if source else 0
