"""From what a probe found to an engine that can be asked: the adapter, and what it may promise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import msgspec

from antiphon.engines.detect.report import ModelReport, ProbeReport
from antiphon.engines.protocol import Capabilities, Chunk, CompletionRequest, Engine
from antiphon.errors import EngineError

__all__ = ["connect"]


def connect(report: ProbeReport, model: ModelReport | str, *, api_key: str | None = None) -> Engine:
    """The engine that speaks raw to ``model`` at ``report.url``, named as the engine knows it.

    Nothing is sent yet. Raises EngineError if the model is not there, or the engine has no way to
    be spoken to.
    """
    found = report.find(model) if isinstance(model, str) else model
    if found is None:
        raise EngineError(f"{report.url} has no model {str(model)[:200]!r}")
    engine = _adapter(report, found, api_key)
    return _Connected(engine, found)


def _adapter(report: ProbeReport, model: ModelReport, api_key: str | None) -> Engine:
    if report.kind.value == "llama.cpp":
        from antiphon.engines.llama_server.client import LlamaServerEngine

        return LlamaServerEngine(report.url, api_key=api_key)
    raise EngineError(f"{report.url} is {report.kind.value}: there is no adapter for it")


class _Connected:
    """One model of an engine, with what the probe found true of it."""

    def __init__(self, engine: Engine, model: ModelReport) -> None:
        self._engine = engine
        self._model = model.id
        self._capabilities = _promised(engine.capabilities, model)

    @property
    def name(self) -> str:
        return f"{self._model} on {self._engine.name}"

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        if request.model is None:
            request = msgspec.structs.replace(request, model=self._model)
        return self._engine.complete(request)

    async def aclose(self) -> None:
        await self._engine.aclose()


def _promised(able: Capabilities, model: ModelReport) -> Capabilities:
    """What the adapter can do and the probe did not refute."""
    return msgspec.structs.replace(
        able,
        grammar=able.grammar if able.grammar == model.grammar.value else None,
        logprobs=None if model.logprobs.value is None else able.logprobs,
        context_length=model.context_length.value or able.context_length,
    )
