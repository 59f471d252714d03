"""The MCP servers of a configuration, and their tools under names that gpt-oss can call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from antiphon.api.toolnames import MAX_ALIAS_CHARS, ToolNames
from antiphon.errors import MissingExtraError
from antiphon.settings.tools import McpSettings
from antiphon.tools.mcp.config import McpConfig, ServerConfig, read_config
from antiphon.tools.mcp.tool import McpTool

if TYPE_CHECKING:
    from antiphon.tools.guard import Guard

__all__ = ["McpServers", "find_config"]


def find_config(settings: McpSettings) -> McpConfig:
    """The servers of the file that the settings name. There is no file of its own in the working
    folder: what it names would run. Raises SettingsError.
    """
    return McpConfig() if settings.config is None else read_config(Path(settings.config))


class McpServers:
    """The servers. They start with `tools`, side by side, and again by themselves when one has
    died; they end with `aclose`, or each with the last of its tools.

    ``guard`` connects to those that have a URL. Raises MissingExtraError without the extra ``mcp``.
    """

    def __init__(
        self,
        config: McpConfig,
        settings: McpSettings | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        guard: Guard | None = None,
    ) -> None:
        try:
            from antiphon.tools.mcp.server import McpServer
        except ModuleNotFoundError as missing:
            if missing.name is not None and missing.name.startswith("antiphon"):
                raise
            raise MissingExtraError(missing.name or "mcp", "mcp") from missing
        settings = McpSettings() if settings is None else settings
        environ = os.environ if environ is None else environ
        self.servers = tuple(
            [McpServer(server, settings, environ, guard) for server in config.servers]
        )
        self._names: dict[tuple[str, str], str] = {}
        self._tools: dict[tuple[str, str], McpTool] = {}
        self.problems: dict[str, str] = {}
        """Server → why it could not be asked for its tools when they were wanted last."""

    @property
    def remarks(self) -> list[str]:
        """What a person should know of the servers that run."""
        return [f"{server.name}: {remark}" for server in self.servers for remark in server.remarks]

    async def tools(self, taken: Iterable[str] = ()) -> list[McpTool]:
        """What all servers offer now; a tool that is as before is the same object.

        ``taken`` are names that others have. A server that fails is in `problems`, and keeps no
        other from being heard.
        """
        from antiphon.tools.mcp.connection import McpError

        listed = await asyncio.gather(
            *(server.definitions() for server in self.servers), return_exceptions=True
        )
        self.problems = {}
        used = {*taken, *self._names.values()}
        before, self._tools = self._tools, {}
        for server, definitions in zip(self.servers, listed, strict=True):
            if isinstance(definitions, McpError):
                self.problems[server.name] = str(definitions)
                continue
            if isinstance(definitions, BaseException):
                raise definitions
            for definition in definitions:
                key = (server.name, definition.name)
                if key not in self._names:
                    self._names[key] = _name(server.config, definition.name, used)
                    used.add(self._names[key])
                known = before.get(key)
                self._tools[key] = (
                    known
                    if known is not None and known.definition == definition
                    else McpTool(self._names[key], server, definition, let_go=self._let_go)
                )
        return list(self._tools.values())

    async def aclose(self) -> None:
        """End all servers."""
        self._tools = {}
        await asyncio.gather(*(server.aclose() for server in self.servers))

    async def __aenter__(self) -> McpServers:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _let_go(self, tool: McpTool) -> None:
        key: Any = (tool.server.name, tool.definition.name)
        if self._tools.get(key) is tool:
            del self._tools[key]
        if not any(held.server is tool.server for held in self._tools.values()):
            await tool.server.aclose()


def _name(server: ServerConfig, tool: str, used: set[str]) -> str:
    """``server_tool``, in letters that a header can carry, and nobody else's."""
    wanted = f"{server.name}_{tool}"
    plain = ToolNames([wanted]).alias(wanted)
    name, number = plain, 2
    while name in used:
        name = f"{plain[: MAX_ALIAS_CHARS - 6]}_{number}"
        number += 1
    return name
