"""OpenAI's legacy completions as several engines stream them: text, and no ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.wire import FakeEngine, Frame, Play, Refusal, sse

__all__ = ["FakeLmStudio", "FakeMlxLm", "FakeOpenai", "FakeTransformersServe", "completion_frames"]


def completion_frames(
    play: Play,
    body: dict[str, Any],
    model: str,
    *,
    special: bool,
    stop_text: bool = True,
    usage: bool = True,
) -> Iterator[Frame]:
    head = {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": 1_790_000_000,
        "model": model,
    }
    for count, _, text in play.texts(special=special, stop_text=stop_text):
        if text:
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None}
            yield count, sse({**head, "choices": [choice]})
    end = {"index": 0, "text": "", "logprobs": None, "finish_reason": play.reason}
    yield play.total + 1, sse({**head, "choices": [end]})
    if usage and body.get("stream_options", {}).get("include_usage"):
        total = len(play.prompt) + play.total
        cost = {
            "prompt_tokens": len(play.prompt),
            "completion_tokens": play.total,
            "total_tokens": total,
        }
        yield play.total + 1, sse({**head, "choices": [], "usage": cost})
    yield play.total + 1, b"data: [DONE]\n\n"


class FakeOpenai(FakeEngine):
    """Any endpoint with ``/v1/completions`` (3, the summary): string or ids in, text out.

    ``special``: whether control tokens are in the text. ``usage``: whether it tells any.
    """

    kind = "openai"
    owner = "someone"
    ids = True
    stop_text = True
    usage = True

    def __init__(
        self, *args: Any, special: bool = True, usage: bool | None = None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.special = special
        if usage is not None:
            self.usage = usage

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/v1/completions", self.completion),
            web.get("/v1/models", self.models),
            *chat_routes(self),
        ]

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "id": self.model_name,
            "object": "model",
            "created": 1_790_000_000,
            "owned_by": self.owner,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def completion(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        prompt = self.prompt_ids(body.get("prompt"), ids=self.ids)
        self.record(request, body, prompt)
        play = self.play(prompt, body.get("max_tokens", 16))
        async with self.working():
            if body.get("stream"):
                return await self.stream(request, self.frames(play, body))
            return web.json_response(self.whole(play, body))

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        return completion_frames(
            play,
            body,
            self.model_name,
            special=self.special,
            stop_text=self.stop_text,
            usage=self.usage,
        )

    def whole(self, play: Play, body: dict[str, Any]) -> dict[str, Any]:
        texts = play.texts(special=self.special, stop_text=self.stop_text)
        text = "".join([text for _, _, text in texts])
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": play.reason}
        return {
            "id": "cmpl-fake",
            "object": "text_completion",
            "created": 1_790_000_000,
            "model": self.model_name,
            "choices": [choice],
            "usage": {"prompt_tokens": len(play.prompt), "completion_tokens": play.total},
        }


class FakeLmStudio(FakeOpenai):
    """LM Studio (3.5): string prompts; whether text is marked is what ``special`` says."""

    kind = "lmstudio"
    owner = "organization_owner"
    ids = False
    stop_text = False

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            *super().routes(),
            web.get("/api/v0/models", self.v0_models),
            web.get("/api/v1/models", self.v1_models),
        ]

    async def v0_models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "id": self.model_name,
            "object": "model",
            "type": "llm",
            "publisher": "openai",
            "arch": "gpt_oss" if self.gpt_oss else "qwen3",
            "compatibility_type": "gguf",
            "quantization": "MXFP4",
            "state": "loaded",
            "max_context_length": 131_072,
            "loaded_context_length": self.context_length,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def v1_models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "type": "llm",
            "key": self.model_name,
            "architecture": "gpt_oss" if self.gpt_oss else "qwen3",
            "max_context_length": 131_072,
            "loaded_instances": [
                {"id": self.model_name, "config": {"context_length": self.context_length}}
            ],
        }
        return web.json_response({"models": [model]})


class FakeTransformersServe(FakeOpenai):
    """transformers serve (3.6): string prompts, stripped text, unknown fields refused. Usage comes
    with the last event, unasked, and there is no ``[DONE]`` (seen in 5.23)."""

    kind = "transformers"
    owner = "openai"
    ids = False
    usage = False
    refused = frozenset(
        "reasoning_effort response_format tool_choice stream_options n logprobs"
        " parallel_tool_calls max_completion_tokens".split()
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, special=False, **options)

    def routes(self) -> Iterable[web.RouteDef]:
        return [*super().routes(), web.get("/health", self.health)]

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response({"status": "ok"})

    def refusal_body(self, refusal: Any) -> Any:
        return {"detail": refusal.message}

    def error_frame(self, message: str) -> bytes:
        return sse({"error": message})

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        *texts, _done = super().frames(play, body)
        count, last = texts.pop()
        yield from texts
        event = json.loads(last.removeprefix(b"data: "))
        event["usage"] = {
            "prompt_tokens": len(play.prompt),
            "completion_tokens": play.total,
            "total_tokens": len(play.prompt) + play.total,
        }
        yield count, sse(event)

    async def completion(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        if unsupported := sorted(self.refused & body.keys()):
            raise Refusal(422, f"Unsupported fields in the request: {set(unsupported)}")
        return await super().completion(request)


class FakeMlxLm(FakeOpenai):
    """mlx-lm's server (3.7): string prompts, marked text without the stop token's, comments while
    it reads the prompt (``keepalives`` of them)."""

    kind = "mlx-lm"
    owner = "mlx"
    ids = False
    stop_text = False

    def __init__(self, *args: Any, keepalives: int = 2, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keepalives = keepalives

    def routes(self) -> Iterable[web.RouteDef]:
        return [*super().routes(), web.get("/health", self.health)]

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response({"status": "ok"})

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        total = len(play.prompt)
        for i in range(self.keepalives):
            yield 0, b": keepalive %d/%d\n\n" % (total * i // self.keepalives, total)
        yield from super().frames(play, body)
