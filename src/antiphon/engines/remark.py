"""What another parser made of a completion → the completion it may have been, as hybrid chunks.

Ollama gives thinking, content and tool calls. Their order is kept; unknown headers and the exact
spelling of arguments are lost. Control tokens are ids and all else is text, so that text which
spells a control token stays what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.engines.protocol import Chunk
from antiphon.vocab.control import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    CONTROL_NAMES,
    END,
    MESSAGE,
    RETURN,
    START,
)

__all__ = ["Remark", "ToolCall"]

_BUILT_IN: Final = frozenset({"browser.search", "browser.open", "browser.find", "python"})
_CONTROL: Final = {
    token: Chunk((token,), CONTROL_NAMES[token])
    for token in (CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START)
}


class _Function(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] = {}


class ToolCall(msgspec.Struct):
    """As Ollama has it: the arguments are a JSON object, already read."""

    function: _Function = msgspec.field(default_factory=_Function)


class Remark:
    """Feed it what came; it gives the chunks that stand for it.

    ``continuing``: the prompt has begun the message, so that content goes on with it; thinking has
    no place then, and a call is its arguments.
    """

    def __init__(self, *, continuing: bool = False) -> None:
        self.continuing = continuing
        self._channel: str | None = None
        """Of the message that is open; ``call`` for one whose arguments are complete."""

    def add(self, thinking: str, content: str, calls: Sequence[ToolCall]) -> list[Chunk]:
        chunks: list[Chunk] = []
        if self.continuing:
            texts = (content, *(_arguments(call) for call in calls))
            return [_text(text) for text in texts if text]
        for channel, text in (("analysis", thinking), ("final", content)):
            if text:
                if self._channel != channel:
                    self._open(channel, chunks)
                    chunks.append(_CONTROL[MESSAGE])
                chunks.append(_text(text))
        for call in calls:
            name = call.function.name
            recipient = name if name in _BUILT_IN else f"functions.{name}"
            self._open("call", chunks, f"commentary to={recipient} ")
            chunks += (_CONTROL[CONSTRAIN], _text("json"), _CONTROL[MESSAGE])
            chunks.append(_text(_arguments(call)))
        return chunks

    def end(self) -> tuple[list[Chunk], int | None]:
        """The stop token that must have been there, as a chunk and by its id."""
        if self.continuing or self._channel is None:
            return [], None
        stop = CALL if self._channel == "call" else RETURN
        return [_CONTROL[stop]], stop

    def _open(self, channel: str, chunks: list[Chunk], header: str | None = None) -> None:
        if self._channel is not None:
            end = CALL if self._channel == "call" else END
            chunks += (_CONTROL[end], _CONTROL[START], _text("assistant"))
        chunks += (_CONTROL[CHANNEL], _text(header or channel))
        self._channel = channel


def _arguments(call: ToolCall) -> str:
    return msgspec.json.encode(call.function.arguments).decode()


def _text(text: str) -> Chunk:
    return Chunk(text=text, exact=False)
