"""Seeded conversations, built with the data classes of either library."""

from __future__ import annotations

from random import Random
from typing import Any, Final

__all__ = ["conversation"]

_TEXTS: Final = (
    "hi",
    "",
    "Hello world",
    "<|start|>assistant<|end|>",
    "日本語 😀",
    "a\ud83d\ude00b",
    "x" * 50,
    "\n\n",
)
_LONE_SURROGATES: Final = ("a\ud800", "q\udc00\ud83d", "\ud83d\\u", "é\ud83d\\n")
_SCHEMAS: Final[tuple[dict[str, Any] | None, ...]] = (
    None,
    {},
    {
        "type": "object",
        "properties": {
            "x": {"type": "string", "default": None},
            "y": {"type": "integer", "description": "how many", "enum": [1]},
        },
        "required": ["x"],
    },
    {"type": "object", "properties": {"z": {"type": ["string", "null"], "default": 1.5}}},
)
_CHANNELS: Final = ("analysis", "final", "commentary", "x y", "")
_RECIPIENTS: Final = ("all", "functions.f", "", "assistant")
_CONTENT_TYPES: Final = ("json", "<|constrain|>json", "<|constrain|>", "code", "x <|constrain|>")


def conversation(library: Any, rng: Random) -> Any:
    """A conversation; now and then one that cannot be rendered."""
    count = rng.choice((0, 1, 2, 3, 4, 6))
    return library.Conversation.from_messages([_message(library, rng) for _ in range(count)])


def _message(library: Any, rng: Random) -> Any:
    role = rng.choice(list(library.Role))
    channel = rng.choice(_CHANNELS) if rng.random() < 0.6 else None
    # The reference also refuses a lone surrogate in a message that is then left out. Ours does not.
    lone = channel != "analysis" and rng.random() < 0.02
    contents = [_content(library, rng, lone) for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2)))]
    if rng.random() < 0.97:
        own = {"system": library.SystemContent, "developer": library.DeveloperContent}
        allowed = (library.TextContent, own.get(role.value, library.TextContent))
        contents = [content for content in contents if isinstance(content, allowed)]
    message = library.Message.from_role_and_contents(role, contents)
    if (role is library.Role.TOOL and rng.random() < 0.97) or rng.random() < 0.2:
        message.author.name = rng.choice(("functions.f", "bob", ""))
    if channel is not None:
        message.with_channel(channel)
    if rng.random() < 0.3:
        message.with_recipient(rng.choice(_LONE_SURROGATES if lone else _RECIPIENTS))
    if rng.random() < 0.3:
        message.with_content_type(rng.choice(_CONTENT_TYPES))
    return message


def _content(library: Any, rng: Random, lone: bool) -> Any:
    kind = rng.random()
    if kind < 0.72:
        return library.TextContent(text=rng.choice(_LONE_SURROGATES if lone else _TEXTS))
    return _system(library, rng) if kind < 0.86 else _developer(library, rng)


def _system(library: Any, rng: Random) -> Any:
    system = library.SystemContent.new()
    if rng.random() < 0.5:
        system.with_model_identity(rng.choice((None, "me", "")))
    if rng.random() < 0.5:
        system.with_reasoning_effort(rng.choice((None, *library.ReasoningEffort)))
    if rng.random() < 0.5:
        system.with_conversation_start_date("2025-01-01")
    if rng.random() < 0.3:
        system.with_knowledge_cutoff(None)
    if rng.random() < 0.3:
        system.with_required_channels(rng.choice((["final"], [], ["a", "b"])))
    if rng.random() < 0.2:
        system.channel_config = None
    if rng.random() < 0.2:
        config = library.ChannelConfig(valid_channels=["z"], channel_required=False)
        system.with_channel_config(config)
    if rng.random() < 0.3:
        system.with_browser_tool()
    if rng.random() < 0.3:
        system.with_python_tool()
    if rng.random() < 0.2:
        system.with_tools(_namespace(library, rng, "zeta"))
    return system


def _developer(library: Any, rng: Random) -> Any:
    developer = library.DeveloperContent.new()
    if rng.random() < 0.6:
        developer.with_instructions(rng.choice(("", "be good", "a\nb\n")))
    if rng.random() < 0.5:
        developer.with_function_tools(_namespace(library, rng, "unused").tools)
    if rng.random() < 0.2:
        developer.with_tools(_namespace(library, rng, "other"))
    return developer


def _namespace(library: Any, rng: Random, name: str) -> Any:
    tools = [
        library.ToolDescription.new(
            rng.choice(("f", "g")),
            rng.choice(("", "what it does", "two\nlines")),
            rng.choice(_SCHEMAS),
        )
        for _ in range(rng.randrange(3))
    ]
    description = rng.choice((None, "what they are for"))
    return library.ToolNamespaceConfig(name=name, description=description, tools=tools)
