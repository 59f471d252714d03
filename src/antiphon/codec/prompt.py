"""The text of system and developer messages (format rules 2.3 to 2.5).

Both dialects share these sections. They differ in the TypeScript of tool parameters, which the
caller passes in, and in how comments are split into lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from antiphon.codec.compact_json import compact_json
from antiphon.codec.typescript import reference_typescript
from antiphon.model.content import DeveloperContent, ResponseFormat, SystemContent
from antiphon.model.message import Conversation, Message, Role
from antiphon.model.tools import FUNCTIONS, ToolNamespace

__all__ = [
    "REFERENCE",
    "PromptStyle",
    "developer_text",
    "has_function_tools",
    "response_formats_text",
    "rust_lines",
    "system_text",
    "tools_text",
]

_DEVELOPER: Final = Role.DEVELOPER
_CHANNEL_REQUIRED: Final = " Channel must be included for every message."
_FUNCTIONS_NOTE: Final = "\nCalls to these tools must go to the commentary channel: 'functions'."


def rust_lines(text: str) -> list[str]:
    """Split as Rust's ``str::lines``: at line feeds, dropping a carriage return before each."""
    *whole, rest = text.split("\n")
    lines = [line.removesuffix("\r") for line in whole]
    if rest:
        lines.append(rest)
    return lines


class PromptStyle(NamedTuple):
    """How one dialect writes parameter types and splits comments."""

    types: Callable[[], Callable[[object], str]]
    """Makes the writer of types for one tool table, which may bound the table as a whole."""
    lines: Callable[[str], list[str]]


REFERENCE: Final = PromptStyle(lambda: reference_typescript, rust_lines)
"""Byte for byte what the reference library writes."""


def has_function_tools(messages: Conversation | Iterable[Message]) -> bool:
    """Whether any developer message offers tools under the key ``functions`` (rule 2.3).

    Only then does the system message say which channel function calls go to. Custom namespaces and
    functions offered by the system message do not count.
    """
    for message in messages:
        if message.author.role != _DEVELOPER:
            continue
        for part in message.content:
            if isinstance(part, DeveloperContent) and part.tools:
                namespace = part.tools.get(FUNCTIONS)
                if namespace is not None and namespace.tools:
                    return True
    return False


def system_text(
    content: SystemContent, *, has_function_tools: bool = False, style: PromptStyle = REFERENCE
) -> str:
    """The system message. Raises SchemaError for a tool schema the style cannot write."""
    sections = []
    top = []
    if content.model_identity is not None:
        top.append(content.model_identity)
    if content.knowledge_cutoff is not None:
        top.append(f"Knowledge cutoff: {content.knowledge_cutoff}")
    if content.conversation_start_date is not None:
        top.append(f"Current date: {content.conversation_start_date}")
    if top:
        sections.append("\n".join(top))
    if content.reasoning_effort is not None:
        sections.append(f"Reasoning: {content.reasoning_effort.value.lower()}")
    if content.tools:
        sections.append(tools_text(content.tools, style))
    config = content.channel_config
    if config is not None and config.valid_channels:
        line = f"# Valid channels: {', '.join(config.valid_channels)}."
        if config.channel_required:
            line += _CHANNEL_REQUIRED
        if has_function_tools:
            line += _FUNCTIONS_NOTE
        sections.append(line)
    return "\n\n".join(sections)


def developer_text(content: DeveloperContent, *, style: PromptStyle = REFERENCE) -> str:
    """The developer message. Raises SchemaError for a schema the style cannot write.

    ``# Response Formats`` comes last, as the format guide asks. The reference library has no such
    section, so nothing it can express is changed by it.
    """
    sections = []
    if content.instructions is not None:
        sections += ["# Instructions", content.instructions]
    if content.tools:
        sections.append(tools_text(content.tools, style))
    if content.response_formats:
        sections.append(response_formats_text(content.response_formats, style))
    return "\n\n".join(sections)


def tools_text(tools: dict[str, ToolNamespace], style: PromptStyle = REFERENCE) -> str:
    """The ``# Tools`` section, namespaces in the order of their keys (rule 2.5)."""
    typescript = style.types()
    sections = [_namespace(tools[key], style, typescript) for key in sorted(tools)]
    return "\n\n".join(["# Tools", *sections])


def _namespace(
    namespace: ToolNamespace, style: PromptStyle, typescript: Callable[[object], str]
) -> str:
    name = namespace.name
    out = [f"## {name}\n"]
    prefix = "// " if namespace.tools else ""
    out += [prefix + line for line in style.lines(namespace.description or "")]
    if namespace.tools:
        out.append(f"namespace {name} {{\n")
        for tool in namespace.tools:
            out += ["// " + line for line in style.lines(tool.description)]
            if tool.parameters is None:
                out.append(f"type {tool.name} = () => any;\n")
            else:
                out.append(f"type {tool.name} = (_: {typescript(tool.parameters)}) => any;\n")
        out.append(f"}} // namespace {name}")
    return "\n".join(out)


def response_formats_text(formats: Iterable[ResponseFormat], style: PromptStyle = REFERENCE) -> str:
    """The ``# Response Formats`` section: each schema as compact JSON under its name."""
    sections = ["# Response Formats"]
    for item in formats:
        lines = ["// " + line for line in style.lines(item.description or "")]
        sections.append("\n".join([f"## {item.name}\n", *lines, compact_json(item.schema)]))
    return "\n\n".join(sections)
