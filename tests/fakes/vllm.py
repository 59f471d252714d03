"""vLLM on the wire (spec/backends.md, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.wire import FakeEngine, Frame, Play, Refusal, sse

__all__ = ["FakeVllm"]


class FakeVllm(FakeEngine):
    """``/v1/completions`` with token ids both ways.

    ``token_ids`` come only where ``return_token_ids`` asks for them, the stop token's among them;
    control tokens are in the text only with ``skip_special_tokens: false``, the stop token's never.
    """

    kind = "vllm"
    version = "0.26.0"

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/v1/completions", self.completion),
            web.get("/v1/models", self.models),
            web.post("/tokenize", self.tokenize),
            web.get("/version", self.tell_version),
            web.get("/health", self.health),
            web.get("/ping", self.health),
            *chat_routes(self),
        ]

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.Response()

    async def tell_version(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response({"version": self.version})

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response(
            {
                "object": "list",
                "data": [
                    {
                        "id": self.model_name,
                        "object": "model",
                        "created": 1_790_000_000,
                        "owned_by": "vllm",
                        "root": self.model_name,
                        "parent": None,
                        "max_model_len": self.context_length,
                        "permission": [],
                    }
                ],
            }
        )

    async def tokenize(self, request: web.Request) -> web.Response:
        body = await self.read(request)
        self.record(request, body)
        tokens = self.tokenise(body["prompt"])
        return web.json_response(
            {
                "count": len(tokens),
                "max_model_len": self.context_length,
                "tokens": tokens,
                "token_strs": None,
            }
        )

    async def completion(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        if body.get("model") not in (None, self.model_name):
            raise Refusal(404, f"The model `{body['model']}` does not exist.")
        tag = body.get("structured_outputs", {}).get("structural_tag")
        if tag is not None and not str(tag).lstrip().startswith("{"):
            raise Refusal(400, "Invalid structural tag: not a JSON object")
        prompt = self.prompt_ids(body.get("prompt"))
        self.record(request, body, prompt)
        play = self.play(prompt, body.get("max_tokens", 16))
        async with self.working():
            if body.get("stream"):
                return await self.stream(request, self.frames(play, body))
            return web.json_response(self.whole(play, body))

    def _special(self, body: dict[str, Any]) -> bool:
        return body.get("skip_special_tokens", True) is False

    def _usage(self, play: Play) -> dict[str, Any]:
        return {
            "prompt_tokens": len(play.prompt),
            "completion_tokens": play.total,
            "total_tokens": len(play.prompt) + play.total,
            "prompt_tokens_details": {"cached_tokens": len(play.prompt) // 16 * 16},
        }

    def _head(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": "cmpl-fake",
            "object": "text_completion",
            "created": 1_790_000_000,
            "model": self.model_name,
        }

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        head = self._head(body)
        with_ids = body.get("return_token_ids", False)
        offset = 0
        texts = play.texts(self.step, special=self._special(body), stop_text=False)
        for count, tokens, text in texts:
            last = count == play.total
            choice: dict[str, Any] = {
                "index": 0,
                "text": text,
                "logprobs": None,
                "finish_reason": play.reason if last else None,
                # The model's own end of sequence is no stop token to vLLM.
                "stop_reason": play.stop if last and play.stop != 200_002 else None,
                "token_ids": tokens if with_ids else None,
                "prompt_token_ids": play.prompt if with_ids and not offset else None,
            }
            if body.get("logprobs") is not None:
                choice["logprobs"] = self._logprobs(tokens, body, offset)
            offset += len(tokens)
            yield count + last, sse({**head, "choices": [choice], "usage": None})
        if body.get("stream_options", {}).get("include_usage"):
            yield play.total + 1, sse({**head, "choices": [], "usage": self._usage(play)})
        yield play.total + 1, b"data: [DONE]\n\n"

    def _logprobs(self, tokens: list[int], body: dict[str, Any], offset: int) -> dict[str, Any]:
        def name(token: int) -> str:
            return f"token_id:{token}"

        most = body["logprobs"]
        tops = [{name(t): -0.5, **{name(t + i): -1.0 - i for i in range(1, most)}} for t in tokens]
        return {
            "text_offset": [offset + i for i in range(len(tokens))],
            "token_logprobs": [-0.5] * len(tokens),
            "tokens": [name(t) for t in tokens],
            "top_logprobs": tops,
        }

    def whole(self, play: Play, body: dict[str, Any]) -> dict[str, Any]:
        texts = list(play.texts(special=self._special(body), stop_text=False))
        return {
            **self._head(body),
            "choices": [
                {
                    "index": 0,
                    "text": "".join([text for _, _, text in texts]),
                    "logprobs": None,
                    "finish_reason": play.reason,
                    "stop_reason": play.stop if play.stop != 200_002 else None,
                    "token_ids": play.tokens if body.get("return_token_ids") else None,
                    "prompt_token_ids": play.prompt if body.get("return_token_ids") else None,
                }
            ],
            "usage": self._usage(play),
        }
