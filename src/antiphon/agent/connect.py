"""From settings to models that can be asked: the catalog of a gateway, or any OpenAI endpoint."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

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

__all__ = [
    "EndpointModels",
    "Models",
    "listed_models",
    "open_api",
    "open_endpoint",
    "open_engine",
    "open_engines",
    "pick",
]

Progress = Callable[[str], None]

GREEDY: Final = Sampling(temperature=0.0)
"""The tiny model knows what it knows by heart: by chance it goes astray."""


LIST_SECONDS: Final = 10.0
"""Longest wait for an endpoint's list of models."""


class Models(Protocol):
    """The models that can be asked, to choose from while others are in use."""

    async def names(self) -> Sequence[str]:
        """All of them, as they are now. Raises EngineError."""
        ...

    async def pick(self, name: str | None) -> AgentModel:
        """One; without a name, the one that is meant. Raises ApiError, EngineError."""
        ...


class _EngineModels:
    """Those of a gateway's catalog."""

    def __init__(self, catalog: Catalog, settings: Settings, new_id: Callable[[], str]) -> None:
        self._catalog = catalog
        self._settings = settings
        self._new_id = new_id

    async def names(self) -> Sequence[str]:
        return [card.id for card in self._catalog.list()]

    async def pick(self, name: str | None) -> AgentModel:
        return pick(self._catalog, self._settings, name, self._new_id)


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
    opened = open_engines(settings, new_id=new_id, progress=progress, environ=environ)
    async with opened as models:
        yield await models.pick(name)


@asynccontextmanager
async def open_engines(
    settings: Settings,
    *,
    new_id: Callable[[], str],
    progress: Progress = lambda line: None,
    environ: Mapping[str, str] | None = None,
) -> AsyncGenerator[Models, None]:
    """All models of what the settings say, found and started as a gateway does it. Raises
    SettingsError, EngineError.
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
        yield _EngineModels(catalog, settings, new_id)


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
    async with open_endpoint(settings, url, new_id=new_id, api_key=api_key) as models:
        yield await models.pick(name)


@asynccontextmanager
async def open_endpoint(
    settings: Settings, url: str, *, new_id: Callable[[], str], api_key: str | None = None
) -> AsyncGenerator[Models, None]:
    """The models behind any endpoint with OpenAI's chat route."""
    from antiphon.engines.passthrough import Passthrough

    through = Passthrough(url, api_key=api_key)

    async def names() -> Sequence[str]:
        return await _listed(url, api_key)

    try:
        engine = through.name.replace("the engine", "the API", 1)
        yield EndpointModels(settings, through, engine, names, new_id)
    finally:
        await through.aclose()


class EndpointModels:
    """Those of an endpoint. ``through`` sends a chat request (`antiphon.engines.passthrough`);
    ``listed`` asks for the models' names.
    """

    def __init__(
        self,
        settings: Settings,
        through: Any,
        engine: str,
        listed: Callable[[], Awaitable[Sequence[str]]],
        new_id: Callable[[], str],
    ) -> None:
        self._listed = listed
        self._settings = settings
        self._through = through
        self._engine = engine
        self._new_id = new_id

    async def names(self) -> Sequence[str]:
        return await self._listed()

    async def pick(self, name: str | None) -> AgentModel:
        from antiphon.engines.completions import CompletionsEngine
        from antiphon.turn.ordinary import OrdinaryRunner

        name = name or await self._only()
        served = Served(
            name=name,
            # It is never asked, and opens nothing: it only gives the name.
            engine=CompletionsEngine(self._through.url, model=name),
            gpt_oss=False,
            reasons=(),
            passthrough=self._through,
            context_length=None,
            settings=ModelSettings(),
        )
        return AgentModel(
            name=name,
            engine=self._engine,
            runner=OrdinaryRunner(served, settings=self._settings.turn, new_id=self._new_id),
            harmony=False,
            continues=False,
        )

    async def _only(self) -> str:
        names = await self.names()
        if len(names) == 1:
            return names[0]
        shown = ", ".join([name[:60] for name in names[:10]]) or "none"
        raise EngineError(
            f"{self._through.url} lists {len(names)} models ({shown}); name one with --model"
        )


async def _listed(url: str, api_key: str | None) -> Sequence[str]:
    from antiphon.engines.detect.asking import Asker

    async with Asker(url, api_key=api_key, seconds=LIST_SECONDS) as asker:
        answer = await asker.get("/v1/models")
    if not answer.ok:
        why = answer.error or f"status {answer.status}"
        raise EngineError(f"cannot ask {asker.url} for its models: {why}; name one with --model")
    return listed_models(answer.data)


def listed_models(data: Any) -> list[str]:
    """The names in an answer to ``GET /v1/models``."""
    listed = data.get("data") if isinstance(data, dict) else None
    return [
        entry["id"]
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]
