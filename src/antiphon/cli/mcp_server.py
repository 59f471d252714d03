"""The MCP server behind ``antiphon mcp``: its tools over pipes or over HTTP on this computer."""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any, Final

import anyio
import mcp_types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

from antiphon import __version__
from antiphon.cli.mcp_tools import OFFERED, RefusedError
from antiphon.errors import EngineError

__all__ = ["BODY_BYTES", "PATH", "make_server", "serve_http", "serve_pipes"]

PATH: Final = "/mcp"
BODY_BYTES: Final = 8 * 1024 * 1024
AT_A_TIME: Final = 2
"""Calls that are worked on; others wait."""
_INSTRUCTIONS: Final = (
    "Tools for OpenAI's gpt-oss models and their Harmony format. Nothing is stored and no model is"
    " asked: the same arguments give the same result."
)
_HINTS: Final = mcp_types.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


def make_server() -> Server[Any]:
    """The server, for one transport."""
    places = anyio.Semaphore(AT_A_TIME)
    work = {tool.name: tool.work for tool in OFFERED}
    listed = [
        mcp_types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.schema,
            annotations=_HINTS,
        )
        for tool in OFFERED
    ]

    async def list_tools(
        _context: ServerRequestContext[Any], _params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=listed)

    async def call_tool(
        _context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        made = work.get(params.name)
        if made is None:
            return _answer(f"there is no tool {params.name[:60]!r}; there are: {', '.join(work)}")
        try:
            async with places:
                text = await anyio.to_thread.run_sync(made, params.arguments or {})
        except RefusedError as error:
            return _answer(str(error))
        except Exception as error:
            logging.getLogger(__name__).warning("%s failed", params.name, exc_info=True)
            return _answer(f"internal error, please report it: {type(error).__name__}")
        return _answer(text, failed=False)

    return Server(
        "antiphon",
        version=__version__,
        title="Antiphon",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _answer(text: str, *, failed: bool = True) -> mcp_types.CallToolResult:
    content = mcp_types.TextContent(type="text", text=text)
    return mcp_types.CallToolResult(content=[content], is_error=failed)


async def serve_pipes() -> None:
    """Serve whoever started us, over standard input and output, until the input ends."""
    server = make_server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def serve_http(host: str, port: int) -> None:
    """Serve programs of this computer until a signal. Web pages are refused by their origin."""
    import uvicorn

    app = make_server().streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=BODY_BYTES,
        host=host,
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            why = error.strerror or error
            raise EngineError(f"cannot listen on {host}:{port}: {why}") from error
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(
            f"antiphon {__version__}: MCP at http://{shown}:{listener.getsockname()[1]}{PATH}\n"
        )
        sys.stderr.flush()
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listener])
