"""The probe: which engine, which models, which of them are gpt-oss, and how to speak to those.

    identify ──► list_models ──► tokenise, judge ──► try_model
    (routes)     (the engine's    (gpt-oss or not)   (loaded gpt-oss models only)
                  own lists)

Nothing here makes an engine load a model unless it is told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from antiphon.engines.detect.asking import Asker, dig
from antiphon.engines.detect.assumed import assumed
from antiphon.engines.detect.cache import ProbeCache
from antiphon.engines.detect.gptoss import Verdict, judge, tokenized_channel
from antiphon.engines.detect.kinds import Identified, identify
from antiphon.engines.detect.listed import Listed
from antiphon.engines.detect.listing import list_models
from antiphon.engines.detect.report import KINDS, Kind, ModelReport, ProbeReport
from antiphon.engines.detect.trial import TRIAL_SECONDS, Tried, try_model, untried
from antiphon.errors import EngineError

__all__ = ["PROBE_SECONDS", "probe"]

PROBE_SECONDS: Final = 60.0
"""Longest probe. Engines that answer at once are done in a fraction of a second."""
MAX_TRIALS: Final = 8
"""Models of one engine that are made to generate."""
MAX_TOKENIZED: Final = 32
"""Models of one engine whose tokenizers are asked."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


async def probe(
    url: str,
    *,
    api_key: str | None = None,
    kind: Kind | None = None,
    models: Collection[str] = (),
    load: bool = False,
    timeout: float = PROBE_SECONDS,  # noqa: ASYNC109 - every request has its share of it
    cache: ProbeCache | None = None,
) -> ProbeReport:
    """Look at the engine at ``url``, for at most ``timeout`` seconds. A server that is not there,
    breaks off or answers nonsense makes a report that says so.

    ``kind`` overrules detection. ``models`` limits the probe to these, and has them tried even if
    the engine must load them first; ``load`` does so for every gpt-oss.

    Raises EngineError (``status_hint`` 400) only for a URL that is none, or a kind.
    """
    if kind is not None and kind not in KINDS:
        error = EngineError(
            f"{str(kind)[:100]!r} is no kind of engine; there are {', '.join(KINDS)}"
        )
        error.status_hint = 400
        raise error
    async with Asker(url, api_key=api_key, seconds=timeout) as asker:
        engine = await identify(asker, kind)
        if engine.kind.value in (None, "antiphon"):
            return _report(asker, engine, ())
        listed = await list_models(asker, engine)
        if models:
            listed = [m for m in listed if m.id in models or set(m.aliases) & set(models)]
        prober = _Prober(asker, engine, cache, load=load or bool(models))
        return _report(asker, engine, await prober.models(listed))


def _report(asker: Asker, engine: Identified, models: tuple[ModelReport, ...]) -> ProbeReport:
    error = engine.error
    if error is None and engine.kind.value not in (None, "antiphon") and not models:
        error = "it lists no models"
        if asker.key_refused:
            error += "; it asks for an API key, or refuses the one it was given"
    return ProbeReport(
        url=asker.url,
        kind=engine.kind,
        version=engine.version,
        models=models,
        needs_key=asker.key_refused,
        error=error,
    )


class _Prober:
    """Looks at the models of one engine."""

    def __init__(
        self, asker: Asker, engine: Identified, cache: ProbeCache | None, *, load: bool
    ) -> None:
        assert engine.kind.value is not None
        self._asker = asker
        self._kind: Kind = engine.kind.value
        self._version = engine.version
        self._cache = cache
        self._load = load

    async def models(self, listed: list[Listed]) -> tuple[ModelReport, ...]:
        verdicts = await self._verdicts(listed)
        trials = 0
        reports = []
        for model in listed:
            verdict = verdicts[model.id]
            may_try = verdict.gpt_oss.value and trials < MAX_TRIALS
            trials += may_try
            reports.append(await self._model(model, verdict, may_try=may_try))
        return tuple(reports)

    async def _verdicts(self, listed: list[Listed]) -> dict[str, Verdict]:
        """Tokenizers are asked where that loads nothing."""
        asked = [m for m in listed if m.loaded and m.text_model][:MAX_TOKENIZED]
        cuts = await asyncio.gather(
            *[tokenized_channel(self._asker, self._kind, model.id) for model in asked]
        )
        tokens = {model.id: cut for model, cut in zip(asked, cuts, strict=True)}
        return {model.id: judge(model, tokens.get(model.id)) for model in listed}

    async def _model(self, model: Listed, verdict: Verdict, *, may_try: bool) -> ModelReport:
        url = None
        if not verdict.gpt_oss.value:
            reason = "not asked: it is not a gpt-oss"
            tried = untried(self._kind, reason)
        elif model.loaded is False and not self._load:
            tried = self._usual(model, "it is not loaded, so it was not tried")
        elif not may_try:
            tried = self._usual(model, f"not tried, because {MAX_TRIALS} others were")
        else:
            url, tried = await self._tried(model)
        return ModelReport(
            id=model.id,
            aliases=tuple(alias for alias in model.aliases if alias != model.id),
            gpt_oss=verdict.gpt_oss,
            evidence=verdict.evidence,
            loaded=model.loaded,
            reading=tried.reading,
            prompt_ids=tried.prompt_ids,
            grammar=tried.grammar,
            logprobs=tried.logprobs,
            context_length=model.context,
            dialect=tried.dialect,
            url=url,
        )

    def _usual(self, model: Listed, why: str) -> Tried:
        usual = assumed(self._kind, self._version, model, why)
        return usual or untried(self._kind, why)

    async def _tried(self, model: Listed) -> tuple[str | None, Tried]:
        """The trials, from the cache if they were made before, and where they were made."""
        backend = await self._backend(model)
        stamp = self._stamp(model)
        if self._cache is not None and (known := self._cache.get(self._asker.url, model.id, stamp)):
            return backend, known
        if backend is not None:
            async with Asker(backend, seconds=self._asker.seconds_left) as asker:
                tried = await try_model(asker, "llama.cpp", model.id)
        else:
            # A model that has to be loaded first may take all the time there is.
            seconds = self._asker.seconds_left if model.loaded is False else TRIAL_SECONDS
            tried = await try_model(self._asker, self._kind, model.id, seconds=seconds)
        if tried.reading.value is None:
            if tried.refuted:
                return None, tried
            cache = self._cache
            old = None if cache is None else cache.get_old(self._asker.url, model.id, stamp)
            if old is not None:
                return backend, old
            return None, self._usual(model, tried.reading.reason)
        if self._cache is not None:
            self._cache.put(self._asker.url, model.id, stamp, tried)
        return backend, tried

    def _stamp(self, model: Listed) -> str:
        identity = (self._kind, self._version, model.other_names, model.architecture, model.url)
        return msgspec.json.encode(identity).decode()

    async def _backend(self, model: Listed) -> str | None:
        """The llama.cpp server behind Lemonade, if it is on the same computer as Lemonade and as
        reachable: what an engine says must not send us, and our prompts, anywhere else.
        """
        if model.url is None or model.recipe not in (None, "llamacpp"):
            return None
        try:
            host, own = urlsplit(model.url).hostname, urlsplit(self._asker.url).hostname
            if host != own and not {host, own} <= _LOOPBACK:
                return None
            async with Asker(model.url, seconds=self._asker.seconds_left) as asker:
                props = await asker.get("/props")
                return asker.url if dig(props.data, "default_generation_settings") else None
        except (ValueError, RuntimeError):
            return None
