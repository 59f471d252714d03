"""One MCP server over all of its lives: started when it is needed, and again when it has died."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import mcp_types
import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.tools import McpSettings
from antiphon.tools.guard import Guard
from antiphon.tools.mcp.config import ServerConfig
from antiphon.tools.mcp.connection import Connection, McpError
from antiphon.tools.mcp.result import output_of
from antiphon.tools.protocol import Emit, ToolOutput
from antiphon.tools.text import one_line, shorten

__all__ = ["Definition", "McpServer"]

MAX_DESCRIPTION: Final = 8_000
MAX_SCHEMA_BYTES: Final = 100_000
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}


class Definition(msgspec.Struct, frozen=True):
    """What a server says of one of its tools."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    read_only: bool = False
    """What the server claims."""


class McpServer:
    """A server of the configuration. Not started until `definitions` or `call`."""

    def __init__(
        self,
        config: ServerConfig,
        settings: McpSettings,
        environ: Mapping[str, str],
        guard: Guard | None = None,
    ) -> None:
        self.config = config
        self._guard = Guard() if guard is None else guard
        self._settings = settings
        self._environ = environ
        self._connection: Connection | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self._known: dict[str, Definition] = {}
        self.remarks: list[str] = []
        """What a person should know: tools that were left out."""
        self.starts = 0

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def pid(self) -> int | None:
        """The process that keeps the server's, while it runs."""
        return None if self._connection is None else self._connection.pid

    @property
    def errors(self) -> tuple[str, ...]:
        """The last lines on its standard error, of its present or its last life."""
        return () if self._connection is None else self._connection.errors

    @property
    def version(self) -> str | None:
        """The version of the protocol that is spoken, while it runs."""
        connection = self._connection
        return connection.version if connection is not None and connection.alive else None

    async def definitions(self) -> list[Definition]:
        """The tools that it offers now. Raises McpError."""
        async with self._starting:
            connection = await self._alive()
            await self._look(connection)
        return list(self._known.values())

    async def call(self, tool: Definition, arguments: Mapping[str, Any], emit: Emit) -> ToolOutput:
        """Call a tool; what goes wrong is a failed output.

        A tool that is not what it was when it was offered is not called: nobody has agreed to it.
        """
        try:
            connection = await self._same(tool)
            try:
                result = await connection.call(tool.name, arguments, emit)
            except McpError as error:
                # Over HTTP a session that is over is refused before anything is done.
                if not (error.gone and self.config.url is not None):
                    raise
                await connection.aclose()
                connection = await self._same(tool)
                result = await connection.call(tool.name, arguments, emit)
        except McpError as error:
            details: dict[str, Any] = {"unreachable": str(error)}
            if self.errors:
                details["stderr"] = list(self.errors[-20:])
            return ToolOutput(
                f"The MCP server {self.name} failed: {error}", failed=True, details=details
            )
        return output_of(tool.name, result)

    async def rest(self) -> None:
        """End its present life; the next use begins another."""
        async with self._starting:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.aclose()

    async def aclose(self) -> None:
        """End it for good."""
        self._closed = True
        async with self._starting:
            if self._connection is not None:
                await self._connection.aclose()

    async def _same(self, tool: Definition) -> Connection:
        """The server, running, with the tool as it was offered. Raises McpError."""
        async with self._starting:
            before = self._connection
            connection = await self._alive()
            if connection is not before or connection.changed:
                await self._look(connection)
            now = self._known.get(tool.name)
        if now is None:
            raise McpError(f"it does not offer {tool.name} any more")
        if now != tool:
            raise McpError(f"it has changed what {tool.name} is, so it was not called")
        return connection

    async def _alive(self) -> Connection:
        if self._closed:
            raise McpError("it has been closed")
        if self._connection is not None and self._connection.alive:
            return self._connection
        if self._connection is not None:
            await self._connection.aclose()
            self._connection = None
        try:
            # Only the operator's own words may name variables.
            config = self.config if self.config.foreign else self.config.expanded(self._environ)
        except SettingsError as error:
            raise McpError(str(error)) from error
        self._connection = await Connection.open(config, self._settings, self._environ, self._guard)
        self.starts += 1
        return self._connection

    async def _look(self, connection: Connection) -> None:
        wanted = self.config.tools
        known: dict[str, Definition] = {}
        remarks = list(self.config.remarks)
        listed = await connection.list_tools()
        if len(listed) > self._settings.tools:
            remarks.append(
                f"{len(listed)} tools or more; the first {self._settings.tools} are taken"
                " (mcp.tools)"
            )
        for tool in listed[: self._settings.tools]:
            if wanted is not None and tool.name not in wanted:
                continue
            parameters: Any = tool.input_schema
            if not _fits(parameters):
                remarks.append(f"{one_line(tool.name)} was left out: its schema is too large")
            elif tool.name in known:
                remarks.append(f"{one_line(tool.name)} is listed twice; the first counts")
            else:
                known[tool.name] = _definition(tool)
        if wanted is not None:
            remarks += [f"there is no tool {name[:60]!r}" for name in wanted if name not in known]
        self._known = known
        self.remarks = remarks


def _fits(schema: Any) -> bool:
    try:
        return len(msgspec.json.encode(schema)) <= MAX_SCHEMA_BYTES
    except (TypeError, ValueError, RecursionError):
        return False


def _definition(tool: mcp_types.Tool) -> Definition:
    hints = tool.annotations
    description = tool.description or tool.title or ""
    return Definition(
        tool.name,
        shorten(description.strip(), MAX_DESCRIPTION),
        tool.input_schema or _NO_ARGUMENTS,
        bool(hints is not None and hints.read_only_hint),
    )
