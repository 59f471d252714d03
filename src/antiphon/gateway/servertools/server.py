"""Which tools this server runs, for whom, and the tools of one request.

What the settings name is made and tried when the server starts; a server that cannot offer it does
not start. At a reload, what was made before goes when nobody uses it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from antiphon.api.errors import ApiError
from antiphon.api.responses.code_interpreter import TYPES as CODE_TYPES
from antiphon.api.responses.served import ServedTools, merged
from antiphon.api.responses.web_search import TYPES as SEARCH_TYPES
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.errors import SettingsError
from antiphon.gateway.context import RequestContext
from antiphon.gateway.servertools.kinds import kinds_of
from antiphon.gateway.servertools.protocol import Asked, NamedTool, ServerTool, ToolKind
from antiphon.gateway.servertools.runner import ToolTurns, Turns
from antiphon.gateway.servertools.web import Sessions
from antiphon.settings.model import Settings
from antiphon.settings.tools import ServerToolSettings
from antiphon.store.protocol import StateStore
from antiphon.store.sealing import Sealer
from antiphon.turn.observe import TurnObserver

__all__ = ["NO_TOOLS", "Generation", "RequestTools", "ServerTools", "named_tools"]

KINDS: Final = {
    **dict.fromkeys(SEARCH_TYPES, "web_search"),
    **dict.fromkeys(CODE_TYPES, "code_interpreter"),
    "mcp": "mcp",
}
"""Types of tools → the names under which the settings offer them."""

_TOOLS: Final = msgspec.json.Decoder(list[dict[str, Any]] | None)


class Reporter(Protocol):
    """Who is told of calls."""

    def tool_ran(self, context: RequestContext, name: str, ended: str, seconds: float) -> None: ...


class Generation:
    """What one reading of the settings made."""

    def __init__(self, settings: Settings, kinds: Sequence[ToolKind]) -> None:
        self.settings: Final = settings.server_tools
        self.kinds: Final = {kind.name: kind for kind in kinds}
        self.users = 0
        self.retired = False

    async def aclose(self) -> None:
        for kind in self.kinds.values():
            await kind.aclose()


class RequestTools:
    """The server's tools of one request."""

    def __init__(
        self,
        generation: Generation | None,
        tools: Sequence[ServerTool],
        *,
        clock: Callable[[], float],
        report: Callable[[str, str, float], None],
    ) -> None:
        self._generation = generation
        self._tools = tools
        self._clock = clock
        self._report = report
        self.served: Final[ServedTools] = merged([tool.tools for tool in tools])

    def __bool__(self) -> bool:
        return bool(self._tools)

    async def run(
        self,
        runner: Turns,
        request: TurnRequest,
        *,
        observer: TurnObserver,
        max_calls: int | None = None,
    ) -> AsyncGenerator[Sequence[TurnEvent], None]:
        """The turns of the request, as one."""
        generation = self._generation
        assert generation is not None
        turns = ToolTurns(
            runner,
            self._tools,
            generation.settings,
            clock=self._clock,
            max_calls=max_calls,
            report=self._report,
        )
        generation.users += 1
        running = turns.run(request, observer=observer)
        try:
            async for batch in running:
                yield batch
        finally:
            try:
                await running.aclose()
                for tool in self._tools:
                    await tool.aclose()
            finally:
                generation.users -= 1
                if generation.retired and not generation.users:
                    await asyncio.shield(generation.aclose())


def _silent(name: str, ended: str, seconds: float) -> None:
    """There is nothing to tell."""


NO_TOOLS: Final = RequestTools(None, (), clock=lambda: 0.0, report=_silent)


class ServerTools:
    """All of this server's. Nothing is offered before `use`."""

    def __init__(
        self,
        store: StateStore,
        sealer: Sealer,
        reporter: Callable[[], Reporter],
        *,
        clock: Callable[[], float],
        now: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._now_seconds = now
        self._store = store
        self._sealer = sealer
        self._reporter = reporter
        self._clock = clock
        self._new_id = new_id
        self._sessions = Sessions(clock)
        self._now: Generation | None = None

    @property
    def offered(self) -> tuple[str, ...]:
        """The names of the tools that are offered."""
        return () if self._now is None else tuple(sorted(self._now.kinds))

    async def prepare(self, settings: Settings) -> Generation:
        """Make and try what the settings say, for `use`.

        Raises SettingsError for what cannot be offered here, MissingExtraError.
        """

        def make() -> list[ToolKind]:
            return list(
                kinds_of(
                    settings,
                    store=self._store,
                    sessions=self._sessions,
                    clock=self._clock,
                    now=self._now_seconds,
                    new_id=self._new_id,
                    sealer=self._sealer,
                )
            )

        # In a thread: a folder to search may be large.
        kinds = await asyncio.to_thread(make)
        try:
            for kind in kinds:
                reason = await kind.check()
                if reason is not None:
                    raise SettingsError(
                        f"server_tools.offered: {kind.name} cannot run here: {reason}"
                    )
        except BaseException:
            for kind in kinds:
                await kind.aclose()
            raise
        return Generation(settings, kinds)

    async def use(self, made: Generation) -> None:
        """Offer that from now on."""
        before, self._now = self._now, made
        await self._retire(before)

    async def open(self, named: Sequence[NamedTool], asked: Asked, mode: str) -> RequestTools:
        """The tools of one request. Raises ApiError for what may not be used, or is wrong."""
        now = self._now
        by_kind: dict[str, list[NamedTool]] = {}
        for tool in named:
            name = KINDS[tool.type]
            if now is None or name not in now.kinds:
                refuse_unoffered(tool, name, None if now is None else now.settings)
                continue
            if mode == "standard":
                raise ApiError(
                    f"{tool.field}: {tool.type!r} is offered for gpt-oss only, and"
                    f" {asked.served.name[:80]!r} is served as an ordinary model",
                    param=tool.field,
                    code="unsupported_tool",
                )
            if asked.context.key is None:
                raise ApiError(
                    f"{tool.field}: {tool.type!r} is run by this server for requests with an"
                    " API key only, and it has no keys (make one with 'antiphon keys add')",
                    param=tool.field,
                    code="api_key_required",
                )
            by_kind.setdefault(name, []).append(tool)
        if not by_kind or now is None:
            return NO_TOOLS
        tools = [await now.kinds[name].open(mine, asked) for name, mine in by_kind.items()]
        context = asked.context

        def report(name: str, ended: str, seconds: float) -> None:
            self._reporter().tool_ran(context, name, ended, seconds)

        return RequestTools(now, tools, clock=self._clock, report=report)

    async def aclose(self) -> None:
        """The server ends."""
        before, self._now = self._now, None
        await self._retire(before)

    async def _retire(self, before: Generation | None) -> None:
        if before is not None:
            before.retired = True
            if not before.users:
                await before.aclose()


def named_tools(raw: bytes) -> list[NamedTool]:
    """The entries of ``tools`` that name a tool servers run. What is wrong is said elsewhere."""
    if not any(b'"%b' % kind.encode() in raw for kind in ("web_search", "code_interp", "mcp")):
        return []
    try:
        tools = _TOOLS.decode(raw) or []
    except msgspec.MsgspecError:
        return []
    return [
        NamedTool(index, f"tools[{index}]", tool["type"], tool)
        for index, tool in enumerate(tools)
        if isinstance(tool.get("type"), str) and tool["type"] in KINDS
    ]


def refuse_unoffered(tool: NamedTool, name: str, settings: ServerToolSettings | None) -> None:
    """Raises ApiError if the server refuses tools that it does not run; else they are passed over
    and named, as are other tools of OpenAI's servers: Codex sends a web search with each request.
    """
    if settings is not None and settings.unoffered == "refuse":
        raise ApiError(
            f"{tool.field}: {tool.type!r} is not offered by this server (its setting"
            f" server_tools.offered does not name {name})",
            param=tool.field,
            code="unsupported_tool",
        )
