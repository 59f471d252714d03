"""Ollama 0.30 on the wire (spec/backends.md, 3.4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from tests.fakes.chat import chat_routes
from tests.fakes.wire import FakeEngine, Frame, Play, Refusal

from antiphon.codec.events import MessageEnd, MessageStart, TextDelta
from antiphon.codec.stream import Parser
from antiphon.model.message import Role

__all__ = ["FakeOllama"]


class FakeOllama(FakeEngine):
    """``/api/generate``, raw (control tokens are gone from the text, and there are no ids) or
    through a template (its own parser makes ``thinking``, ``response`` and ``tool_calls``), and
    ``/api/chat``. Lines of JSON. A prompt that is too long is cut unless ``truncate`` is false.
    """

    kind = "ollama"
    default_model = "gpt-oss:20b"

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/", self.root),
            web.get("/api/version", self.version),
            web.get("/api/tags", self.tags),
            web.get("/api/ps", self.tags),
            web.get("/v1/models", self.models),
            web.post("/api/show", self.show),
            web.post("/api/generate", self.generate),
            web.post("/api/chat", self.chat),
            *chat_routes(self),
        ]

    def refusal_body(self, refusal: Refusal) -> Any:
        return {"error": refusal.message}

    def error_frame(self, message: str) -> bytes:
        return json.dumps({"error": message}).encode() + b"\n"

    def garbage_frame(self) -> bytes:
        return b"\x00\xff this is no JSON\n"

    async def root(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.Response(text="Ollama is running")

    async def version(self, request: web.Request) -> web.Response:
        self.record(request, None)
        return web.json_response({"version": "0.30.4"})

    def _details(self) -> dict[str, Any]:
        family = "gptoss" if self.gpt_oss else "qwen3"
        return {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": "20.9B",
            "quantization_level": "MXFP4",
        }

    async def tags(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {
            "name": self.model_name,
            "model": self.model_name,
            "modified_at": "2026-10-01T12:00:00Z",
            "size": 13_780_173_839,
            "digest": "0" * 64,
            "details": self._details(),
        }
        return web.json_response({"models": [model]})

    async def models(self, request: web.Request) -> web.Response:
        self.record(request, None)
        model = {"id": self.model_name, "object": "model", "created": 1, "owned_by": "library"}
        return web.json_response({"object": "list", "data": [model]})

    async def show(self, request: web.Request) -> web.Response:
        body = await self.read(request)
        self.record(request, body)
        self._check_model(body)
        family = "gptoss" if self.gpt_oss else "qwen3"
        return web.json_response(
            {
                "modelfile": "FROM gpt-oss",
                "template": self.template,
                "details": self._details(),
                "model_info": {
                    "general.architecture": family,
                    f"{family}.context_length": self.context_length,
                },
                "capabilities": ["completion", "tools", "thinking"],
            }
        )

    def _check_model(self, body: dict[str, Any]) -> None:
        if body.get("model") != self.model_name:
            raise Refusal(404, f"model '{body.get('model')}' not found")

    def _prompt(self, request: web.Request, body: dict[str, Any], text: str) -> list[int]:
        self._check_model(body)
        if body.get("truncate", True):
            context = self.context_length
            prompt = self.tokenise(text)[-context // 2 :]
        else:
            prompt = self.prompt_ids(text, ids=False)
        self.record(request, body, prompt)
        return prompt

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        raw = body.get("raw", False)
        if raw and (body.get("template") or body.get("system") or body.get("context")):
            raise Refusal(400, "raw mode does not support template, system, or context")
        if not body.get("prompt"):
            raise Refusal(400, "the prompt is empty")
        if not raw and body.get("template") != "{{ .Prompt }}":
            raise Refusal(500, "this fake renders no template but {{ .Prompt }}")
        play = self.play(
            self._prompt(request, body, body["prompt"]),
            body.get("options", {}).get("num_predict", -1),
        )
        frames = self._raw(play) if raw else self._cooked(play, chat=False)
        async with self.working():
            return await self.stream(request, frames, content_type="application/x-ndjson")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self.read(request)
        rendered = "".join(
            f"<|start|>{message['role']}<|message|>{message.get('content', '')}<|end|>"
            for message in body.get("messages", ())
        )
        if not rendered:
            raise Refusal(400, "there are no messages")
        play = self.play(
            self._prompt(request, body, rendered + "<|start|>assistant"),
            body.get("options", {}).get("num_predict", -1),
        )
        async with self.working():
            return await self.stream(
                request, self._cooked(play, chat=True), content_type="application/x-ndjson"
            )

    def _line(self, **fields: Any) -> bytes:
        head = {"model": self.model_name, "created_at": "2026-10-01T12:00:00.000000Z"}
        return json.dumps({**head, **fields}, ensure_ascii=False).encode() + b"\n"

    def _end(self, play: Play) -> dict[str, Any]:
        return {
            "done": True,
            "done_reason": play.reason,
            "total_duration": 50_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": len(play.prompt),
            "prompt_eval_duration": 12_500_000,
            "eval_count": play.total,
            "eval_duration": 25_000_000,
        }

    def _raw(self, play: Play) -> Iterator[Frame]:
        for count, _, text in play.texts(special=False):
            if text:
                yield count, self._line(response=text, done=False)
        yield play.total + 1, self._line(response="", **self._end(play))

    def _cooked(self, play: Play, *, chat: bool) -> Iterator[Frame]:
        def line(content: str = "", **more: Any) -> bytes:
            message: dict[str, Any] = {
                key: more.pop(key) for key in ("thinking", "tool_calls") if key in more
            }
            if chat:
                message = {"role": "assistant", "content": content, **message}
                return self._line(message=message, **more)
            return self._line(response=content, **message, **more)

        parser = Parser(role=Role.ASSISTANT)
        thinking, recipient, arguments = False, "", ""
        steps = [*play.steps(), (play.total, None)]
        for count, tokens in steps:
            for event in parser.eof() if tokens is None else parser.feed(tokens):
                if isinstance(event, MessageStart):
                    thinking = event.header.channel == "analysis"
                    recipient, arguments = event.header.recipient or "", ""
                elif isinstance(event, TextDelta):
                    if recipient:
                        arguments += event.text
                    elif thinking:
                        yield count, line(thinking=event.text, done=False)
                    else:
                        yield count, line(event.text, done=False)
                elif isinstance(event, MessageEnd) and recipient:
                    try:
                        value = json.loads(arguments)
                    except ValueError:
                        message = f"error parsing tool call: raw='{arguments}', err=invalid"
                        yield count, self.error_frame(message)
                        return
                    name = recipient.removeprefix("functions.")
                    call = {"function": {"name": name, "arguments": value}}
                    yield count, line(tool_calls=[call], done=False)
                    recipient = ""
        yield play.total + 1, line(**self._end(play))
