"""What a probe found, each finding with its reason. All of it can be written as JSON."""

from __future__ import annotations

from typing import Final, Generic, Literal, TypeVar, get_args

import msgspec

from antiphon.engines.protocol import GrammarKind, Reading

__all__ = ["KINDS", "Evidence", "Finding", "Kind", "ModelReport", "ProbeReport", "Sign"]

Kind = Literal[
    "llama.cpp",
    "vllm",
    "sglang",
    "ollama",
    "ollama-template",
    "ollama-chat",
    "lmstudio",
    "lemonade",
    "mlx-lm",
    "transformers",
    "openai",
    "antiphon",
]
"""What answers at a URL. ``ollama-template`` and ``ollama-chat`` are Ollama, spoken to in another
way (docs/engines.md); detection says ``ollama``, and the rest is for `ModelReport.dialect` and for
whoever wants them. ``openai``: something with OpenAI's routes and no signs of its own;
``antiphon``: a gateway of ours."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Sign = Literal["tokenizer", "architecture", "template", "labels", "name"]
"""What says whether a model is a gpt-oss, the most reliable first."""

T = TypeVar("T")


class Finding(msgspec.Struct, Generic[T], frozen=True):
    """A value and how it is known. Where nothing is known, ``value`` is None."""

    value: T
    reason: str


class Evidence(msgspec.Struct, frozen=True):
    """One sign for or against a model being a gpt-oss."""

    sign: Sign
    gpt_oss: bool
    detail: str


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One model of an engine."""

    id: str
    """The name to ask the engine for."""
    aliases: tuple[str, ...] = ()
    gpt_oss: Finding[bool]
    evidence: tuple[Evidence, ...] = ()
    """Everything that spoke for or against it, the decisive sign first."""
    loaded: bool | None = None
    """Whether it is in memory; None: the engine does not say."""
    reading: Finding[Reading | None]
    """How its raw completions come. None: not a gpt-oss, or no raw completion was to be had."""
    prompt_ids: Finding[bool]
    grammar: Finding[GrammarKind | None]
    """The constraint that was tried and took hold."""
    logprobs: Finding[int | None]
    """Most alternatives a token; None: no log probabilities."""
    context_length: Finding[int | None]
    dialect: Kind | None = None
    """The engine whose raw requests it understands; behind a proxy, another than the report's
    kind. None: the report's kind."""
    url: str | None = None
    """Where the model itself runs, if the engine only stands in front (Lemonade)."""

    @property
    def usable(self) -> bool:
        """Whether it is a gpt-oss that can be spoken to raw."""
        return self.gpt_oss.value and self.reading.value is not None


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What runs at a URL."""

    url: str
    """Without ``/v1`` and without a slash at the end."""
    kind: Finding[Kind | None]
    """None: nothing there that can be used."""
    version: str | None = None
    models: tuple[ModelReport, ...] = ()
    needs_key: bool = False
    """Whether it refused for want of an API key, or because of the one it was given."""
    error: str | None = None
    """Why the report is not complete, if it is not."""

    @property
    def usable(self) -> bool:
        """Whether a gpt-oss can be used there."""
        return any(model.usable for model in self.models)

    def find(self, model: str) -> ModelReport | None:
        """The model of this name or alias."""
        for found in self.models:
            if found.id == model:
                return found
        return next((found for found in self.models if model in found.aliases), None)
