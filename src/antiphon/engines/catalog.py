"""The models that can be asked, by name, over all engines."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from antiphon.api.errors import ApiError
from antiphon.engines.balancing import Balancing
from antiphon.engines.detect.cache import ProbeCache
from antiphon.engines.detect.report import ProbeReport
from antiphon.engines.group import Group
from antiphon.engines.launch.hosted import HostLink
from antiphon.engines.lifecycle import UnitStatus
from antiphon.engines.pool import Pool
from antiphon.engines.served import EngineHealth, ModelCard, Offer, Served
from antiphon.engines.sources import Progress, ScriptedSource, Source, UnitSource, UrlSource
from antiphon.engines.wanted import TINY, Wanted, wanted_engines
from antiphon.settings.effective import merged
from antiphon.settings.model import EngineSettings, ModelSettings, Settings

__all__ = ["Catalog", "Progress"]

RETRY_SECONDS: Final = 5.0
"""An engine that is down is asked again after so long."""
REFRESH_SECONDS: Final = 60.0
"""An engine that is up is asked for its models again after so long."""
MAX_NAME: Final = 200
"""Characters of a model's name that an error message repeats."""

_log = logging.getLogger(__name__)


class Catalog:
    """Models by name. Made by `open`, within the event loop that uses it."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        progress: Progress = lambda line: None,
        clock: Callable[[], float] = time.time,
        discovering: bool = True,
        host: HostLink | None = None,
    ) -> None:
        self.settings = settings
        self._host = host
        self._environ = environ
        self._progress = progress
        self._clock = clock
        self._discovering = discovering
        self._cache = ProbeCache()
        self._groups: dict[str, Group] = {}
        self._sources: list[Source] = []
        self._left: list[Source] = []
        self._balancing = Balancing()
        self._created: dict[str, int] = {}
        self._served: dict[str, Served] = {}
        self._names: dict[str, str] = {}
        self._any: Offer | None = None
        self._indexed: tuple[int, ...] | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        progress: Progress = lambda line: None,
        environ: Mapping[str, str] | None = None,
        discovering: bool = True,
        host: HostLink | None = None,
    ) -> Catalog:
        """The catalog of these settings, its engines asked and, where they are ours, started.

        With nothing configured: engines that run on the usual ports (unless ``discovering`` is
        off), else the tiny model. An engine that cannot be reached is no error: it is asked again
        and again. ``host`` is who starts models for us, if we do not. Raises SettingsError for an
        engine that cannot be meant, EngineError for one of ours that does not start.
        """
        catalog = cls(
            settings,
            environ=os.environ if environ is None else environ,
            progress=progress,
            discovering=discovering,
            host=host,
        )
        try:
            await catalog.reload(settings)
        except BaseException:
            await catalog.aclose()
            raise
        catalog._task = asyncio.create_task(catalog._watch(), name="catalog")
        return catalog

    async def __aenter__(self) -> Catalog:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def reload(self, settings: Settings) -> None:
        """Serve by other settings. Engines they have in common with the old ones go on.

        Raises as `open`; then everything is as it was before.
        """
        wanted = wanted_engines(settings, self._environ)
        reports: dict[str, ProbeReport] = {}
        if not wanted:
            wanted, reports = await self._default()
        known = {id(source): source for source in self._sources}
        kept: list[Source] = []
        for want in wanted:
            source = next((s for s in known.values() if s.wanted == want), None)
            if source is not None:
                del known[id(source)]
            kept.append(source or self._source(want))
        new = [source for source in kept if source not in self._sources]
        try:
            await asyncio.gather(*[self._begin(source, reports) for source in new])
        except BaseException:
            for source in new:
                await source.aclose()
            raise
        self.settings = settings
        # Requests may still be running there: they are closed at the end.
        left = [source for source in self._sources if source not in kept]
        for source in left:
            if isinstance(source, UnitSource) and source.unit is not None:
                source.unit.retire()
        self._left += left
        self._sources = kept
        self._index()

    def find(self, name: str | None) -> Served:
        """The model of this name or alias. Raises ApiError 404 if there is none.

        Without a name: the only model, if there is only one.
        """
        if name is None and len(self._served) == 1:
            (served,) = self._served.values()
            return served
        found = self._names.get(name or "")
        if found is not None:
            return self._served[found]
        if self._any is not None:
            return self._serve(name or self._any.name, [self._any])
        raise self._unknown(name)

    def list(self) -> tuple[ModelCard, ...]:
        """Every model, by name."""
        return tuple(
            ModelCard(
                id=served.name,
                created=self._created[served.name],
                gpt_oss=served.gpt_oss,
                context_length=served.context_length,
                labels=served.labels,
                aliases=tuple(a for a, n in self._names.items() if n == served.name != a),
                engines=(served.engine.name,),
            )
            for served in self._served.values()
        )

    def health(self) -> tuple[EngineHealth, ...]:
        """How every engine is."""
        return tuple(self._health(source) for source in self._sources)

    def pools(self) -> tuple[Pool, ...]:
        """What balances over engines at URLs, for metrics."""
        return self._balancing.pools

    async def refresh(self) -> None:
        """Ask every engine anew."""
        await asyncio.gather(*[source.refresh() for source in self._sources])
        self._index()

    def units(self) -> tuple[UnitStatus, ...]:
        """The models that we start, and how they are."""
        return tuple(s.status for s in self._sources if isinstance(s, UnitSource))

    async def load(self, name: str) -> UnitStatus:
        """Load a model that we start. Raises ApiError 404, EngineError."""
        source = self._unit_source(name)
        await source.load()
        self._index()
        return source.status

    async def unload(self, name: str) -> UnitStatus:
        """Unload a model that we start; its requests break off. Raises ApiError 404."""
        source = self._unit_source(name)
        await source.unload()
        return source.status

    async def aclose(self) -> None:
        """Stop the engines that are ours and let go of the others. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        sources = [*self._left, *self._sources]
        self._left, self._sources = [], []
        await asyncio.gather(*[source.aclose() for source in sources])

    # Engines

    async def _default(self) -> tuple[tuple[Wanted, ...], dict[str, ProbeReport]]:
        """What to serve if nobody has said: what runs here, else the tiny model."""
        if self._discovering:
            from antiphon.engines.detect.discovery import discover

            reports = {report.url: report for report in await discover(cache=self._cache)}
            if reports:
                found = [Wanted(kind="url", settings=EngineSettings(url=url)) for url in reports]
                return tuple(found), reports
            self._progress("no engine is configured and none runs on a usual port")
        return (Wanted(kind="tiny", settings=EngineSettings(url=TINY), eager=True),), {}

    def _source(self, wanted: Wanted) -> Source:
        if wanted.kind == "scripted":
            return ScriptedSource(wanted)
        if wanted.kind == "url":
            return UrlSource(wanted, self._probe)
        return UnitSource(wanted, self._environ, self._groups, self._progress, self._host)

    async def _probe(self, wanted: Wanted) -> ProbeReport:
        from antiphon.engines.detect.probing import probe

        engine = wanted.settings
        return await probe(
            engine.url,
            api_key=engine.api_key,
            kind=engine.kind,  # type: ignore[arg-type]  # checked when the settings were read
            models=engine.models,
            cache=self._cache,
        )

    async def _begin(self, source: Source, reports: Mapping[str, ProbeReport]) -> None:
        report = reports.get(source.wanted.settings.url)
        if isinstance(source, UrlSource) and report is not None:
            source.adopt(report)
        elif isinstance(source, UnitSource) and source.wanted.eager:
            await source.load()
        else:
            await source.refresh()
        health = source.health
        if health.state == "down":
            self._progress(f"{health.name}: {health.detail}")

    def _unit_source(self, name: str) -> UnitSource:
        for source in self._sources:
            if isinstance(source, UnitSource):
                names = {source.wanted.name, *(o.name for o in source.offers)}
                for offer in source.offers:
                    names.update(offer.aliases)
                if name in names:
                    return source
        units = ", ".join(status.name for status in self.units())
        raise ApiError(
            f"there is no model {name[:MAX_NAME]!r} that this server starts itself"
            + (f"; there are: {units}" if units else ""),
            status=404,
            type="not_found_error",
            param="model",
            code="model_not_found",
        )

    def _health(self, source: Source) -> EngineHealth:
        """The source's own word, or its breaker's: that knows about the last requests."""
        health = source.health
        if health.state != "up" or not isinstance(source, UrlSource):
            return health
        engines = {offer.engine.name for offer in source.offers}
        open_ = [
            member
            for pool in self._balancing.pools
            for member in pool.health()
            if member.name in engines and member.state == "open"
        ]
        errors = [member.last_error or "" for member in open_]
        for offer in source.offers:
            for shared in self._balancing.shared:
                why = shared.down(offer.passthrough)
                errors += [] if why is None else [why]
        if not errors:
            return health
        return EngineHealth(
            name=health.name,
            state="down",
            models=health.models,
            detail=errors[0] or "its last requests failed",
        )

    async def _watch(self) -> None:
        """Look after engines that are down, and now and then after the others."""
        refreshed = time.monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            everything = time.monotonic() - refreshed >= REFRESH_SECONDS
            due = [s for s in self._sources if everything or s.health.state == "down"]
            if everything:
                refreshed = time.monotonic()
            try:
                await asyncio.gather(*[self._look(source) for source in due])
                await asyncio.gather(*[pool.check() for pool in self._balancing.pools])
                await asyncio.gather(*[self._check_routes(source) for source in self._sources])
                if self._indexed != self._versions():
                    self._index()
            except Exception:  # noqa: BLE001 - see below
                # Whatever it is, the engines have to be looked after in future, too.
                _log.exception("looking after the engines failed")

    async def _check_routes(self, source: Source) -> None:
        """Ask an engine whose own routes are left alone whether it is back."""
        if not isinstance(source, UrlSource):
            return
        down = [
            (shared, offer.passthrough)
            for shared in self._balancing.shared
            for offer in source.offers
            if shared.down(offer.passthrough) is not None
        ]
        if not down:
            return
        before = source.health.state
        up = await source.check()
        for shared, routes in down if up else ():
            shared.try_now(routes)
        if not up and before != "down":
            self._progress(f"{source.health.name} is down: {source.health.detail}")

    async def _look(self, source: Source) -> None:
        """Ask an engine anew, and tell if that changed whether it is up."""
        before = source.health.state
        await source.refresh()
        health = source.health
        if before != health.state and "down" in (before, health.state):
            detail = f": {health.detail}" if health.detail else ""
            self._progress(f"{health.name} is {health.state}{detail}")

    # Names

    def _versions(self) -> tuple[int, ...]:
        return tuple(source.version for source in self._sources)

    def _index(self) -> None:
        """Names → models, from what the engines offer now."""
        offers: dict[str, list[Offer]] = {}
        names: dict[str, str] = {}
        self._any = None
        self._indexed = self._versions()
        for source in self._sources:
            for offer in source.offers:
                offers.setdefault(offer.name, []).append(offer)
                if offer.any_name and self._any is None:
                    self._any = offer
        for group in list(offers.values()):
            for alias in group[0].aliases:
                names.setdefault(alias, group[0].name)
        for name, model in self.settings.models.items():
            meant = model.engine or name
            target = offers.get(meant) or offers.get(names.get(meant, ""))
            if target:
                offers[name] = target
        for name, model in self.settings.models.items():
            if name in offers:
                names.update(dict.fromkeys(model.aliases, name))
        names.update({name: name for name in offers})
        self._balancing.begin(self._sources)
        self._served = {name: self._serve(name, offers[name]) for name in sorted(offers)}
        self._names = names
        self._balancing.end()
        for name in self._served:
            self._created.setdefault(name, int(self._clock()))

    def _serve(self, name: str, offers: Sequence[Offer]) -> Served:
        # One that can be prompted raw is better than one that can't, whatever else it can do.
        raw = [offer for offer in offers if offer.gpt_oss]
        used = raw or offers
        first = used[0]
        settings = merged(first.defaults, self.settings.models.get(name, ModelSettings()))
        lengths = [o.context_length for o in used if o.context_length is not None]
        if settings.context_length is not None:
            lengths.append(settings.context_length)
        return Served(
            name=name,
            engine=self._balancing.engine(used) if raw else first.engine,
            gpt_oss=bool(raw),
            reasons=first.reasons,
            passthrough=self._balancing.passthrough(used),
            context_length=min(lengths, default=None),
            settings=settings,
            labels=first.labels,
        )

    def _unknown(self, name: str | None) -> ApiError:
        known = list(self._names)
        if name is None:
            message = "no model is named in the request"
        else:
            message = f"the model {name[:MAX_NAME]!r} does not exist"
        near = difflib.get_close_matches((name or "")[:MAX_NAME], known, n=1)
        if near:
            message += f"; did you mean {near[0]!r}?"
        elif known:
            message += f"; there are: {', '.join(sorted(self._served)[:10])}"
        down = [h for h in self.health() if h.state not in ("up", "idle")]
        if down:
            message += f" ({len(down)} of {len(self._sources)} engines cannot be reached)"
        return ApiError(
            message, status=404, type="not_found_error", param="model", code="model_not_found"
        )
