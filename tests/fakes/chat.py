"""The engines' own chat routes, for what is passed through: canned answers in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web
from tests.fakes.wire import Frame, sse

if TYPE_CHECKING:
    from tests.fakes.wire import FakeEngine

__all__ = ["ANSWER", "chat_routes"]

ANSWER = "Hello from the engine itself."
"""What every chat is answered."""


def chat_routes(engine: FakeEngine, prefix: str = "/v1") -> list[web.RouteDef]:
    """``/chat/completions``, ``/embeddings`` and ``/rerank``, recorded as they came."""

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await engine.read(request)
        engine.record(request, body)
        async with engine.working():
            if body.get("stream"):
                return await engine.stream(request, _frames(engine.model_name, body))
            return web.json_response(
                {
                    **_head(engine.model_name, "chat.completion"),
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": ANSWER},
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15},
                }
            )

    async def embeddings(request: web.Request) -> web.Response:
        body = await engine.read(request)
        engine.record(request, body)
        return web.json_response(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
                "model": engine.model_name,
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        )

    async def rerank(request: web.Request) -> web.Response:
        body = await engine.read(request)
        engine.record(request, body)
        return web.json_response(
            {"model": engine.model_name, "results": [{"index": 0, "relevance_score": 0.5}]}
        )

    return [
        web.post(f"{prefix}/chat/completions", chat),
        web.post(f"{prefix}/embeddings", embeddings),
        web.post(f"{prefix}/rerank", rerank),
    ]


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1_790_000_000, "model": model}


def _frames(model: str, body: dict[str, Any]) -> Iterator[Frame]:
    head = _head(model, "chat.completion.chunk")
    words = ANSWER.split(" ")
    texts = [words[0], *[f" {word}" for word in words[1:]]]
    for count, text in enumerate(texts, 1):
        delta = {"role": "assistant", "content": text} if count == 1 else {"content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield count, sse({**head, "choices": [choice]})
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield len(texts) + 1, sse({**head, "choices": [end]})
    if body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
        yield len(texts) + 1, sse({**head, "choices": [], "usage": usage})
    yield len(texts) + 1, b"data: [DONE]\n\n"
