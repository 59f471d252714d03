"""One tool of an MCP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from antiphon.tools.protocol import Emit, Need, ToolOutput
from antiphon.tools.text import one_line

if TYPE_CHECKING:
    from antiphon.tools.mcp.server import Definition, McpServer

__all__ = ["McpTool"]

MAX_SHOWN: Final = 300


class McpTool:
    """A `antiphon.tools.protocol.Tool`. Made by `antiphon.tools.mcp.servers.McpServers`."""

    def __init__(
        self,
        name: str,
        server: McpServer,
        definition: Definition,
        *,
        let_go: Callable[[McpTool], Awaitable[None]],
    ) -> None:
        self._name = name
        self.server = server
        self.definition = definition
        self._let_go = let_go

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        return self.definition.description

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.definition.parameters

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        """A person is asked, unless the server is trusted and says that nothing is changed."""
        shown = f"{self.server.name}: {self.definition.name} {_shown(arguments)}"
        trusted = self.server.config.trust and self.definition.read_only
        return Need("always" if trusted else "ask", one_line(shown, MAX_SHOWN))

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        if isinstance(arguments, str):
            return ToolOutput(f"{self.name} takes a JSON object of arguments", failed=True)
        return await self.server.call(self.definition, arguments, emit)

    async def aclose(self) -> None:
        """The server ends with the last of its tools."""
        await self._let_go(self)


def _shown(arguments: Mapping[str, Any] | str) -> str:
    try:
        return msgspec.json.encode(arguments).decode()
    except (TypeError, ValueError, RecursionError):
        return str(type(arguments).__name__)
