"""What clients send back of the model's own markup: Harmony, ``<think>`` and effort lines.

An engine that leaks its format gives clients answers such as ``<|channel|>analysis<|message|>…``,
and they send them back. Such a message of an assistant is read as what it is. Only text that
*begins* with a control token and parses into nothing but an assistant's messages is taken for
markup; text that speaks of it, in any other place, stays text.
"""

from __future__ import annotations

import re
from typing import Final

from antiphon.codec.parse import parse
from antiphon.model.content import ReasoningEffort
from antiphon.model.message import Message, Role

__all__ = ["read_answer", "read_instructions", "split_think", "take_effort"]

MAX_MESSAGES: Final = 64
"""Markup of more messages than that stays text."""
MAX_TOKENS: Final = 8 * MAX_MESSAGES
"""So does text with more beginnings of control tokens."""

_BEGINS: Final = re.compile(r"\s*<\|(?:start|channel|message)\|>")
_THINK: Final = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_EFFORT: Final = re.compile(
    r"^[ \t]*[Rr]easoning:[ \t]*([Ll]ow|[Mm]edium|[Hh]igh)[ \t]*(?:\r?\n|\Z)", re.MULTILINE
)
_RECIPIENT: Final = re.compile(r"[A-Za-z_][\w.\-]{0,127}\Z")
_CHANNELS: Final = frozenset({None, "analysis", "commentary", "final"})
_FURNITURE: Final = re.compile(
    r"^(?:Knowledge cutoff:.*|Current date:.*|# Valid channels:.*|Calls to these tools must go to"
    r" the commentary channel:.*)(?:\n|\Z)",
    re.MULTILINE,
)
"""Lines of the system message that ours has itself."""
_GAP: Final = re.compile(r"\n{3,}")
_HEADING: Final = re.compile(r"\A# Instructions\n+")


def read_answer(text: str) -> list[Message] | None:
    """An assistant's messages, if the text is their markup; else None."""
    if not _is_markup(text):
        return None
    messages = list(parse(text.lstrip(), role=Role.ASSISTANT, input="marked"))
    if not 0 < len(messages) <= MAX_MESSAGES:
        return None
    for message in messages:
        if message.role is not Role.ASSISTANT or message.channel not in _CHANNELS:
            return None
        if message.recipient is not None and not _RECIPIENT.match(message.recipient):
            return None
    return messages


def read_instructions(text: str) -> str | None:
    """The instructions, if the text is the markup of system and developer messages; else None.

    Lines that gpt-oss's own system message has anyway are left out, but for the effort.
    """
    if not _is_markup(text):
        return None
    messages = list(parse(text.lstrip(), role=Role.SYSTEM, input="marked"))
    if not 0 < len(messages) <= MAX_MESSAGES:
        return None
    said: list[str] = []
    for message in messages:
        if message.role not in (Role.SYSTEM, Role.DEVELOPER) or message.recipient is not None:
            return None
        body = message.text
        if message.role is Role.SYSTEM:
            body = _GAP.sub("\n\n", _FURNITURE.sub("", body))
        body = _HEADING.sub("", body).strip("\n")
        if body:
            said.append(body)
    return "\n\n".join(said)


def _is_markup(text: str) -> bool:
    return (
        _BEGINS.match(text) is not None and "<|message|>" in text and text.count("<|") <= MAX_TOKENS
    )


def split_think(text: str) -> tuple[str, str] | None:
    """Reasoning and answer of a text that begins with ``<think>…</think>``; else None."""
    found = _THINK.match(text)
    return None if found is None else (found[1].strip(), text[found.end() :])


def take_effort(text: str) -> tuple[str, ReasoningEffort | None]:
    """The text without its ``Reasoning: low|medium|high`` lines, and what the last of them says."""
    if "easoning:" not in text:
        return text, None
    found = _EFFORT.findall(text)
    if not found:
        return text, None
    rest = _GAP.sub("\n\n", _EFFORT.sub("", text)).strip("\n")
    return rest, ReasoningEffort(found[-1].lower())
