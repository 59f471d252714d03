"""The seam between the runner of server tools and each kind of tool.

A kind is there once for the server (`ToolKind`); for a request that names it, `open` gives one
`ServerTool`. To add a kind: write both, an item for its calls (`antiphon.api.responses.served`),
and add it to `kinds.kinds_of`.

    request ─► ToolKind.open ─► ServerTool.tools (prompt, items, choice)
                                ServerTool.opening()        before the model is asked
      turn of the model ─► calls ─► ServerTool.call() ─► CallRan ─► next turn … ─► answer
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from antiphon.api.responses.items import PlacedItem
from antiphon.api.responses.served import ServedTools
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.codec.arguments import Arguments
from antiphon.engines.served import Served
from antiphon.gateway.context import RequestContext
from antiphon.model.message import Message

__all__ = ["Asked", "Limited", "NamedTool", "Outcome", "ServerCall", "ServerTool", "ToolKind"]


class NamedTool(msgspec.Struct, frozen=True):
    """One entry of a request's ``tools`` of a type that a kind takes."""

    index: int
    """-1: Chat's ``web_search_options``."""
    where: str
    """Its path, for errors: ``tools[0]``."""
    type: str
    fields: dict[str, Any]
    """The whole entry."""

    @property
    def field(self) -> str:
        """The path of what names it."""
        return self.where if self.index < 0 else f"{self.where}.type"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as it matters to its server tools."""

    context: RequestContext
    """Who asks: ``tenant`` is the API key's id, and there is one."""
    served: Served
    """The model."""
    include: frozenset[str] = frozenset()
    previous: Sequence[PlacedItem] = ()
    """The items of the chain or conversation, as they are kept."""
    own: Sequence[PlacedItem] = ()
    """The request's own items."""
    origin: str = ""
    """The number in the ids of the response and of its items; empty in Chat Completions."""
    functions: bool = False
    """Whether the model knows functions only, and none of gpt-oss's built-ins."""
    given: str = ""
    """What others than the model said in a chat, as JSON; it has no items."""


class ServerCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the model made, whole."""

    call_id: str
    name: str
    """A built-in's recipient (``browser.search``), or the name of a function as it was offered."""
    text: str
    """The arguments as JSON, or the code."""
    arguments: Arguments | None
    message: Message
    """As it is rendered."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a call came to. See `CallRan`."""

    text: str
    failed: bool = False
    details: dict[str, Any] = {}
    stop: bool = False
    """End the response here, without a result for the model: somebody has to decide first."""


Limited = Callable[[str, Callable[[], Awaitable[Outcome]]], Awaitable[Outcome]]
"""Makes a call of the tool of this name within the response's limits, and reports it."""


class ServerTool(Protocol):
    """One kind of tool in one request. Calls may run at the same time; one is cancelled with its
    task, when its time is over or the client has gone.
    """

    @property
    def tools(self) -> ServedTools:
        """What it puts into the prompt and the response."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """The `ServerCall.name`s that are its own."""
        ...

    def opening(
        self, request: TurnRequest, limited: Limited
    ) -> AsyncGenerator[Sequence[TurnEvent | Message], None]:
        """What comes before the model is asked: whole parts with their `CallRan`, for items; and
        messages that the conversation ends with, such as results of calls that were approved and
        are made with ``limited``.
        """
        ...

    async def call(self, call: ServerCall) -> Outcome:
        """Make it. What goes wrong is an outcome, in words for the model. A bug may raise."""
        ...

    async def aclose(self) -> None:
        """The response is over."""
        ...


class ToolKind(Protocol):
    """One kind of tool on this server."""

    @property
    def name(self) -> str:
        """As the setting ``server_tools.offered`` has it."""
        ...

    @property
    def types(self) -> frozenset[str]:
        """The types of ``tools`` that it takes."""
        ...

    async def check(self) -> str | None:
        """Why it cannot be offered here; None: it can."""
        ...

    async def open(self, named: Sequence[NamedTool], asked: Asked) -> ServerTool:
        """The tool for one request. Raises ApiError naming the parameter that is wrong."""
        ...

    async def aclose(self) -> None:
        """The server ends."""
        ...
