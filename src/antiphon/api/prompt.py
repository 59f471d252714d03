"""The beginning of every prompt: gpt-oss's system message, and the developer's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from antiphon.api.output import Output
from antiphon.api.toolset import Toolset
from antiphon.errors import MessageError
from antiphon.model.content import (
    DEFAULT_IDENTITY,
    DEFAULT_KNOWLEDGE_CUTOFF,
    ChannelConfig,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
)
from antiphon.model.message import Message
from antiphon.model.tools import ToolNamespace

__all__ = ["NO_THOUGHT", "VERBOSITY", "developer_message", "system_message", "verbosity_line"]

VERBOSITY: Final = {
    "low": "Keep your answers short: say what was asked for and nothing more.",
    "medium": "",
    "high": "Answer at length: explain your reasons, and give details and examples.",
}
"""What ``verbosity`` adds to the instructions."""
NO_THOUGHT: Final = frozenset({"none", "minimal"})
"""Efforts at which the model begins with its answer."""

KNOWN_DEVELOPERS: Final = 64
MAX_KNOWN_BYTES: Final = 1 << 17
"""So many developer messages of at most so many bytes are kept: agents repeat theirs."""

_NO_DEVELOPER: Final = DeveloperContent()


def verbosity_line(value: str | None, field: str) -> str:
    """Raises MessageError for what is not a verbosity."""
    if value is None:
        return ""
    line = VERBOSITY.get(value)
    if line is None:
        raise MessageError(
            f"{field}: expected low, medium or high, got {value[:60]!r}", field=field
        )
    return line


def system_message(
    identity: str | None,
    cutoff: str | None,
    effort: ReasoningEffort,
    date: str | None,
    built_ins: Mapping[str, ToolNamespace] | None = None,
) -> Message:
    """gpt-oss's own; None stands for what it was trained on. ``built_ins``: its own tools."""
    if built_ins:
        return Message.system(_system(identity, cutoff, effort, date, dict(built_ins)))
    return _known_system(identity, cutoff, effort, date)


@lru_cache(maxsize=64)
def _known_system(
    identity: str | None, cutoff: str | None, effort: ReasoningEffort, date: str | None
) -> Message:
    return Message.system(_system(identity, cutoff, effort, date, None))


def _system(
    identity: str | None,
    cutoff: str | None,
    effort: ReasoningEffort,
    date: str | None,
    built_ins: dict[str, ToolNamespace] | None,
) -> SystemContent:
    return SystemContent(
        identity or DEFAULT_IDENTITY,
        effort,
        date,
        cutoff or DEFAULT_KNOWLEDGE_CUTOFF,
        ChannelConfig(),
        built_ins,
    )


def developer_message(instructions: str | None, tools: Toolset, output: Output) -> Message | None:
    """Instructions, tools and the form of the answer; None if there are none."""
    size = len(instructions or "") + tools.size + output.size
    make = _known_developer if size <= MAX_KNOWN_BYTES else _new_developer
    return make(instructions, tools, output)


def _new_developer(instructions: str | None, tools: Toolset, output: Output) -> Message | None:
    offered = dict(tools.namespaces) or None
    content = DeveloperContent(instructions, offered, output.formats)
    return None if content == _NO_DEVELOPER else Message.developer(content)


# The same object each time, which the renderer's memo finds without looking into it.
_known_developer = lru_cache(maxsize=KNOWN_DEVELOPERS)(_new_developer)
