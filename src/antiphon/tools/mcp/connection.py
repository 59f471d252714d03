"""One life of an MCP server: from its start, over its calls, to its end.

The library's client has to be left by the task that entered it, so a task of our own holds it;
calls come from any task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import mcp_types
from mcp.client import Client
from mcp.client._transport import TransportStreams
from mcp.client.session import IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from antiphon import __version__
from antiphon.settings.tools import McpSettings
from antiphon.tools.guard import Guard
from antiphon.tools.mcp.config import ServerConfig
from antiphon.tools.mcp.http import endpoint
from antiphon.tools.mcp.stdio import Pipes
from antiphon.tools.protocol import Emit
from antiphon.tools.text import one_line

__all__ = ["Connection", "McpError"]

MAX_PAGES: Final = 100
CLOSE_SECONDS: Final = 15.0
MAX_MESSAGE_CHARS: Final = 500
"""Of what a server says of an error."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class McpError(Exception):
    """A server cannot be started, has gone, or refuses. The message is for people and models.

    ``gone``: there is no connection any more, and this may be all that is wrong.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class Connection:
    """A server that runs; made by `open`. ``config`` has its variables put in."""

    def __init__(
        self, config: ServerConfig, settings: McpSettings, environ: Mapping[str, str], guard: Guard
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._config = config
        self._client: Client | None = None
        self._ended = asyncio.Event()
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._pipes: Pipes | None = None
        if config.command is not None:
            self._pipes = Pipes(
                config,
                environ,
                message_bytes=settings.message_bytes,
                on_end=self._ended.set,
            )
        self.changed = False
        """Whether the server has said that its tools are others now."""
        self._task = asyncio.create_task(self._live(), name=f"mcp {config.name}")

    @classmethod
    async def open(
        cls, config: ServerConfig, settings: McpSettings, environ: Mapping[str, str], guard: Guard
    ) -> Connection:
        """Start the server, and agree on a version with it; ``guard`` is what connects where it
        has a URL. Raises McpError.
        """
        connection = cls(config, settings, environ, guard)
        try:
            async with asyncio.timeout(settings.start_seconds):
                connection._client = await asyncio.shield(connection._ready)
        except TimeoutError:
            await connection.aclose()
            raise McpError(
                f"it did not answer within {settings.start_seconds:g} s{connection._said}"
            ) from None
        except BaseException as error:
            await connection.aclose()
            if isinstance(error, OSError):
                raise McpError(error.strerror or str(error)) from error
            if isinstance(error, Exception):
                raise McpError(connection._why(error) + connection._said) from error
            raise
        return connection

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and not self._task.done()

    @property
    def pid(self) -> int | None:
        return None if self._pipes is None else self._pipes.pid

    @property
    def version(self) -> str:
        """The version of the protocol that both speak."""
        assert self._client is not None
        return self._client.protocol_version

    @property
    def errors(self) -> tuple[str, ...]:
        """The last lines that the server wrote on standard error."""
        return () if self._pipes is None else tuple(self._pipes.errors)

    async def aclose(self) -> None:
        """End it. May be called more than once."""
        self._ended.set()
        if not self._ready.done():
            self._task.cancel()
        await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)

    async def list_tools(self) -> list[mcp_types.Tool]:
        """What the server offers now, at most so many. Raises McpError."""
        assert self._client is not None
        self.changed = False
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = mcp_types.PaginatedRequestParams(cursor=cursor)
            page = await self._asked(
                self._client.session.list_tools(params=params), self._settings.start_seconds
            )
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) > self._settings.tools:
                break
        return found

    async def call(
        self, name: str, arguments: Mapping[str, Any], emit: Emit
    ) -> mcp_types.CallToolResult:
        """Call a tool. If the task is cancelled, the server is told. Raises McpError."""
        assert self._client is not None

        async def told(
            progress: float, total: float | None = None, message: str | None = None
        ) -> None:
            share = f"{progress:g}" if total is None else f"{progress:g}/{total:g}"
            emit(f"{share} {one_line(message or '', MAX_MESSAGE_CHARS)}".rstrip() + "\n")

        params = mcp_types.CallToolRequestParams(name=name, arguments=dict(arguments))
        return await self._asked(
            self._client.session.send_request(
                mcp_types.CallToolRequest(params=params),
                mcp_types.CallToolResult,
                progress_callback=told,
            ),
            self._settings.call_seconds,
        )

    async def _asked(self, asking: Awaitable[_T], seconds: float) -> _T:
        try:
            async with asyncio.timeout(seconds):
                return await asking
        except TimeoutError:
            raise McpError(f"it did not answer within {seconds:g} s") from None
        except (MCPError, ValueError, RuntimeError) as error:
            gone = not self.alive or (
                isinstance(error, MCPError)
                and (
                    error.code == mcp_types.CONNECTION_CLOSED
                    # What the library says where a session is over on the server's side.
                    or (self._pipes is None and error.message == "Session terminated")
                )
            )
            raise McpError(self._why(error), gone=gone) from error

    async def _live(self) -> None:
        try:
            async with self._streams() as streams:
                client = Client(
                    _Opened(streams),
                    message_handler=self._heard,
                    client_info=mcp_types.Implementation(name="antiphon", version=__version__),
                    cache=None,
                )
                async with client:
                    self._ready.set_result(client)
                    if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                        await self._listen(client)
                    await self._ended.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - one place for all that ends a connection
            _log.debug("%s: the connection ended", self._config.name, exc_info=True)
            if not self._ready.done():
                self._ready.set_exception(_first(error))
        finally:
            self._ended.set()
            if self._ready.done() and not self._ready.cancelled():
                self._ready.exception()  # it was told of, or nobody waits any more
            else:
                self._ready.cancel()

    @asynccontextmanager
    async def _streams(self) -> AsyncGenerator[TransportStreams, None]:
        if self._pipes is not None:
            async with self._pipes.open() as streams:
                yield streams
            return
        config = self._config
        assert config.url is not None
        if config.foreign:
            guard = self._guard
            guard.check(config.url)
        else:
            guard = self._guard.allowing(urlsplit(config.url).netloc.rpartition("@")[2])
        async with endpoint(
            config.url,
            config.headers,
            seconds=self._settings.call_seconds,
            message_bytes=self._settings.message_bytes,
            guard=guard,
        ) as streams:
            yield streams

    async def _listen(self, client: Client) -> None:
        """Where the protocol has it so, ask to be told when the tools change, until the end."""
        capability = client.server_capabilities.tools
        if capability is None or not capability.list_changed:
            return
        ended = asyncio.create_task(self._ended.wait())
        told = asyncio.create_task(self._told(client))
        try:
            await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ended, told):
                task.cancel()
            await asyncio.gather(ended, told, return_exceptions=True)

    async def _told(self, client: Client) -> None:
        async with client.listen(tools_list_changed=True) as events:
            async for _ in events:
                self.changed = True

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.changed = True

    def _why(self, error: BaseException) -> str:
        if self._pipes is not None and (self._ended.is_set() or self._pipes.fault):
            return self._pipes.ending
        if isinstance(error, ValueError):
            return "its answer is not as the protocol has it"
        return one_line(str(error) or type(error).__name__, MAX_MESSAGE_CHARS)

    @property
    def _said(self) -> str:
        errors = self.errors
        return f"; it said: {errors[-1]}" if errors else ""


class _Opened:
    """Streams that are open already, as the library takes them."""

    def __init__(self, streams: TransportStreams) -> None:
        self._streams = streams

    async def __aenter__(self) -> TransportStreams:
        return self._streams

    async def __aexit__(self, *_: object) -> None:
        """Who opened them closes them."""


def _first(error: BaseException) -> BaseException:
    """What went wrong, out of the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
