"""``mcp``: tools of MCP servers as tools of the server.

The operator's own servers live as long as the gateway and are shared; one that a request names by
its URL lives for that request, with the headers that the request gave it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.responses.conversation import flat_name
from antiphon.api.responses.mcp import (
    TYPES,
    McpApprovalItem,
    McpCallItem,
    McpListItem,
    McpWanted,
    read_mcp,
)
from antiphon.api.responses.served import ItemMaker, ServedFunction, ServedTools
from antiphon.api.toolset import Offered
from antiphon.api.turn import (
    CallRan,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEvent,
    TurnRequest,
)
from antiphon.codec.arguments import parse_arguments
from antiphon.errors import MessageError, MissingExtraError
from antiphon.gateway.servertools.approvals import Approved, approved, bound
from antiphon.gateway.servertools.listed import listed_before
from antiphon.gateway.servertools.protocol import Asked, Limited, NamedTool, Outcome, ServerCall
from antiphon.model.message import Message
from antiphon.settings.model import Settings
from antiphon.store.sealing import Sealer
from antiphon.tools.guard import Guard
from antiphon.tools.mcp.allowed import AllowedUrls
from antiphon.tools.mcp.config import ServerConfig
from antiphon.tools.mcp.servers import find_config
from antiphon.tools.protocol import ToolOutput

try:
    from antiphon.tools.mcp.connection import McpError
    from antiphon.tools.mcp.server import Definition, McpServer
except ModuleNotFoundError as missing:
    if missing.name is not None and missing.name.startswith("antiphon"):
        raise
    raise MissingExtraError(missing.name or "mcp", "mcp") from missing

__all__ = ["McpKind"]

MAX_SERVERS: Final = 16
"""That one request may name."""
MAX_LISTED_BYTES: Final = 256 * 1024
"""Of what one server says of its tools; those beyond are left out."""
UNUSED_SECONDS: Final = 60.0
"""So long a connection waits for a request that does not come to its turn."""
UNREACHABLE: Final = "the server cannot be reached"
"""What clients are told of the operator's processes: why is the operator's business."""

_log = logging.getLogger(__name__)
_ENCODE: Final = msgspec.json.Encoder().encode


class McpKind:
    """The kind. Raises SettingsError for a file or URLs that are wrong."""

    name = "mcp"
    types = TYPES

    def __init__(self, settings: Settings, guard: Guard, sealer: Sealer) -> None:
        self._settings = settings.mcp
        self._guard = guard
        self._sealer = sealer
        self._urls = AllowedUrls(settings.mcp.allow_urls)
        self._own = {
            config.name: McpServer(config, settings.mcp, os.environ, guard)
            for config in find_config(settings.mcp).servers
        }
        self._open: set[McpTools] = set()
        self._resting: set[asyncio.Task[None]] = set()

    async def check(self) -> str | None:
        if not self._own and not self._urls:
            return "neither mcp.config nor mcp.allow_urls names a server"
        return None

    async def open(self, named: Sequence[NamedTool], asked: Asked) -> McpTools:
        """The servers are asked for their tools, unless the conversation has them already."""
        if len(named) > MAX_SERVERS:
            raise _refused(named[MAX_SERVERS].where, f"more than {MAX_SERVERS} servers")
        try:
            wanted = [read_mcp(tool.fields, tool.where) for tool in named]
        except MessageError as error:
            raise as_api_error(error) from error
        labels = [each.label for each in wanted]
        for at, label in enumerate(labels):
            if label in labels[:at]:
                raise _refused(f"{wanted[at].where}.server_label", "is given twice")
        used = [self._server(each) for each in wanted]
        calls = approved(asked, {s.wanted.label: s.place for s in used}, self._sealer)
        known = listed_before([*asked.previous, *asked.own])
        for server in used:
            server.take(known.get(server.wanted.label))
        try:
            await asyncio.gather(*[server.look() for server in used])
        except BaseException:
            await asyncio.gather(*[server.aclose() for server in used])
            raise
        sign = _Sign(self._sealer, asked.context.tenant)
        tools = McpTools(named, used, calls, sign, gone=self._open.discard)
        self._open.add(tools)
        # A request that ends before its turn leaves nothing open.
        loop = asyncio.get_running_loop()
        tools.waiting = loop.call_later(UNUSED_SECONDS, self._let_rest, tools)
        return tools

    async def aclose(self) -> None:
        for task in self._resting:
            task.cancel()
        await asyncio.gather(*self._resting, return_exceptions=True)
        await asyncio.gather(*[tools.aclose() for tools in list(self._open)])
        await asyncio.gather(*[server.aclose() for server in self._own.values()])

    def _let_rest(self, tools: McpTools) -> None:
        task = asyncio.ensure_future(tools.rest())
        self._resting.add(task)
        task.add_done_callback(self._resting.discard)

    def _server(self, wanted: McpWanted) -> _Used:
        """Raises ApiError for a server that may not be named, or not so."""
        own = self._own.get(wanted.label)
        if own is not None and wanted.url in (None, own.config.url):
            if wanted.headers:
                raise _refused(
                    f"{wanted.where}.headers",
                    f"{wanted.label!r} is this gateway's own server, which has its own headers",
                )
            return _Used(wanted, own, "")
        if own is not None:
            raise _refused(
                f"{wanted.where}.server_url",
                f"{wanted.label!r} is this gateway's own server at another place",
            )
        if wanted.url is None:
            raise _refused(
                f"{wanted.where}.server_label",
                f"this gateway has no MCP server {wanted.label!r}",
                status=404,
            )
        why = self._urls.refused(wanted.url)
        if why is not None:
            raise _refused(f"{wanted.where}.server_url", why)
        config = ServerConfig(
            name=wanted.label, url=wanted.url, headers=wanted.headers, foreign=True
        )
        server = McpServer(config, self._settings, {}, self._guard)
        return _Used(wanted, server, wanted.url)


class _Sign(msgspec.Struct, frozen=True):
    """Makes the ids of requests for approval."""

    sealer: Sealer
    tenant: str

    def __call__(self, id: str, arguments: str, *, label: str, place: str, name: str) -> str:
        data = bound(id, label, place, name, arguments)
        return f"{id}_{self.sealer.sign(self.tenant, data)}"


class _Used:
    """A server in one request. ``place`` is its URL; empty for the operator's own."""

    def __init__(self, wanted: McpWanted, server: McpServer, place: str) -> None:
        self.wanted = wanted
        self.server = server
        self.place = place
        self.definitions: list[Definition] = []
        self.error: str | None = None
        self.known = False
        """Whether the conversation has its list already."""

    def take(self, known: Sequence[Definition] | None) -> None:
        if known is not None:
            self.known = True
            self.definitions = self._allowed(known)

    async def look(self) -> None:
        """Ask for its tools; what goes wrong is in ``error``."""
        if self.known:
            return
        try:
            self.definitions = self._allowed(await self.server.definitions())
        except McpError as error:
            _log.warning("the MCP server %s cannot be used: %s", self.wanted.label, error)
            self.error = self._told(str(error))

    async def call(self, definition: Definition, arguments: Mapping[str, Any]) -> ToolOutput:
        output = await self.server.call(definition, arguments, _nobody)
        why = output.details.get("unreachable")
        if why is None:
            return output
        _log.warning("the MCP server %s failed: %s", self.wanted.label, why)
        return msgspec.structs.replace(
            output,
            text=f"The MCP server {self.wanted.label} failed: {self._told(why)}",
            details={"unreachable": self._told(why)},
        )

    async def rest(self) -> None:
        if self.server.config.foreign:
            await self.server.rest()

    async def aclose(self) -> None:
        if self.server.config.foreign:
            await self.server.aclose()

    def _told(self, why: str) -> str:
        return why if self.server.config.foreign else UNREACHABLE

    def _allowed(self, definitions: Sequence[Definition]) -> list[Definition]:
        allowed, room, found = self.wanted.allowed, MAX_LISTED_BYTES, []
        for definition in definitions:
            if not allowed.takes(definition.name, read_only=definition.read_only):
                continue
            room -= len(_ENCODE(definition))
            if room < 0:
                _log.warning("the MCP server %s lists too much", self.wanted.label)
                break
            found.append(definition)
        return found


class _Tool(msgspec.Struct, frozen=True):
    """A tool under the name that it is offered by."""

    used: _Used
    definition: Definition
    asks: bool


class McpTools:
    """The tools of one request."""

    def __init__(
        self,
        named: Sequence[NamedTool],
        used: Sequence[_Used],
        calls: Sequence[Approved],
        sign: _Sign,
        *,
        gone: Callable[[McpTools], None],
    ) -> None:
        """``gone`` is told when it holds nothing any more."""
        self._gone = gone
        self._used = used
        self._calls = calls
        self.waiting: asyncio.TimerHandle | None = None
        self._by_name = _named(used)
        self.names = frozenset(self._by_name)
        makers: dict[str, ItemMaker] = {
            _list_key(at): partial(McpListItem, label=server.wanted.label)
            for at, server in enumerate(used)
        }
        for at, call in enumerate(calls):
            makers[_call_key(at)] = partial(
                McpCallItem, label=call.label, name=call.name, request=call.request
            )
        self.tools = ServedTools(
            makers=makers,
            functions=[
                ServedFunction(offered=_offered(name, tool), maker=_maker(tool, sign))
                for name, tool in self._by_name.items()
            ],
            instructions=[
                f"The tools of {server.wanted.label}: {server.wanted.description}"
                for server in used
                if server.wanted.description and server.definitions
            ],
            taken=frozenset([tool.index for tool in named]),
            choices=_choices(self._by_name),
            ignored=[path for server in used for path in server.wanted.ignored],
        )

    async def opening(
        self, request: TurnRequest, limited: Limited
    ) -> AsyncGenerator[Sequence[TurnEvent | Message], None]:
        """The lists that are new to the conversation, and the calls that were approved."""
        self._begun()
        for at, server in enumerate(self._used):
            if not server.known:
                yield _listed(at, server)
        tasks = [
            asyncio.ensure_future(
                limited(flat_name(call.name, call.label), partial(self._approved, call))
            )
            for call in self._calls
        ]
        try:
            for at, (call, task) in enumerate(zip(self._calls, tasks, strict=True)):
                start = PartStart(PartKind.CALL, call_id=call.request, served=_call_key(at))
                arguments = call.arguments
                yield [start, PartDelta(arguments), PartEnd(arguments)]
                outcome = await task
                asked = Message.call(
                    request.names.recipient(flat_name(call.name, call.label)), arguments
                )
                result = Message.tool(asked.recipient or "", outcome.text, channel="commentary")
                ran = CallRan(
                    call_id=call.request,
                    text=outcome.text,
                    message=asked,
                    failed=outcome.failed,
                    details=outcome.details,
                )
                yield [ran, asked, result]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, call: ServerCall) -> Outcome:
        """The model's call: made, or held back until it is approved."""
        tool = self._by_name[call.name]
        if tool.asks:
            return Outcome(text="", stop=True)
        given = None if call.arguments is None else call.arguments.value
        return await self._made(tool, given)

    async def rest(self) -> None:
        """Let go of connections, which come again with the next call."""
        self._gone(self)
        await asyncio.gather(*[server.rest() for server in self._used])

    async def aclose(self) -> None:
        self._begun()
        self._gone(self)
        await asyncio.gather(*[server.aclose() for server in self._used])

    def _begun(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    async def _approved(self, call: Approved) -> Outcome:
        tool = self._by_name.get(flat_name(call.name, call.label))
        if tool is None:
            return _failed(f"The MCP server {call.label} does not offer {call.name} any more.")
        schema = dict(tool.definition.parameters)
        arguments = await asyncio.to_thread(parse_arguments, call.arguments, schema=schema)
        return await self._made(tool, arguments.value)

    async def _made(self, tool: _Tool, given: Mapping[str, Any] | None) -> Outcome:
        if given is None:
            return _failed("The arguments are not a JSON object. Nothing was done.")
        output: ToolOutput = await tool.used.call(tool.definition, given)
        if not output.failed:
            return Outcome(text=output.text)
        why = output.details.get("unreachable")
        error = None if why is None else _protocol_error(why)
        return Outcome(text=output.text, failed=True, details={"error": error})


def _refused(field: str, why: str, *, status: int = 400) -> ApiError:
    return ApiError(f"{field}: {why}", status=status, param=field, code="invalid_value")


def _failed(text: str) -> Outcome:
    return Outcome(text=text, failed=True, details={"error": _protocol_error(text)})


def _protocol_error(message: str) -> dict[str, Any]:
    return {"type": "mcp_protocol_error", "code": -32603, "message": message}


def _named(used: Sequence[_Used]) -> dict[str, _Tool]:
    """``LABEL.TOOL`` → tool. Where two servers' come to the same, the first has it."""
    found: dict[str, _Tool] = {}
    for server in used:
        for definition in server.definitions:
            name = flat_name(definition.name, server.wanted.label)
            asks = server.wanted.asks(definition.name, read_only=definition.read_only)
            found.setdefault(name, _Tool(server, definition, asks))
    return found


def _offered(name: str, tool: _Tool) -> Offered:
    return Offered(
        name=name,
        where=tool.used.wanted.where,
        description=tool.definition.description,
        parameters=dict(tool.definition.parameters),
    )


def _maker(tool: _Tool, sign: _Sign) -> ItemMaker:
    label, name = tool.used.wanted.label, tool.definition.name
    if not tool.asks:
        return partial(McpCallItem, label=label, name=name)
    signing = partial(sign, label=label, place=tool.used.place, name=name)
    return partial(McpApprovalItem, label=label, name=name, sign=signing)


def _choices(by_name: Mapping[str, _Tool]) -> dict[str, tuple[str, ...]]:
    choices: dict[str, tuple[str, ...]] = {"mcp": tuple(by_name)}
    for name, tool in by_name.items():
        key = f"mcp/{tool.used.wanted.label}"
        choices[key] = (*choices.get(key, ()), name)
    return choices


def _list_key(at: int) -> str:
    return f"mcp:list:{at}"


def _call_key(at: int) -> str:
    return f"mcp:call:{at}"


def _listed(at: int, server: _Used) -> list[TurnEvent]:
    """The events of an item that lists tools."""
    tools = [
        {
            "name": definition.name,
            "description": definition.description,
            "input_schema": definition.parameters,
            "annotations": {"readOnlyHint": definition.read_only},
        }
        for definition in server.definitions
    ]
    ran = CallRan(
        call_id="",
        text="",
        failed=server.error is not None,
        details={"tools": tools, "error": server.error},
    )
    return [PartStart(PartKind.CALL, served=_list_key(at)), PartEnd(""), ran]


def _nobody(text: str) -> None:
    """Nobody watches."""
