"""SGLang on the wire (spec/backends.md, 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.wire import FakeEngine, Frame, Play, Refusal, sse

__all__ = ["FakeSglang"]


class FakeSglang(FakeEngine):
    """``/generate``: text and ids cumulative, or with ``incremental`` as what is new.

    ``with_text`` False is ``--skip-tokenizer-init``. A refusal comes as an event of a stream that
    began with status 200. ``old_routes`` has the names that detection finds on old versions.
    """

    kind = "sglang"

    def __init__(
        self,
        *args: Any,
        incremental: bool = False,
        with_text: bool = True,
        old_routes: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.incremental = incremental
        self.with_text = with_text
        self.old_routes = old_routes
        self.aborted: list[str] = []

    def routes(self) -> Iterable[web.RouteDef]:
        prefix = "/get_" if self.old_routes else "/"
        return [
            web.post("/generate", self.generate),
            web.post("/abort_request", self.abort),
            web.get(f"{prefix}model_info", self.model_info),
            web.get(f"{prefix}server_info", self.server_info),
            web.get("/v1/models", self.models),
            web.get("/health", self.health),
            *chat_routes(self),
        ]

    def refusal_body(self, refusal: Refusal) -> Any:
        return {"error": {"message": refusal.message}}

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.Response()

    async def model_info(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response(
            {
                "model_path": self.model_name,
                "tokenizer_path": self.model_name,
                "is_generation": True,
                "preferred_sampling_params": None,
                "weight_version": "default",
                "model_type": "gpt_oss" if self.gpt_oss else "qwen3",
                "architectures": ["GptOssForCausalLM" if self.gpt_oss else "Qwen3ForCausalLM"],
            }
        )

    async def server_info(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response(
            {
                "model_path": self.model_name,
                "context_length": self.context_length,
                "max_total_num_tokens": 4 * self.context_length,
                "incremental_streaming_output": self.incremental,
                "skip_tokenizer_init": not self.with_text,
                "version": "0.9.0",
            }
        )

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "id": self.model_name,
            "object": "model",
            "created": 1_790_000_000,
            "owned_by": "sglang",
            "root": self.model_name,
            "parent": None,
            "max_model_len": self.context_length,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def abort(self, request: web.Request) -> web.Response:
        body = await self.read(request)
        self.record(request, body)
        self.aborted.append(body["rid"])
        return web.Response()

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        sampling = body.get("sampling_params", {})
        try:
            prompt = self.prompt_ids(body.get("input_ids") or body.get("text") or "")
            tag = sampling.get("structural_tag")
            if tag is not None and not str(tag).lstrip().startswith("{"):
                raise Refusal(400, "Failed to compile structural tag")
        except Refusal as refusal:
            if not body.get("stream"):
                raise
            frames = [(0, sse(self.refusal_body(refusal))), (0, b"data: [DONE]\n\n")]
            return await self.stream(request, frames)
        self.record(request, body, prompt)
        play = self.play(prompt, sampling.get("max_new_tokens", 128))
        async with self.working():
            return await self.stream(request, self.frames(play, body))

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        sampling = body.get("sampling_params", {})
        texts = play.texts(
            self.step,
            special=not sampling.get("skip_special_tokens", True),
            stop_text=bool(sampling.get("no_stop_trim")),
        )
        text, ids = "", list[int]()
        for count, tokens, piece in texts:
            if self.incremental:
                text, ids = piece, tokens
            else:
                text, ids = text + piece, ids + tokens
            meta: dict[str, Any] = {
                "id": body.get("rid") or "fake",
                "finish_reason": self._finish(play) if count == play.total else None,
                "prompt_tokens": len(play.prompt),
                "completion_tokens": count,
                "cached_tokens": len(play.prompt) // 2,
            }
            if body.get("return_logprob"):
                most = body.get("top_logprobs_num", 0)
                shown = ids if not self.incremental else tokens
                meta["output_token_logprobs"] = [[-0.5, token, None] for token in shown]
                meta["output_top_logprobs"] = [
                    [[-0.5 - i, token + i, None] for i in range(most)] for token in shown
                ]
            event: dict[str, Any] = {"output_ids": ids, "meta_info": meta}
            if self.with_text:
                event["text"] = text
            yield count + (count == play.total), sse(event)
        yield play.total + 1, b"data: [DONE]\n\n"

    def _finish(self, play: Play) -> dict[str, Any]:
        if play.limited:
            return {"type": "length", "length": play.total}
        return {"type": "stop", "matched": play.stop}
