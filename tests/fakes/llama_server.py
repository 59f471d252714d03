"""llama.cpp's server on the wire (spec/backends.md, 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.openai import completion_frames
from tests.fakes.wire import FakeEngine, Frame, Play, Refusal, sse

from antiphon.vocab.control import is_control
from antiphon.vocab.table import token_bytes

__all__ = ["FakeLlamaServer"]


class FakeLlamaServer(FakeEngine):
    """``/completion``: one id an event, none for a token that leaves a character incomplete, and
    control tokens without text unless ``preserved_tokens`` names them.

    ``loading`` answers 503 as a server does that still loads its model. ``pings`` comments come
    before the first event.
    """

    kind = "llama.cpp"
    default_model = "gpt-oss-20b-mxfp4.gguf"

    def __init__(self, *args: Any, loading: bool = False, pings: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.loading = loading
        self.pings = pings

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.post("/completion", self.completion),
            web.post("/v1/completions", self.openai_completion),
            web.get("/props", self.props),
            web.get("/slots", self.slots),
            web.get("/v1/models", self.models),
            web.post("/tokenize", self.tokenize),
            web.get("/health", self.health),
            web.get("/v1/health", self.health),
            *chat_routes(self),
        ]

    def refusal_body(self, refusal: Refusal) -> Any:
        kinds = {
            400: "invalid_request_error",
            503: "unavailable_error",
            401: "authentication_error",
        }
        return {
            "error": {
                "code": refusal.status,
                "message": refusal.message,
                "type": kinds.get(refusal.status, "server_error"),
                **refusal.extra,
            }
        }

    def prompt_ids(self, prompt: Any, *, ids: bool = True) -> list[int]:
        try:
            return super().prompt_ids(prompt, ids=ids)
        except Refusal as refusal:
            if "maximum context" not in refusal.message:
                raise
            raise Refusal(
                400,
                f"request ({len(prompt)} tokens) exceeds the available context size"
                f" ({self.context_length} tokens), try increasing it",
                type="exceed_context_size_error",
                n_prompt_tokens=len(prompt),
                n_ctx=self.context_length,
            ) from None

    def _ready(self) -> None:
        if self.loading:
            raise Refusal(503, "Loading model")

    async def health(self, request: web.Request) -> web.Response:
        self.record(request, None)
        self._ready()
        return web.json_response({"status": "ok"})

    async def props(self, request: web.Request) -> web.Response:
        self.record(request, None)
        self._ready()
        return web.json_response(
            {
                "default_generation_settings": {"n_ctx": self.context_length, "params": {}},
                "total_slots": 2,
                "model_alias": self.model_name,
                "model_path": f"/models/{self.model_name}",
                "modalities": {"vision": False, "audio": False},
                "chat_template": self.template,
                "chat_template_caps": {},
                "bos_token": "<|startoftext|>" if self.gpt_oss else "<s>",
                "eos_token": "<|return|>" if self.gpt_oss else "<|im_end|>",
                "build_info": "b9001-fake",
            }
        )

    async def slots(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response(
            [
                {"id": i, "n_ctx": self.context_length, "is_processing": i < self.active}
                for i in range(2)
            ]
        )

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        self._ready()
        model = {
            "id": self.model_name,
            "object": "model",
            "created": 1_790_000_000,
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, "n_vocab": 201_088, "n_ctx_train": 131_072},
        }
        return web.json_response({"object": "list", "data": [model], "models": []})

    async def tokenize(self, request: web.Request) -> web.Response:
        body = await self.read(request)
        self.record(request, body)
        special = body.get("parse_special", True)
        return web.json_response({"tokens": self.tokenise(body["content"], special=special)})

    def _prompt(self, request: web.Request, body: dict[str, Any]) -> list[int]:
        self._ready()
        if body.get("grammar", "").count('"') % 2:
            raise Refusal(400, "Failed to initialize samplers: failed to parse grammar")
        prompt = self.prompt_ids(body.get("prompt"))
        self.record(request, body, prompt)
        return prompt

    async def completion(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        prompt = self._prompt(request, body)
        play = self.play(prompt, body.get("n_predict", -1))
        async with self.working():
            return await self.stream(request, self.frames(play, body), keep_alive=False)

    async def openai_completion(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        prompt = self._prompt(request, body)
        play = self.play(prompt, body.get("max_tokens", body.get("n_predict", -1)))
        special = bool(body.get("preserved_tokens"))
        async with self.working():
            frames = completion_frames(play, body, self.model_name, special=special)
            return await self.stream(request, frames, keep_alive=False)

    def frames(self, play: Play, body: dict[str, Any]) -> Iterator[Frame]:
        for _ in range(self.pings):
            yield 0, b":\n\n"
        preserved = set(body.get("preserved_tokens", ()))
        pending = b""
        for count, (token,) in play.steps(1):
            data = token_bytes(token) or b""
            if is_control(token) and data.decode() not in preserved:
                data = b""
            pending += data
            if _cut_off(pending):
                continue
            event: dict[str, Any] = {
                "index": 0,
                "content": pending.decode("utf-8", "replace"),
                "tokens": [token],
                "stop": False,
                "id_slot": 0,
                "tokens_predicted": count,
                "tokens_evaluated": len(play.prompt),
            }
            pending = b""
            if body.get("n_probs"):
                event["completion_probabilities"] = [_probability(token, body["n_probs"])]
            yield count, sse(event)
        yield (
            play.total + 1,
            sse(
                {
                    "index": 0,
                    "content": "",
                    "tokens": [],
                    "id_slot": 0,
                    "stop": True,
                    "model": self.model_name,
                    "tokens_predicted": play.total,
                    "tokens_evaluated": len(play.prompt),
                    "generation_settings": {},
                    "prompt": "…",
                    "has_new_line": False,
                    "truncated": False,
                    "stop_type": "limit" if play.limited else "eos",
                    "stopping_word": "",
                    "tokens_cached": len(play.prompt) + play.total - 1,
                    "timings": {
                        "cache_n": len(play.prompt) // 2,
                        "prompt_n": len(play.prompt) - len(play.prompt) // 2,
                        "prompt_ms": 12.5,
                        "predicted_n": play.total,
                        "predicted_ms": 25.0,
                    },
                }
            ),
        )


def _cut_off(data: bytes) -> bool:
    """Whether the bytes end in the middle of a character, as the server looks for it."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
    return False


def _probability(token: int, most: int) -> dict[str, Any]:
    def entry(token: int, logprob: float) -> dict[str, Any]:
        data = token_bytes(token) or b""
        return {
            "id": token,
            "token": data.decode("utf-8", "replace"),
            "bytes": list(data),
            "logprob": logprob,
        }

    tops = [entry(token + i, -0.5 - i) for i in range(most)]
    return {**entry(token, -0.5), "top_logprobs": tops}
