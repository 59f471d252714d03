"""The settings of the tools that models call: browser, python, what may be fetched, MCP servers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "BrowserSettings",
    "GuardSettings",
    "McpSettings",
    "PythonSettings",
    "ServerToolSettings",
]

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=1, le=65535)]

ServerTool = Literal["web_search", "code_interpreter", "mcp"]


class ServerToolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tools that the server itself runs for its clients. docs/server-tools.md."""

    offered: tuple[ServerTool, ...] = ()
    """Those that a request with an API key may name; none are run unless they stand here."""
    unoffered: Literal["ignore", "refuse"] = "ignore"
    """What becomes of one of these tools that is not offered: it is named in the header
    ``antiphon-ignored``, or the request is refused. Codex sends a web search with every request."""
    any_url: bool = False
    """Whether the browser opens URLs that neither a page nor the user named. What the model makes
    up can carry what the conversation holds to a stranger."""
    calls: Positive = 32
    """Most calls for one response, whatever it asks for."""
    parallel: Positive = 4
    """Calls of one response that run at the same time."""
    seconds: Seconds = 300.0
    """Longest work of a response's tools, all calls together."""
    result_chars: Positive = 100_000
    """Most characters of a result that the model reads; more is cut in the middle."""


class BrowserSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the browser tool searches. docs/tools.md."""

    backend: Literal["corpus", "searxng", "exa", "you"] = "corpus"
    """``corpus`` is a folder of documents; the others are services."""
    folder: str | None = None
    """The folder of ``corpus``: HTML, Markdown and text. The agent's default is its workspace."""
    url: str | None = None
    """Where SearXNG runs; for Exa and You.com only if it is not their own address; for ``corpus``
    where the folder's pages are published, to be cited by."""
    api_key: str | None = None
    """The key that Exa or You.com asks for."""


class PythonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds the python tool. docs/tools.md."""

    sandbox: Literal["auto", "bubblewrap", "monty"] = "auto"
    """``bubblewrap``: real Python, on Linux. ``monty``: a small Python of its own, anywhere.
    ``auto``: bubblewrap, else monty."""
    interpreter: str | None = None
    """The Python that bubblewrap runs; default: the one that runs antiphon, else the system's."""
    seconds: Seconds = 120.0
    """Longest call."""
    memory_bytes: Annotated[int, Meta(ge=64 * 1024 * 1024)] = 2 * 1024 * 1024 * 1024
    """Most memory of all its processes together."""
    sessions: Positive = 8
    """Interpreters that the server keeps at a time; a response that needs one more waits."""
    idle_seconds: Seconds = 1200.0
    """So long the server keeps an interpreter, with its variables, for the next response."""


class GuardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What browser, fetch and remote MCP servers may connect to. docs/tools.md."""

    allow: tuple[str, ...] = ()
    """Hosts and networks that are allowed though they are not public: ``HOST``, ``HOST:PORT``,
    ``10.1.0.0/16``."""
    ports: tuple[Port, ...] = (80, 443, 8080, 8443)
    """The ports of public hosts that are asked."""
    max_bytes: Positive = 5 * 1024 * 1024
    """So much of an answer is read, after decompression."""
    seconds: Seconds = 20.0
    """Longest fetch: names, connections, redirects and the body."""
    redirects: Annotated[int, Meta(ge=0)] = 5
    """How many are followed."""


class McpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """MCP servers whose tools can be called. docs/mcp.md."""

    config: str | None = None
    """The file that names them, as other clients have it too; default: none."""
    allow_urls: tuple[str, ...] = ()
    """Servers beside those of the file that a client of the Responses API may name: a URL, or what
    one begins with and ``*``. Its host must be public, or stand in ``guard.allow``."""
    start_seconds: Seconds = 30.0
    """From the start of a server until its tools are known."""
    call_seconds: Seconds = 300.0
    """Longest call."""
    message_bytes: Positive = 16 * 1024 * 1024
    """Most bytes of one message; a server that sends more is ended."""
    tools: Positive = 200
    """Most tools that are taken from one server."""
