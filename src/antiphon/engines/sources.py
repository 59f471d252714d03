"""Where models come from: an engine at a URL, one we start ourselves, the scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from antiphon.engines.detect.report import ModelReport, ProbeReport
from antiphon.engines.group import Group
from antiphon.engines.launch.host import Order
from antiphon.engines.launch.hosted import HostedServer, HostLink
from antiphon.engines.launch.plan import LaunchPlan, plan
from antiphon.engines.launch.start import Server, server_for
from antiphon.engines.lazy import LazyEngine, LazyPassthrough
from antiphon.engines.lifecycle import Start, Unit, UnitStatus
from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Engine
from antiphon.engines.registry.entries import ModelEntry
from antiphon.engines.served import EngineHealth, Offer
from antiphon.engines.wanted import SCRIPTED, Wanted
from antiphon.errors import AntiphonError, EngineError
from antiphon.settings.model import ModelSettings

__all__ = ["Probe", "Progress", "ScriptedSource", "Source", "UnitSource", "UrlSource"]

Probe = Callable[[Wanted], Awaitable[ProbeReport]]
Progress = Callable[[str], None]

PROGRESS_SECONDS: Final = 5.0
"""How often something is said while a model loads."""


class Source(Protocol):
    """One engine, with the models it offers."""

    wanted: Wanted
    version: int
    """Counts the changes of what is offered."""

    @property
    def offers(self) -> tuple[Offer, ...]: ...

    @property
    def health(self) -> EngineHealth: ...

    async def refresh(self) -> None:
        """Look again. Raises nothing."""
        ...

    async def aclose(self) -> None: ...


class ScriptedSource:
    """The scripted engine, which answers to any model name. Raises EngineError for a bad trace."""

    def __init__(self, wanted: Wanted) -> None:
        from antiphon.engines.scripted import ScriptedEngine

        self.wanted = wanted
        self.version = 0
        _, _, file = wanted.settings.url.partition(":")
        engine = ScriptedEngine.from_trace(Path(file).expanduser()) if file else ScriptedEngine()
        self.offers: tuple[Offer, ...] = (
            Offer(
                name=SCRIPTED,
                engine=engine,
                gpt_oss=True,
                reasons=("the scripted engine speaks Harmony",),
                context_length=engine.capabilities.context_length,
                any_name=True,
            ),
        )
        self.health = EngineHealth(name=engine.name, state="up", models=(SCRIPTED,))

    async def refresh(self) -> None:
        """There is nothing to look at."""

    async def aclose(self) -> None:
        await self.offers[0].engine.aclose()


class UrlSource:
    """An engine that runs elsewhere. While it is down, what it last offered stays offered."""

    def __init__(self, wanted: Wanted, probe: Probe) -> None:
        self.wanted = wanted
        self.version = 0
        self.report: ProbeReport | None = None
        """What the last look that found something found."""
        self._probe = probe
        self._offers: dict[str, Offer] = {}
        self._known: dict[str, ModelReport] = {}
        self._left: list[Offer] = []
        self._error = "not asked yet"
        self._looking: asyncio.Lock = asyncio.Lock()

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(self._offers.values())

    @property
    def health(self) -> EngineHealth:
        kind = self.report.kind.value if self.report else None
        return EngineHealth(
            name=f"{kind or 'engine'} at {self.wanted.settings.url}",
            state="down" if self._error else "up",
            models=tuple(self._offers),
            detail=self._error,
        )

    async def check(self) -> bool:
        """Look again; whether it is up."""
        await self.refresh()
        return not self._error

    async def refresh(self) -> None:
        async with self._looking:
            try:
                report = await self._probe(self.wanted)
            except AntiphonError as error:
                self._error = str(error)
                return
            self.adopt(report)

    def adopt(self, report: ProbeReport) -> None:
        """Take over what is new; engines of models that are as they were go on being used."""
        if report.kind.value is None or report.kind.value == "antiphon":
            self._error = report.error or report.kind.reason
            return
        if not report.models and report.error:
            self._error = report.error
            return
        self.report, self._error = report, ""
        offers: dict[str, Offer] = {}
        known: dict[str, ModelReport] = {}
        chosen = set(self.wanted.settings.models)
        for model in report.models:
            if chosen and not {model.id, *model.aliases} & chosen:
                continue
            before = self._known.get(model.id)
            if before is not None and _essence(before) == _essence(model):
                offers[model.id] = self._offers[model.id]
            else:
                offers[model.id] = self._offer(report, model)
            known[model.id] = model
        if offers == self._offers:
            return
        kept = {id(offer.engine) for offer in offers.values()}
        # A completion may still be running on an engine that is left: it is closed at the end.
        self._left += [o for o in self._offers.values() if id(o.engine) not in kept]
        self._offers, self._known = offers, known
        self.version += 1

    async def aclose(self) -> None:
        for offer in (*self._left, *self._offers.values()):
            await offer.engine.aclose()
            if offer.passthrough is not None:
                await offer.passthrough.aclose()

    def _offer(self, report: ProbeReport, model: ModelReport) -> Offer:
        from antiphon.engines.connect import connect
        from antiphon.engines.passthrough import Passthrough

        key = self.wanted.settings.api_key
        engine: Engine
        usable, reasons = model.usable, list(_reasons(model))
        try:
            engine = connect(report, model, api_key=key)
        except EngineError as error:
            engine = _NoRawEngine(f"{model.id} at {report.url}", str(error))
            if usable:
                usable = False
                reasons.append(str(error))
        entry = self.wanted.entry
        return Offer(
            name=model.id if entry is None else self.wanted.name,
            engine=engine,
            gpt_oss=usable,
            reasons=tuple(reasons),
            aliases=model.aliases if entry is None else entry.aliases,
            context_length=model.context_length.value,
            labels=() if entry is None else entry.labels,
            passthrough=Passthrough(report.url, api_key=key, model=model.id),
            defaults=ModelSettings() if entry is None else _defaults(entry),
        )


class UnitSource:
    """A model that we start in llama.cpp's server: the tiny one, a file, or a registry's."""

    def __init__(
        self,
        wanted: Wanted,
        environ: Mapping[str, str],
        groups: dict[str, Group],
        progress: Progress,
        host: HostLink | None = None,
    ) -> None:
        """``host``: who starts servers for us, if we do not."""
        self.wanted = wanted
        self.version = 0
        self.unit: Unit | None = None
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._order = Order()
        self._launch = wanted.launch
        self._environ = environ
        self._groups = groups
        self._progress = progress
        self._offers: tuple[Offer, ...] = ()
        self._error = ""

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    @property
    def health(self) -> EngineHealth:
        name = f"llama.cpp with {self.wanted.name or self.wanted.settings.url}"
        if self.unit is None:
            return EngineHealth(name=name, state="down", detail=self._error)
        return EngineHealth(
            name=name,
            state=self.unit.state,
            models=tuple(offer.name for offer in self._offers),
            detail=self.unit.detail,
        )

    @property
    def status(self) -> UnitStatus:
        if self.unit is None:
            return UnitStatus(name=self.wanted.name, state="down", detail=self._error)
        status = self.unit.status
        there = self._host.elsewhere(self._order) if self._host is not None else None
        if there is None or status.state != "idle":
            return status
        return msgspec.structs.replace(
            status, state="up", pid=there.pid, url=there.url, detail="in use by another worker"
        )

    async def refresh(self) -> None:
        """Look whether the model's file is there, until it is."""
        if self.unit is not None:
            return
        try:
            await asyncio.to_thread(self._prepare)
        except EngineError as error:
            self._error = str(error)

    async def load(self) -> None:
        """Start it now and say how it goes. Raises EngineError."""
        if self.unit is None:
            await asyncio.to_thread(self._prepare)
        assert self.unit is not None
        loading = asyncio.ensure_future(self.unit.load())
        waited = 0.0
        try:
            while not (await asyncio.wait((loading,), timeout=PROGRESS_SECONDS))[0]:
                waited += PROGRESS_SECONDS
                self._progress(f"loading {self.unit.name}: {waited:.0f} s")
        except asyncio.CancelledError:
            loading.cancel()
            raise
        loading.result()

    async def unload(self) -> None:
        """Stop it, for whoever shares it too; requests that run break off."""
        if self._host is not None:
            await self._host.unload(self._order)
        if self.unit is not None:
            await self.unit.unload()

    async def aclose(self) -> None:
        if self.unit is not None:
            await self.unit.aclose()
        for offer in self._offers:
            if offer.passthrough is not None:
                await offer.passthrough.aclose()

    def _prepare(self) -> None:
        """Raises EngineError if the model is not there."""
        if self.wanted.kind == "tiny":
            self._prepare_tiny()
        else:
            self._prepare_file()
        self.version += 1

    def _prepare_tiny(self) -> None:
        from antiphon.engines.tiny.model import MODEL_NAME, SERVED_CONTEXT, started_tiny

        def start(on_exit: Callable[[], None]) -> Server:
            return started_tiny(self._progress, on_exit=on_exit)

        starter = start if self._host is None else self._hosted(Order(), self._host)
        reason = "it is the tiny model that comes with antiphon, to test with"
        self._make(MODEL_NAME, starter, SERVED_CONTEXT, gpt_oss=True, reason=reason, any_name=True)

    def _prepare_file(self) -> None:
        entry = self.wanted.entry
        assert entry is not None
        made = plan(self.wanted.name, entry, self._launch, self._environ)
        kind = "gpt-oss" if made.gpt_oss else f"{made.architecture}, not gpt-oss"
        reason = f"{made.model.name} says that its architecture is {kind}"
        if self._host is None:
            start = self._starter(made)
        else:
            start = self._hosted(Order(plan=made, group=entry.group), self._host)
        self._make(
            made.name,
            start,
            made.context,
            gpt_oss=made.gpt_oss,
            reason=reason,
            entry=entry,
        )

    def _starter(self, made: LaunchPlan) -> Start:
        def start(on_exit: Callable[[], None]) -> Server:
            self._progress(f"loading {made.model}")
            return server_for(made, self._environ, on_exit=on_exit)

        return start

    def _hosted(self, order: Order, host: HostLink) -> Start:
        self._order = order
        loop = self._loop
        asking: set[asyncio.Future[None]] = set()

        def asked(now: bool) -> None:
            if self.unit is not None:
                task = asyncio.ensure_future(self.unit.unload() if now else self.unit.give_way())
                asking.add(task)
                task.add_done_callback(asking.discard)

        def start(on_exit: Callable[[], None]) -> Server:
            return HostedServer(host, loop, order, on_exit=on_exit, asked=asked)

        return start

    def _make(
        self,
        name: str,
        start: Start,
        context: int,
        *,
        gpt_oss: bool,
        reason: str,
        any_name: bool = False,
        entry: ModelEntry | None = None,
    ) -> None:
        entry = entry or ModelEntry(checkpoint="")
        group = None
        if entry.group is not None:
            group = self._groups.setdefault(entry.group, Group(entry.group))
        from antiphon.engines.llama_server.client import LlamaServerEngine

        capabilities = msgspec.structs.replace(LlamaServerEngine.defaults, context_length=context)

        unit = Unit(
            name,
            start,
            lambda url: LlamaServerEngine(url, model=name, capabilities=capabilities),
            group=group,
            # What was asked for by name stays.
            ttl=0.0 if self.wanted.eager else self._launch.ttl if entry.ttl is None else entry.ttl,
            restarts=self._launch.restarts,
        )
        self._offers = (
            Offer(
                name=name,
                engine=LazyEngine(unit, capabilities),
                gpt_oss=gpt_oss,
                reasons=(reason,),
                aliases=entry.aliases,
                context_length=context,
                labels=entry.labels,
                passthrough=LazyPassthrough(unit),
                any_name=any_name,
                defaults=_defaults(entry),
            ),
        )
        self.unit, self._error = unit, ""


class _NoRawEngine:
    """Stands where a model can only be used by the engine's own routes."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        raise EngineError(f"{self.name} cannot be prompted raw: {self._reason}")
        yield ()  # what makes this a generator

    async def aclose(self) -> None:
        """Nothing to let go of."""


def _defaults(entry: ModelEntry) -> ModelSettings:
    return ModelSettings(
        effort=entry.effort,
        temperature=entry.temperature,
        top_p=entry.top_p,
        top_k=entry.top_k,
        min_p=entry.min_p,
    )


def _reasons(model: ModelReport) -> tuple[str, ...]:
    reasons = [model.gpt_oss.reason, *(sign.detail for sign in model.evidence)]
    if model.gpt_oss.value and not model.usable:
        reasons.append(model.reading.reason)
    return tuple(dict.fromkeys(reasons))


def _essence(model: ModelReport) -> tuple[Any, ...]:
    """What decides how the model is spoken to."""
    findings = (
        model.gpt_oss,
        model.reading,
        model.prompt_ids,
        model.grammar,
        model.logprobs,
        model.context_length,
    )
    return (*(finding.value for finding in findings), model.aliases, model.url, model.dialect)
