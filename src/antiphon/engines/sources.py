"""Where models come from: an engine at a URL, one we start ourselves, the scripted engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from antiphon.engines.detect.report import ModelReport, ProbeReport
from antiphon.engines.protocol import Engine
from antiphon.engines.served import EngineHealth, Offer
from antiphon.errors import AntiphonError, SettingsError
from antiphon.settings.model import EngineSettings

__all__ = ["Connect", "Probe", "ScriptedSource", "Source", "UrlSource"]

Probe = Callable[[EngineSettings], Awaitable[ProbeReport]]
Connect = Callable[[ProbeReport, ModelReport, EngineSettings], Engine]

SCRIPTED_NAME: Final = "scripted"


class Source(Protocol):
    """One engine, with the models it offers."""

    settings: EngineSettings

    @property
    def offers(self) -> tuple[Offer, ...]: ...

    @property
    def health(self) -> EngineHealth: ...

    async def refresh(self) -> bool:
        """Look again; whether what it offers has changed. Raises nothing."""
        ...

    async def aclose(self) -> None: ...


class ScriptedSource:
    """The scripted engine, which answers to any model name."""

    def __init__(self, settings: EngineSettings) -> None:
        from antiphon.engines.scripted import ScriptedEngine

        self.settings = settings
        _, _, file = settings.url.partition(":")
        try:
            engine = ScriptedEngine.from_trace(Path(file)) if file else ScriptedEngine()
        except OSError as error:
            raise SettingsError(f"{settings.url}: {error.strerror or error}") from error
        self.offers: tuple[Offer, ...] = (
            Offer(
                name=SCRIPTED_NAME,
                engine=engine,
                gpt_oss=True,
                reasons=("the scripted engine speaks Harmony",),
                context_length=engine.capabilities.context_length,
                any_name=True,
            ),
        )
        self.health = EngineHealth(name=engine.name, state="up", models=(SCRIPTED_NAME,))

    async def refresh(self) -> bool:
        return False

    async def aclose(self) -> None:
        await self.offers[0].engine.aclose()


class UrlSource:
    """An engine that runs elsewhere. While it is down, what it last offered stays offered."""

    def __init__(self, settings: EngineSettings, probe: Probe, connect: Connect) -> None:
        self.settings = settings
        self.report: ProbeReport | None = None
        """What the last look that found something found."""
        self._probe = probe
        self._connect = connect
        self._offers: dict[str, Offer] = {}
        self._known: dict[str, ModelReport] = {}
        self._left: list[Engine] = []
        self._error = "not asked yet"

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(self._offers.values())

    @property
    def health(self) -> EngineHealth:
        kind = self.report.kind.value if self.report else None
        return EngineHealth(
            name=f"{kind or 'engine'} at {self.settings.url}",
            state="down" if self._error else "up",
            models=tuple(self._offers),
            detail=self._error,
        )

    async def refresh(self) -> bool:
        try:
            report = await self._probe(self.settings)
        except AntiphonError as error:
            self._error = str(error)
            return False
        if report.kind.value is None:
            self._error = report.error or report.kind.reason
            return False
        self.report, self._error = report, ""
        return self._adopt(report)

    async def aclose(self) -> None:
        for engine in (*self._left, *(offer.engine for offer in self._offers.values())):
            await engine.aclose()

    def _adopt(self, report: ProbeReport) -> bool:
        """Take over what is new; engines of models that are as they were go on being used."""
        offers: dict[str, Offer] = {}
        known: dict[str, ModelReport] = {}
        for model in report.models:
            if self.settings.models and not {model.id, *model.aliases} & set(self.settings.models):
                continue
            before = self._known.get(model.id)
            if before is not None and _essence(before) == _essence(model):
                offers[model.id] = self._offers[model.id]
            else:
                offers[model.id] = self._offer(report, model)
            known[model.id] = model
        changed = offers != self._offers
        kept = {id(offer.engine) for offer in offers.values()}
        # A completion may still be running on an engine that is left: it is closed at the end.
        self._left += [o.engine for o in self._offers.values() if id(o.engine) not in kept]
        self._offers, self._known = offers, known
        return changed

    def _offer(self, report: ProbeReport, model: ModelReport) -> Offer:
        return Offer(
            name=model.id,
            engine=self._connect(report, model, self.settings),
            gpt_oss=model.usable,
            reasons=_reasons(model),
            aliases=model.aliases,
            context_length=model.context_length.value,
        )


def _reasons(model: ModelReport) -> tuple[str, ...]:
    reasons = [model.gpt_oss.reason, *(sign.detail for sign in model.evidence)]
    if model.gpt_oss.value and not model.usable:
        reasons.append(model.reading.reason)
    return tuple(dict.fromkeys(reasons))


def _essence(model: ModelReport) -> tuple[object, ...]:
    """What decides how the model is spoken to."""
    findings = (
        model.gpt_oss,
        model.reading,
        model.prompt_ids,
        model.grammar,
        model.logprobs,
        model.context_length,
    )
    return (*(finding.value for finding in findings), model.aliases, model.url)
