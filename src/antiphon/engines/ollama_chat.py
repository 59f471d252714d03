"""A rendered prompt → the messages of Ollama's ``/api/chat``, which renders them again.

Ollama's gpt-oss template writes the system message itself and puts our developer message, tools
included, where ours had it. What our system message says beside the effort is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.codec.parse import parse
from antiphon.model.message import Message, Role
from antiphon.vocab.control import START

__all__ = ["chat_messages", "is_continued"]

_EFFORT: Final = re.compile(r"^Reasoning: (low|medium|high)$", re.MULTILINE)
_INSTRUCTIONS: Final = "# Instructions\n\n"
_OPEN_TOKENS: Final = 2
"""``<|start|>assistant``: all that a prompt has of a message nobody has begun."""


def is_continued(prompt: Sequence[int]) -> bool:
    """Whether the prompt has begun the message that the completion goes on with."""
    return len(prompt) - _last_start(prompt) > _OPEN_TOKENS


def chat_messages(prompt: Sequence[int]) -> tuple[list[dict[str, Any]], str]:
    """The messages before the one to be completed, and the reasoning effort."""
    effort = "medium"
    messages: list[dict[str, Any]] = []
    turn: dict[str, Any] | None = None
    for message in parse(list(prompt[: _last_start(prompt)])):
        if message.role is Role.ASSISTANT:
            if turn is None:
                turn = {"role": "assistant", "content": ""}
                messages.append(turn)
            _add(turn, message)
            continue
        turn = None
        if message.role is Role.SYSTEM:
            if found := _EFFORT.search(message.text):
                effort = found[1]
        elif message.role is Role.DEVELOPER:
            text = message.text.removeprefix(_INSTRUCTIONS)
            messages.append({"role": "system", "content": text})
        elif message.role is Role.USER:
            messages.append({"role": "user", "content": message.text})
        else:
            name = (message.name or "").removeprefix("functions.")
            messages.append({"role": "tool", "tool_name": name, "content": message.text})
    return messages, effort


def _add(turn: dict[str, Any], message: Message) -> None:
    if message.recipient is not None:
        function = {
            "name": message.recipient.removeprefix("functions."),
            "arguments": _arguments(message.text),
        }
        turn.setdefault("tool_calls", []).append({"function": function})
    elif message.channel == "analysis":
        turn["thinking"] = turn.get("thinking", "") + message.text
    else:
        turn["content"] += message.text


def _arguments(text: str) -> dict[str, Any]:
    """Ollama takes nothing but an object."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        value = text
    return value if isinstance(value, dict) else {"input": value}


def _last_start(prompt: Sequence[int]) -> int:
    for at in range(len(prompt) - 1, -1, -1):
        if prompt[at] == START:
            return at
    return len(prompt)
