"""Reading the answer of a chat as it comes: thinking, text, and whether it is whole.

For programs that talk to a gateway without a client library. Server-sent events or one JSON object,
as the content type says.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from antiphon.errors import EngineError
from antiphon.net.sse import ServerSentEventDecoder
from antiphon.seal.errors import TruncatedError
from antiphon.seal.message import ResponseHead

__all__ = ["ChatReader", "Piece", "error_message"]

MAX_JSON_BYTES: Final = 16 * 1024 * 1024
"""Of an answer, or an error, that is one object."""


class Piece(NamedTuple):
    """Some of what the model wrote."""

    kind: Literal["thinking", "answer"]
    text: str


class ChatReader:
    """Feed it the content of an answer. What it collects is whole after `eof`."""

    def __init__(self, head: ResponseHead) -> None:
        self.status = head.status
        kinds = [value.lower() for name, value in head.fields if name == b"content-type"]
        self._events = bool(kinds) and kinds[0].startswith(b"text/event-stream")
        self._sse = ServerSentEventDecoder()
        self._body = bytearray()
        self._done = False
        self.thinking: list[str] = []
        self.answer: list[str] = []
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: Any = None
        self.error: str | None = None
        """What the gateway says went wrong."""

    def feed(self, data: bytes) -> list[Piece]:
        """Raises TruncatedError if what comes is no answer."""
        if not self._events or self.status != 200:
            if len(self._body) + len(data) > MAX_JSON_BYTES:
                raise TruncatedError("the answer is too long to be one")
            self._body += data
            return []
        pieces: list[Piece] = []
        try:
            events = self._sse.feed(data)
        except EngineError as error:
            raise TruncatedError(f"the answer cannot be read: {error}") from error
        for event in events:
            if event.data == "[DONE]":
                self._done = True
            else:
                pieces += self._chunk(_object(event.data.encode()), "delta")
        return pieces

    def eof(self) -> list[Piece]:
        """What was left. Raises TruncatedError if the answer is not whole."""
        if self.status != 200:
            self.error = error_message(bytes(self._body)) or f"status {self.status}"
            return []
        if not self._events:
            return self._chunk(_object(bytes(self._body)), "message")
        if not self._done and self.error is None:
            raise TruncatedError("the stream of the answer ends before its end")
        return []

    def _chunk(self, chunk: dict[str, Any], part: str) -> list[Piece]:
        if "error" in chunk:
            self.error = error_message(msgspec.json.encode(chunk)) or "an error without a message"
            return []
        model = chunk.get("model")
        self.model = model if isinstance(model, str) else self.model
        self.usage = chunk.get("usage") or self.usage
        pieces: list[Piece] = []
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                continue
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            said = choice.get(part)
            if not isinstance(said, dict):
                continue
            thinking = said.get("reasoning") or said.get("reasoning_content")
            if isinstance(thinking, str) and thinking:
                self.thinking.append(thinking)
                pieces.append(Piece("thinking", thinking))
            if isinstance(text := said.get("content"), str) and text:
                self.answer.append(text)
                pieces.append(Piece("answer", text))
        return pieces


def error_message(body: bytes) -> str | None:
    """What an error in OpenAI's shape, or a problem document, says."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    said = error.get("message") if isinstance(error, dict) else None
    texts = [said] if isinstance(said, str) else [found.get("title"), found.get("detail")]
    return ": ".join(text for text in texts if isinstance(text, str) and text) or None


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TruncatedError("the answer is not the JSON of a chat completion")
    return found
