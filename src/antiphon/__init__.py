"""Antiphon: the Harmony stack for people who run gpt-oss themselves.

    antiphon.render(conversation)                     messages → tokens
    antiphon.parse(tokens, role=Role.ASSISTANT)       tokens or text → messages, never raises
    antiphon.Parser(role=Role.ASSISTANT)              the same, streaming: feed(chunk), eof()

The names in ``__all__`` are the public API. They are imported when they are first used, so that
``import antiphon`` costs next to nothing.
"""

from __future__ import annotations

__all__ = [
    "BROWSER",
    "PYTHON",
    "AntiphonError",
    "Author",
    "ChannelConfig",
    "Conversation",
    "DeveloperContent",
    "Diagnostic",
    "EngineError",
    "Header",
    "Message",
    "MessageEnd",
    "MessageError",
    "MessageStart",
    "MissingExtraError",
    "ParseError",
    "Parser",
    "ReasoningEffort",
    "RenderError",
    "Renderer",
    "ResponseFormat",
    "Role",
    "SchemaError",
    "Span",
    "Stop",
    "SystemContent",
    "TextContent",
    "TextDelta",
    "Tool",
    "ToolNamespace",
    "VocabularyError",
    "__version__",
    "functions",
    "parse",
    "render",
]

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing's own constant costs its import; type checkers know this name too
if TYPE_CHECKING:
    from antiphon.codec.events import (
        Diagnostic,
        Header,
        MessageEnd,
        MessageStart,
        Span,
        Stop,
        TextDelta,
    )
    from antiphon.codec.parse import parse
    from antiphon.codec.render import Renderer, render
    from antiphon.codec.stream import Parser
    from antiphon.errors import (
        AntiphonError,
        EngineError,
        MessageError,
        MissingExtraError,
        ParseError,
        RenderError,
        SchemaError,
        VocabularyError,
    )
    from antiphon.model.content import (
        ChannelConfig,
        DeveloperContent,
        ReasoningEffort,
        ResponseFormat,
        SystemContent,
        TextContent,
    )
    from antiphon.model.message import Author, Conversation, Message, Role
    from antiphon.model.tools import BROWSER, PYTHON, Tool, ToolNamespace, functions
else:
    _MODULES = {
        "codec.events": "Diagnostic Header MessageEnd MessageStart Span Stop TextDelta",
        "codec.parse": "parse",
        "codec.render": "Renderer render",
        "codec.stream": "Parser",
        "errors": (
            "AntiphonError EngineError MessageError MissingExtraError ParseError RenderError"
            " SchemaError VocabularyError"
        ),
        "model.content": (
            "ChannelConfig DeveloperContent ReasoningEffort ResponseFormat SystemContent"
            " TextContent"
        ),
        "model.message": "Author Conversation Message Role",
        "model.tools": "BROWSER PYTHON Tool ToolNamespace functions",
    }

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names.split():
                from importlib import import_module

                value = getattr(import_module(f"antiphon.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
