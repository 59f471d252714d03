"""Lemonade on the wire (spec/backends.md, 3.9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.llama_server import FakeLlamaServer

__all__ = ["FakeLemonade"]


class FakeLemonade(FakeLlamaServer):
    """``/v1/completions`` as llama.cpp's server answers it, under Lemonade's prefixes.

    ``backend_url`` is the llama-server that ``/v1/health`` tells of, ``recipe`` what runs it.
    """

    kind = "lemonade"
    default_model = "gpt-oss-20b-GGUF"

    def __init__(
        self,
        *args: Any,
        backend_url: str | None = None,
        recipe: str = "llamacpp",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.backend_url = backend_url
        self.recipe = recipe

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            route
            for prefix in ("/api/v1", "/v1", "/api/v0", "/v0")
            for route in (
                web.post(f"{prefix}/completions", self.openai_completion),
                web.post(f"{prefix}/tokenize", self.tokenize),
                web.get(f"{prefix}/models", self.models),
                web.get(f"{prefix}/health", self.health),
                *chat_routes(self, prefix),
            )
        ]

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "id": self.model_name,
            "object": "model",
            "created": 1_790_000_000,
            "owned_by": "lemonade",
            "recipe": self.recipe,
            "checkpoint": "ggml-org/gpt-oss-20b-GGUF" if self.gpt_oss else "Qwen/Qwen3-4B-GGUF",
            "labels": ["reasoning", "tool-calling"] if self.gpt_oss else [],
            "context_length": self.context_length,
            "downloaded": True,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        loaded = {
            "model_name": self.model_name,
            "checkpoint": "ggml-org/gpt-oss-20b-GGUF",
            "type": "llm",
            "device": "gpu",
            "recipe": self.recipe,
            "backend_url": self.backend_url,
        }
        return web.json_response(
            {"status": "ok", "model_loaded": self.model_name, "all_models_loaded": [loaded]}
        )
