"""Ollama as an engine, in one of three ways (spec/backends.md, 3.4).

``raw``: the prompt as it is; control tokens are missing from what comes back. ``template``: the
prompt as it is, through a template that does nothing, and Ollama's own parser reads the answer;
what it found is written in Harmony again. ``chat``: Ollama renders the prompt, too, from the
messages in ours. A plain llama.cpp server on the same GGUF is better than any of them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec

from antiphon.engines.frames import LineFrames
from antiphon.engines.http import Call, HttpEngine
from antiphon.engines.ollama_chat import chat_messages, is_continued
from antiphon.engines.prompt_text import count_marked, marked_prompt
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.engines.refusal import engine_error
from antiphon.engines.remark import Remark, ToolCall
from antiphon.errors import EngineError

__all__ = ["OllamaEngine", "Way"]

Way = Literal["raw", "template", "chat"]

NANOSECONDS: Final = 1e9
TEMPLATE: Final = "{{ .Prompt }}"
_SAMPLING: Final = (
    "temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed"
)


class _Message(msgspec.Struct):
    content: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = []


class _Line(msgspec.Struct):
    response: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = []
    message: _Message | None = None
    done: bool = False
    done_reason: str = "stop"
    prompt_eval_count: int | None = None
    prompt_eval_duration: int = 0
    eval_count: int | None = None
    eval_duration: int = 0
    error: str | None = None


_LINE: Final = msgspec.json.Decoder(_Line)


class OllamaEngine(HttpEngine):
    """The Ollama server at ``url``. ``model`` is needed by every request."""

    kind: ClassVar[str] = "ollama"
    title: ClassVar[str] = "Ollama"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="stripped", sampling=frozenset(_SAMPLING.split())
    )

    def __init__(self, url: str, *, way: Way = "raw", **options: Any) -> None:
        super().__init__(url, **options)
        self.way: Way = way
        if options.get("capabilities") is None and way != "raw":
            self._capabilities = msgspec.structs.replace(self._capabilities, reading="hybrid")

    def _call(self, request: CompletionRequest) -> Call:
        body: dict[str, Any] = {
            "stream": True,
            # Ollama would silently cut a prompt that is too long, and forget its beginning later.
            "truncate": False,
            "shift": False,
            "options": self._options(request),
        }
        if (model := request.model or self.model) is not None:
            body["model"] = model
        continuing = self.way != "raw" and is_continued(request.prompt)
        remark = None if self.way == "raw" else Remark(continuing=continuing)
        reader = _Reader(self.name, len(request.prompt), remark)
        prompt = marked_prompt(request.prompt)
        if self.way == "chat":
            messages, effort = chat_messages(request.prompt)
            body |= {"messages": messages, "think": effort}
            return Call("/api/chat", body, reader)
        body["prompt"] = prompt
        if self.way == "raw" or continuing:
            # Ollama's parser expects a message from its header on.
            body["raw"] = True
        else:
            body["template"] = TEMPLATE
        return Call("/api/generate", body, reader)

    def _options(self, request: CompletionRequest) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_predict": -1 if request.max_tokens is None else request.max_tokens
        }
        for field in self._capabilities.sampling:
            value = getattr(request, field)
            if value is not None:
                options["repeat_penalty" if field == "repetition_penalty" else field] = value
        if self._capabilities.context_length is not None:
            options["num_ctx"] = self._capabilities.context_length
        return options


class _Reader:
    """The lines → chunks; with ``remark``, those that stand for what Ollama's parser found."""

    def __init__(self, name: str, prompt_tokens: int, remark: Remark | None) -> None:
        self.finished = False
        self._name = name
        self._prompt_tokens = prompt_tokens
        self._remark = remark
        self._frames = LineFrames()
        self._texts: list[str] = []

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        for frame in self._frames.feed(data):
            try:
                line = _LINE.decode(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise EngineError(f"{self._name} sent a line that is not one: {error}") from error
            if line.error is not None:
                raise engine_error(f"{self._name} gave up: {line.error}", 500)
            chunks += self._pieces(line)
            if line.done:
                stopped = line.done_reason != "length"
                stop = None
                if stopped and self._remark is not None:
                    last, stop = self._remark.end()
                    chunks += last
                self._texts += [chunk.text for chunk in chunks]
                chunks.append(self._finish(line, stopped, stop))
                self.finished = True
                return chunks
        self._texts += [chunk.text for chunk in chunks]
        return chunks

    def end(self) -> list[Chunk]:
        return []

    def _pieces(self, line: _Line) -> list[Chunk]:
        if self._remark is None:
            return [Chunk(text=line.response)] if line.response else []
        message = line.message
        if message is None:
            return self._remark.add(line.thinking, line.response, line.tool_calls)
        return self._remark.add(message.thinking, message.content, message.tool_calls)

    def _finish(self, line: _Line, stopped: bool, stop: int | None) -> Chunk:
        count = line.eval_count
        usage = Usage(
            prompt_tokens=line.prompt_eval_count or self._prompt_tokens,
            completion_tokens=count_marked("".join(self._texts)) if count is None else count,
            prompt_seconds=line.prompt_eval_duration / NANOSECONDS,
            completion_seconds=line.eval_duration / NANOSECONDS,
        )
        reason = FinishReason.STOP if stopped else FinishReason.LENGTH
        return Chunk(finish=Finish(reason, stop, usage))
