"""What a prompt's ids say: the conversation, the tools and formats on offer, what is prefilled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.codec.parse import parse
from antiphon.engines.scripted.typescript_reader import OfferedTool, read_tools
from antiphon.model.message import Message, Role
from antiphon.vocab.control import START, STOP_IDS
from antiphon.vocab.table import token_bytes

__all__ = ["Scene", "read_scene"]

_EFFORT: Final = re.compile(r"^Reasoning: (low|medium|high)$", re.MULTILINE)
_CONTEXT: Final = re.compile(r"\s*<([a-z]+(?:[-_][a-z]+)+)>")
_TOOLS: Final = "# Tools\n\n## "
_FORMATS: Final = "# Response Formats\n\n## "
_ASSISTANT: Final = b"assistant"


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as the model understands it."""

    messages: tuple[Message, ...] = ()
    """What was said, without system and developer messages."""
    instructions: str = ""
    effort: str = "medium"
    tools: tuple[OfferedTool, ...] = ()
    schema: dict[str, Any] | None = None
    """The last schema under ``# Response Formats``."""
    prefill: tuple[int, ...] = ()
    """What stands behind ``<|start|>assistant``: the completion goes on from there."""
    opened: bool = True
    """Whether the prompt ends in an assistant's message that has begun."""
    harmony: bool = True
    """False: the prompt is plain text, and so will be the completion."""

    @property
    def user(self) -> str:
        """What the user said last, without the blocks of context that agents put before it."""
        said = next((m.text for m in reversed(self.messages) if m.role is Role.USER), "")
        rest = said
        while found := _CONTEXT.match(rest):
            end = rest.find(f"</{found.group(1)}>", found.end())
            if end < 0:
                break
            rest = rest[end + len(found.group(1)) + 3 :]
        return rest if rest.strip() else said

    @property
    def results(self) -> list[Message]:
        """The tool results since the user spoke last."""
        found: list[Message] = []
        for message in reversed(self.messages):
            if message.role is Role.USER:
                break
            if message.role is Role.TOOL:
                found.append(message)
        return found[::-1]

    @property
    def after_tool(self) -> str | None:
        """The tool whose result came last, if nothing but reasoning came after it."""
        for message in reversed(self.messages):
            if message.role is Role.TOOL:
                return message.name
            if message.role is not Role.ASSISTANT or message.channel == "final":
                return None
        return None


def read_scene(prompt: Sequence[int]) -> Scene:
    """Read a prompt. Total: ids that are no Harmony are one thing that a user says."""
    starts = [i for i, token in enumerate(prompt) if token == START]
    if not starts:
        plain = b"".join([token_bytes(token) or b"" for token in prompt])
        said_plainly = Message.user(plain.decode("utf-8", "replace"))
        return Scene(messages=(said_plainly,), opened=False, harmony=False)
    last = starts[-1]
    tail = prompt[last + 1 :]
    opened, prefill = _prefill(tail)
    messages = parse(prompt[:last] if opened else prompt).messages
    said = [m for m in messages if m.role not in (Role.SYSTEM, Role.DEVELOPER)]
    tools: list[OfferedTool] = []
    instructions: list[str] = []
    effort, schema = "medium", None
    for message in messages:
        if message.role is Role.SYSTEM:
            for found in _EFFORT.finditer(message.text):
                effort = found.group(1)
            tools += read_tools(_behind(message.text, _TOOLS)[1].partition("\n\n# Valid ")[0])
        elif message.role is Role.DEVELOPER:
            text, formats = _behind(message.text, _FORMATS)
            text, offered = _behind(text, _TOOLS)
            tools += read_tools(offered)
            schema = _schema(formats) or schema
            instructions.append(text.removeprefix("# Instructions\n\n").strip())
    return Scene(
        messages=tuple(said),
        instructions="\n\n".join(instructions),
        effort=effort,
        tools=tuple(tools),
        schema=schema,
        prefill=tuple(prefill),
        opened=opened,
    )


def _prefill(tail: Sequence[int]) -> tuple[bool, Sequence[int]]:
    """Whether the last header is an assistant's that is open, and what follows the role."""
    if any(token in STOP_IDS for token in tail):
        return False, ()
    spelled = b""
    for i, token in enumerate(tail):
        spelled += token_bytes(token) or b""
        if spelled == _ASSISTANT:
            return True, tail[i + 1 :]
        if len(spelled) >= len(_ASSISTANT):
            break
    return False, ()


def _behind(text: str, heading: str) -> tuple[str, str]:
    """The text up to the last ``heading``, and what follows its first line."""
    at = text.rfind(heading)
    if at < 0 or (at and not text.startswith("\n\n", at - 2)):
        return text, ""
    return text[:at], text[at + heading.index("##") :]


def _schema(formats: str) -> dict[str, Any] | None:
    for line in reversed(formats.splitlines()):
        if line.startswith("{"):
            try:
                return msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.MsgspecError:
                continue
    return None
