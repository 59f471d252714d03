"""Every adapter over HTTP with the wire fake of its engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

pytest.importorskip("aiohttp")

from tests.fakes.lemonade import FakeLemonade
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.ollama import FakeOllama
from tests.fakes.openai import (
    FakeLmStudio,
    FakeMlxLm,
    FakeOpenai,
    FakeTransformersServe,
)
from tests.fakes.sglang import FakeSglang
from tests.fakes.vllm import FakeVllm
from tests.fakes.wire import FakeEngine

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.http import HttpEngine
from antiphon.engines.lemonade import LemonadeEngine
from antiphon.engines.llama_server.client import LlamaServerEngine
from antiphon.engines.lmstudio import LmStudioEngine
from antiphon.engines.mlx import MlxEngine
from antiphon.engines.ollama import OllamaEngine
from antiphon.engines.sglang import SglangEngine
from antiphon.engines.transformers import TransformersEngine
from antiphon.engines.vllm import VllmEngine

__all__ = ["ADAPTERS", "Adapter"]


@dataclass(frozen=True)
class Adapter:
    """``tells_stop``, ``counts`` and ``verbatim`` as in the contract's `Case`."""

    engine_type: Callable[..., HttpEngine]
    fake_type: Callable[..., FakeEngine]
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    fake_options: Mapping[str, Any] = field(default_factory=dict)
    tells_stop: bool = True
    counts: bool = True
    verbatim: bool = True
    refuses: bool = True
    """The engine refuses a prompt that is too long, so that the adapter need not know the limit."""

    def fake(self, script: Any, **options: Any) -> FakeEngine:
        return self.fake_type(script, **{**self.fake_options, **options})

    def engine(
        self, fake: FakeEngine, *, context_length: int | None = None, **options: Any
    ) -> HttpEngine:
        if not self.refuses:
            options["context_length"] = context_length
        return self.engine_type(
            fake.url, model=fake.model_name, **{**self.engine_options, **options}
        )


ADAPTERS: Final[dict[str, Adapter]] = {
    "llama.cpp": Adapter(LlamaServerEngine, FakeLlamaServer, fake_options={"pings": 1}),
    "vllm": Adapter(VllmEngine, FakeVllm),
    "vllm in threes": Adapter(VllmEngine, FakeVllm, fake_options={"step": 3}),
    "sglang": Adapter(SglangEngine, FakeSglang),
    "sglang in threes": Adapter(SglangEngine, FakeSglang, fake_options={"step": 3}),
    "sglang incremental": Adapter(SglangEngine, FakeSglang, fake_options={"incremental": True}),
    "ollama raw": Adapter(OllamaEngine, FakeOllama, tells_stop=False),
    "ollama template": Adapter(
        OllamaEngine, FakeOllama, engine_options={"way": "template"}, verbatim=False
    ),
    "ollama chat": Adapter(
        OllamaEngine,
        FakeOllama,
        engine_options={"way": "chat"},
        counts=False,
        verbatim=False,
        refuses=False,
    ),
    "lmstudio": Adapter(
        LmStudioEngine, FakeLmStudio, fake_options={"special": False}, tells_stop=False
    ),
    "lemonade": Adapter(LemonadeEngine, FakeLemonade),
    "transformers": Adapter(TransformersEngine, FakeTransformersServe, tells_stop=False),
    "mlx-lm": Adapter(MlxEngine, FakeMlxLm, tells_stop=False),
    "openai": Adapter(CompletionsEngine, FakeOpenai),
    "openai without usage": Adapter(CompletionsEngine, FakeOpenai, fake_options={"usage": False}),
}
"""By the name of the kind, and of the variant where there are several."""
