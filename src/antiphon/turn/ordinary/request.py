"""A turn's request as the body of a chat request, for an engine that renders prompts itself."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.api.turn import TurnRequest
from antiphon.codec.grammar.plan import ToolMode
from antiphon.model.content import DeveloperContent
from antiphon.model.message import Message, Role
from antiphon.model.tools import FUNCTIONS

__all__ = ["chat_body"]

_FUNCTIONS: Final = f"{FUNCTIONS}."
_ENCODE: Final = msgspec.json.Encoder().encode
_ANY_OBJECT: Final = {"type": "object"}


def chat_body(request: TurnRequest) -> bytes:
    """The JSON of a streamed chat request that asks for the same."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _Messages(request).made(),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    tools = _tools(request)
    if tools and request.choice.mode is not ToolMode.NONE:
        body["tools"] = tools
        body["tool_choice"] = _choice(request, tools)
        if not request.parallel:
            body["parallel_tool_calls"] = False
    output = request.output
    if output is not None:
        if output.schema == _ANY_OBJECT:
            body["response_format"] = {"type": "json_object"}
        else:
            shape = {"name": output.name or "answer", "schema": output.schema}
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {**shape, "strict": output.strict},
            }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logprobs is not None:
        body["logprobs"], body["top_logprobs"] = True, request.logprobs
    sampling = msgspec.structs.asdict(request.sampling)
    bias = sampling.pop("logit_bias")
    body |= {name: value for name, value in sampling.items() if value is not None}
    if bias:
        body["logit_bias"] = {str(token): value for token, value in bias.items()}
    return _ENCODE(body)


def _tools(request: TurnRequest) -> list[dict[str, Any]]:
    """Every tool that may be called, under its name in the prompt: engines want identifiers."""
    allowed = request.choice.names
    found = []
    for space in request.tools.values():
        for tool in space.tools:
            recipient = f"{space.name}.{tool.name}"
            if allowed is not None and not {recipient, tool.name} & set(allowed):
                continue
            function: dict[str, Any] = {"name": tool.name}
            if tool.description:
                function["description"] = tool.description
            function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
            if recipient in request.strict_tools:
                function["strict"] = True
            found.append({"type": "function", "function": function})
    return found


def _choice(request: TurnRequest, tools: list[dict[str, Any]]) -> Any:
    if request.choice.mode is not ToolMode.REQUIRED:
        return "auto"
    if request.choice.names is not None and len(tools) == 1:
        return {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
    return "required"


class _Messages:
    """Harmony messages → chat messages: an assistant's run of messages becomes one."""

    def __init__(self, request: TurnRequest) -> None:
        self._request = request
        self._ids: Mapping[int, str | None] = {
            past.message: past.call_id for past in request.past_calls
        }
        self._out: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)
        """By tool: calls whose results have not come yet."""

    def made(self) -> list[dict[str, Any]]:
        messages = self._request.conversation.messages
        last = max(
            (at for at, m in enumerate(messages) if m.channel == "final"),
            default=-1,
        )
        for at, message in enumerate(messages):
            if message.role is Role.ASSISTANT:
                self._assistant(at, message, thinking=at > last)
                continue
            self._open = None
            if message.role is Role.TOOL:
                waiting = self._waiting[message.name or ""]
                call_id = waiting.popleft() if waiting else f"call_{at}"
                self._add("tool", message.text, tool_call_id=call_id)
            elif message.role is Role.USER:
                self._add("user", message.text)
            elif message.role is Role.DEVELOPER:
                text = _instructions(message)
                if text:
                    self._add("system", text)
        return self._out

    def _add(self, role: str, text: str, **more: Any) -> None:
        self._out.append({"role": role, "content": text, **more})

    def _assistant(self, at: int, message: Message, *, thinking: bool) -> None:
        if message.channel == "analysis" and message.recipient is None and not thinking:
            return
        turn = self._open
        if turn is None or (message.recipient is None and "tool_calls" in turn):
            turn = self._open = {"role": "assistant", "content": None}
            self._out.append(turn)
        if message.recipient is not None:
            call_id = self._ids.get(at) or f"call_{at}"
            self._waiting[message.recipient].append(call_id)
            turn.setdefault("tool_calls", []).append(
                {
                    "id": call_id,
                    "type": "function",
                    "function": {
                        "name": message.recipient.removeprefix(_FUNCTIONS),
                        "arguments": message.text,
                    },
                }
            )
        elif message.channel == "analysis":
            turn["reasoning_content"] = turn.get("reasoning_content", "") + message.text
        else:
            turn["content"] = (turn["content"] or "") + message.text
        if message.channel == "final":
            self._open = None


def _instructions(message: Message) -> str:
    return "\n\n".join(
        [
            part.instructions
            for part in message.content
            if isinstance(part, DeveloperContent) and part.instructions
        ]
        + ([message.text] if message.text else [])
    )
