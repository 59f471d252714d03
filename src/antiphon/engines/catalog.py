"""The models that can be asked, by name, over all engines."""

from __future__ import annotations

import asyncio
import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.engines.detect.report import Finding, ModelReport, ProbeReport
from antiphon.engines.protocol import Engine
from antiphon.engines.served import EngineHealth, ModelCard, Offer, Served
from antiphon.engines.sources import ScriptedSource, Source, UrlSource
from antiphon.errors import EngineError
from antiphon.settings.model import EngineSettings, ModelSettings, Settings

__all__ = ["Catalog", "Progress"]

Progress = Callable[[str], None]

RETRY_SECONDS: Final = 5.0
"""An engine that is down is asked again after so long."""
REFRESH_SECONDS: Final = 60.0
"""An engine that is up is asked for its models again after so long."""


class Catalog:
    """Models by name. Made by `open`, within the event loop that uses it."""

    def __init__(
        self, settings: Settings, sources: list[Source], *, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self._sources = sources
        self._clock = clock
        self._created: dict[str, int] = {}
        self._served: dict[str, Served] = {}
        self._names: dict[str, str] = {}
        self._any: Offer | None = None
        self._task: asyncio.Task[None] | None = None
        self._index()

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        progress: Progress = lambda line: None,
        environ: Mapping[str, str] | None = None,
    ) -> Catalog:
        """The catalog of these settings, its engines asked and, where they are ours, started.

        An engine that cannot be reached is no error: it is asked again and again. Raises
        SettingsError for an engine that cannot be meant, EngineError for one of ours that does
        not start.
        """
        environ = os.environ if environ is None else environ
        catalog = cls(settings, await _sources(settings, progress, environ))
        catalog._task = asyncio.create_task(catalog._watch(), name="catalog")
        return catalog

    async def __aenter__(self) -> Catalog:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

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
        return tuple(source.health for source in self._sources)

    async def refresh(self) -> None:
        """Ask every engine anew."""
        if any(await asyncio.gather(*[source.refresh() for source in self._sources])):
            self._index()

    async def aclose(self) -> None:
        """Stop the engines that are ours and let go of the others. May be called twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for source in self._sources:
            await source.aclose()

    def _index(self) -> None:
        """Names → models, from what the engines offer now."""
        offers: dict[str, list[Offer]] = {}
        names: dict[str, str] = {}
        self._any = None
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
        self._served = {name: self._serve(name, offers[name]) for name in sorted(offers)}
        self._names = names
        for name in self._served:
            self._created.setdefault(name, int(self._clock()))

    def _serve(self, name: str, offers: Sequence[Offer]) -> Served:
        first = offers[0]
        settings = _merged(first.defaults, self.settings.models.get(name, ModelSettings()))
        lengths = [o.context_length for o in offers if o.context_length is not None]
        if settings.context_length is not None:
            lengths.append(settings.context_length)
        return Served(
            name=name,
            engine=first.engine,
            gpt_oss=first.gpt_oss,
            reasons=first.reasons,
            passthrough=first.passthrough,
            context_length=min(lengths, default=None),
            settings=settings,
            labels=first.labels,
        )

    def _unknown(self, name: str | None) -> ApiError:
        known = list(self._names)
        if name is None:
            message = "no model is named in the request"
        else:
            message = f"the model {name[:200]!r} does not exist"
        near = difflib.get_close_matches((name or "")[:200], known, n=1)
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

    async def _watch(self) -> None:
        """Look after engines that are down, and now and then after the others."""
        refreshed = time.monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            everything = time.monotonic() - refreshed >= REFRESH_SECONDS
            due = [s for s in self._sources if everything or s.health.state == "down"]
            if everything:
                refreshed = time.monotonic()
            if any(await asyncio.gather(*[source.refresh() for source in due])):
                self._index()


def _merged(defaults: ModelSettings, chosen: ModelSettings) -> ModelSettings:
    """``chosen``, with ``defaults`` where it is silent."""
    silent = ModelSettings()
    changes = {
        name: getattr(chosen, name)
        for name in ModelSettings.__struct_fields__
        if getattr(chosen, name) != getattr(silent, name)
    }
    return msgspec.structs.replace(defaults, **changes)


# What the settings mean


async def _sources(
    settings: Settings, progress: Progress, environ: Mapping[str, str]
) -> list[Source]:
    engines = list(settings.engines)
    if settings.engine is not None:
        engines = [EngineSettings(url=settings.engine)]
    elif not engines:
        engines = [EngineSettings(url="tiny")]
    sources = [_source(engine, progress) for engine in engines]
    await asyncio.gather(*[source.refresh() for source in sources])
    return sources


def _source(engine: EngineSettings, progress: Progress) -> Source:
    name, _, _ = engine.url.partition(":")
    if name == "scripted":
        return ScriptedSource(engine)
    if engine.url == "tiny":
        return _TinySource(engine, progress)
    return UrlSource(engine, _probe, _connect)


class _TinySource:
    """The tiny model in llama.cpp's server, started by us."""

    def __init__(self, settings: EngineSettings, progress: Progress) -> None:
        self.settings = settings
        self.offers: tuple[Offer, ...] = ()
        self.health = EngineHealth(name="tiny", state="starting")
        self._server: Any = None
        self._progress = progress

    async def refresh(self) -> bool:
        if self._server is not None:
            return False
        from antiphon.engines.llama_server.client import LlamaServerEngine
        from antiphon.engines.tiny.model import MODEL_NAME, tiny_server

        self._server = await asyncio.to_thread(
            tiny_server, lambda what, done: self._progress(f"tiny model: {what}")
        )
        await asyncio.to_thread(self._server.start)
        offer = Offer(
            name=MODEL_NAME,
            engine=LlamaServerEngine(self._server.url),
            gpt_oss=True,
            reasons=("it is the tiny model that comes with antiphon",),
            context_length=8192,
            any_name=True,
        )
        self.offers = (offer,)
        self.health = EngineHealth(name="tiny", state="up", models=(MODEL_NAME,))
        return True

    async def aclose(self) -> None:
        for offer in self.offers:
            await offer.engine.aclose()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)


async def _probe(engine: EngineSettings) -> ProbeReport:
    import aiohttp

    url = engine.url.rstrip("/").removesuffix("/v1")
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/props", timeout=aiohttp.ClientTimeout(total=5)) as answer,
        ):
            props = msgspec.json.decode(await answer.read())
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/v1/models", timeout=aiohttp.ClientTimeout(total=5)) as answer,
        ):
            models = msgspec.json.decode(await answer.read())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise EngineError(f"cannot reach {url}: {error}") from error
    context = props.get("default_generation_settings", {}).get("n_ctx")
    return ProbeReport(
        url=url,
        kind=Finding("llama.cpp", "it has /props"),
        models=tuple(
            ModelReport(
                id=model["id"],
                gpt_oss=Finding(value=True, reason="assumed"),
                reading=Finding("hybrid", "llama.cpp"),
                prompt_ids=Finding(value=True, reason="llama.cpp"),
                grammar=Finding("gbnf", "llama.cpp"),
                logprobs=Finding(None, "not asked"),
                context_length=Finding(context, "/props"),
            )
            for model in models["data"]
        ),
    )


def _connect(report: ProbeReport, model: ModelReport, settings: EngineSettings) -> Engine:
    from antiphon.engines.llama_server.client import LlamaServerEngine

    return LlamaServerEngine(model.url or report.url, api_key=settings.api_key)
