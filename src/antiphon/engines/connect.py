"""From what a probe found to an engine that can be asked: the adapter, and what it may promise."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import msgspec

from antiphon.engines.detect.report import Kind, ModelReport, ProbeReport
from antiphon.engines.protocol import Capabilities
from antiphon.errors import EngineError

if TYPE_CHECKING:
    from antiphon.engines.http import HttpEngine

__all__ = ["connect"]

_ADAPTERS: Final[dict[Kind, str]] = {
    "llama.cpp": "llama_server.client:LlamaServerEngine",
    "vllm": "vllm:VllmEngine",
    "sglang": "sglang:SglangEngine",
    "ollama": "ollama:OllamaEngine",
    "ollama-template": "ollama:OllamaEngine",
    "ollama-chat": "ollama:OllamaEngine",
    "lmstudio": "lmstudio:LmStudioEngine",
    "lemonade": "lemonade:LemonadeEngine",
    "mlx-lm": "mlx:MlxEngine",
    "transformers": "transformers:TransformersEngine",
    "openai": "completions:CompletionsEngine",
}
"""Dialect → module and class. Modules are imported when they are needed."""


def connect(
    report: ProbeReport, model: ModelReport | str, *, api_key: str | None = None
) -> HttpEngine:
    """The engine that speaks raw to ``model`` at ``report.url``. Nothing is sent yet.

    It can do what its adapter can and the probe did not refute. Raises EngineError if the model is
    not in the report, or nothing there can be spoken to.
    """
    found = report.find(model) if isinstance(model, str) else model
    if found is None:
        raise EngineError(f"{report.url} has no model {str(model)[:200]!r}")
    dialect = found.dialect or report.kind.value
    if dialect not in _ADAPTERS:
        raise EngineError(f"{report.url} cannot be spoken to: {report.error or report.kind.reason}")
    adapter = _load(_ADAPTERS[dialect])
    # A server that stands behind Lemonade does not know Lemonade's key.
    key = api_key if found.url is None else None
    way = dialect.removeprefix("ollama-")
    options: dict[str, Any] = {"way": way} if way != dialect else {}
    return adapter(
        found.url or report.url,
        model=found.id,
        api_key=key,
        capabilities=_promised(adapter.defaults, found),
        **options,
    )


def _load(target: str) -> type[HttpEngine]:
    module, _, name = target.partition(":")
    adapter: type[HttpEngine] = getattr(import_module(f"antiphon.engines.{module}"), name)
    return adapter


def _promised(able: Capabilities, model: ModelReport) -> Capabilities:
    if model.reading.value is None:
        return msgspec.structs.replace(able, context_length=model.context_length.value)
    return msgspec.structs.replace(
        able,
        reading=model.reading.value,
        prompt_ids=model.prompt_ids.value,
        grammar=able.grammar if able.grammar == model.grammar.value else None,
        logprobs=None if model.logprobs.value is None else able.logprobs,
        context_length=model.context_length.value,
    )
