"""From settings to a model that can be asked: the catalog of a gateway, or any OpenAI endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from antiphon.agent.model import AgentModel
from antiphon.api.turn import Sampling
from antiphon.engines.served import Served
from antiphon.errors import EngineError
from antiphon.settings.effective import for_model
from antiphon.settings.model import ModelSettings, Settings
from antiphon.turn.prompt import renderer

if TYPE_CHECKING:
    from antiphon.engines.catalog import Catalog

__all__ = ["open_api", "open_engine", "pick"]

Progress = Callable[[str], None]

GREEDY: Final = Sampling(temperature=0.0)
"""The tiny model knows what it knows by heart: by chance it goes astray."""


LIST_SECONDS: Final = 10.0
"""Longest wait for an endpoint's list of models."""


@asynccontextmanager
async def open_engine(
    settings: Settings,
    name: str | None = None,
    *,
    new_id: Callable[[], str],
    progress: Progress = lambda line: None,
    environ: Mapping[str, str] | None = None,
) -> AsyncGenerator[AgentModel, None]:
    """The model ``name`` of what the settings say, found and started as a gateway does it; without
    a name, the only one, or the first gpt-oss.

    Raises SettingsError, EngineError, ApiError for a model that is not there.
    """
    from antiphon.engines.catalog import Catalog

    environ = os.environ if environ is None else environ
    # The tokenizer takes as long to load as an engine to be found: side by side.
    warm = asyncio.ensure_future(asyncio.to_thread(renderer))
    try:
        catalog = await Catalog.open(settings, progress=progress, environ=environ)
    finally:
        await asyncio.shield(warm)
    async with catalog:
        yield pick(catalog, settings, name, new_id)


def pick(
    catalog: Catalog, settings: Settings, name: str | None, new_id: Callable[[], str]
) -> AgentModel:
    """A model of an open catalog. Raises ApiError, EngineError."""
    cards = catalog.list()
    if name is None and len(cards) > 1:
        name = next((card.id for card in cards if card.gpt_oss), cards[0].id)
    if name is None and not cards:
        down = "; ".join([f"{h.name}: {h.detail or h.state}" for h in catalog.health()])
        raise EngineError(f"no model can be asked ({down or 'no engine is configured'})")
    return _asked(catalog.find(name), settings, new_id)


def _asked(served: Served, settings: Settings, new_id: Callable[[], str]) -> AgentModel:
    from antiphon.engines.tiny.model import MODEL_NAME

    mode = served.settings.mode or settings.mode
    harmony = served.gpt_oss if mode == "auto" else mode == "harmony"
    tiny = served.name == MODEL_NAME
    if not harmony:
        from antiphon.turn.ordinary import OrdinaryRunner

        if served.passthrough is None:
            raise EngineError(f"{served.engine.name} has no chat route of its own")
        return AgentModel(
            name=served.name,
            engine=served.engine.name,
            runner=OrdinaryRunner(served, settings=settings.turn, new_id=new_id),
            harmony=False,
            continues=False,
            context_length=served.context_length,
        )
    from antiphon.store.memory import MemoryStore
    from antiphon.turn.engine import TurnRunner

    own = for_model(settings, served.settings)
    model: ModelSettings = served.settings
    if model.context_length is None:
        model = msgspec.structs.replace(model, context_length=served.context_length)
    runner = TurnRunner(
        served.engine,
        # The agent holds the reasoning itself, and goes on by itself where a turn was silent: it
        # has to look first whether a tool was called that does not exist.
        settings=msgspec.structs.replace(
            own,
            memory=msgspec.structs.replace(own.memory, enabled=False),
            turn=msgspec.structs.replace(own.turn, continue_silent=False),
        ),
        store=MemoryStore(),
        new_id=new_id,
        model=model,
    )
    return AgentModel(
        name=served.name,
        engine=served.engine.name,
        runner=runner,
        sampling=GREEDY if tiny else Sampling(),
        continues=own.turn.continue_silent,
        tiny=tiny,
        context_length=model.context_length,
    )


@asynccontextmanager
async def open_api(
    settings: Settings,
    url: str,
    name: str | None,
    *,
    new_id: Callable[[], str],
    api_key: str | None = None,
) -> AsyncGenerator[AgentModel, None]:
    """A model behind any endpoint with OpenAI's chat route at ``url``, with or without ``/v1``.
    Its reasoning is sent back to it while it works with tools.

    Without a name, the only model that the endpoint lists. Raises EngineError.
    """
    from antiphon.engines.completions import CompletionsEngine
    from antiphon.engines.passthrough import Passthrough
    from antiphon.turn.ordinary import OrdinaryRunner

    through = Passthrough(url, api_key=api_key)
    name = name or await _only_model(url, api_key)
    engine = CompletionsEngine(through.url, model=name)  # never asked: it only gives the name
    try:
        served = Served(
            name=name,
            engine=engine,
            gpt_oss=False,
            reasons=(),
            passthrough=through,
            context_length=None,
            settings=ModelSettings(),
        )
        yield AgentModel(
            name=name,
            engine=through.name.replace("the engine", "the API", 1),
            runner=OrdinaryRunner(served, settings=settings.turn, new_id=new_id),
            harmony=False,
            continues=False,
        )
    finally:
        await engine.aclose()
        await through.aclose()


async def _only_model(url: str, api_key: str | None) -> str:
    from antiphon.engines.detect.asking import Asker, dig

    async with Asker(url, api_key=api_key, seconds=LIST_SECONDS) as asker:
        answer = await asker.get("/v1/models")
    if not answer.ok:
        why = answer.error or f"status {answer.status}"
        raise EngineError(f"cannot ask {asker.url} for its models: {why}; name one with --model")
    listed = dig(answer.data, "data")
    names = [
        entry["id"]
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]
    if len(names) == 1:
        return str(names[0])
    shown = ", ".join([name[:60] for name in names[:10]]) or "none"
    raise EngineError(f"{asker.url} lists {len(names)} models ({shown}); name one with --model")
