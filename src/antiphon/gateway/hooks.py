"""The seam between the routes and what governs them: admission, modes, metrics.

The routes call these and know nothing else of policy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Literal, Protocol, TypeVar

from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Scope

from antiphon.api.turn import TurnEvent
from antiphon.engines.served import EngineHealth, Served
from antiphon.gateway.context import RequestContext
from antiphon.settings.model import Settings
from antiphon.turn.observe import TurnObserver

__all__ = [
    "PassedWatch",
    "Policy",
    "TurnWatch",
    "transcript_comment",
    "watched",
    "with_transcript",
]


class Watch(Protocol):
    """Sees something from its beginning to its end."""

    def closed(self, error: BaseException | None) -> None:
        """It is over; ``error`` is what ended it before its time, a cancellation too."""
        ...


class TurnWatch(Watch, Protocol):
    """Sees the choices of one request, from the engine's side and from the client's."""

    def choice(self, index: int) -> TurnObserver:
        """The observer of one choice's turn."""
        ...

    def events(self, index: int, events: Sequence[TurnEvent]) -> None:
        """What choice ``index`` gave; not called for an engine that is merely alive."""
        ...

    def transcript(self) -> bytes | None:
        """Prompts and raw output as JSON, if the request asked for them and may have them."""
        ...


class PassedWatch(Watch, Protocol):
    """Sees a request that is passed through."""

    def begins(self, status: int, content_type: str) -> None:
        """The engine's answer begins."""
        ...

    def piece(self, data: bytes) -> None:
        """Bytes of its body, as they came."""
        ...


class Policy(Protocol):
    """What the application and its routes ask."""

    def layers(self) -> Sequence[Middleware]:
        """What every request passes, from the outside in: guards, keys, limits."""
        ...

    def routes(self) -> Sequence[BaseRoute]:
        """Routes of its own: ``/metrics``."""
        ...

    async def reload(self, apply: Callable[[Settings], Awaitable[None]]) -> bool:
        """Read settings and keys again; ``apply`` takes the new settings over, or refuses them.
        False if everything is as before.
        """
        ...

    def opened(self, health: Callable[[], Sequence[EngineHealth]]) -> None:
        """The server starts, in the event loop that it will run in."""
        ...

    def closed(self) -> None:
        """The server has ended."""
        ...

    @property
    def has_keys(self) -> bool:
        """Whether there are API keys, or one is asked for anyway."""
        ...

    def tools_opened(self, offered: Sequence[str]) -> None:
        """The server runs these tools for its clients from now on."""
        ...

    def tool_ran(self, context: RequestContext, name: str, ended: str, seconds: float) -> None:
        """A call of one of them is over: ``ok``, ``failed``, ``timeout`` or ``cancelled``."""
        ...

    def finished(self, scope: Scope, context: RequestContext) -> None:
        """A request is over, whatever became of it."""
        ...

    def message(
        self, scope: Scope, context: RequestContext, size: int
    ) -> AbstractAsyncContextManager[None]:
        """A message on a socket that is a request of its own: identified, charged, and written
        into log and metrics when it is over. Raises ApiError 401, 403 and 429.
        """
        ...

    def mode(
        self, scope: Scope, served: Served, conversation: str
    ) -> Literal["harmony", "standard"]:
        """How to serve this request. ``conversation`` is the same for all requests of one
        conversation. Raises ApiError.
        """
        ...

    def admit(
        self, context: RequestContext, served: Served, body_bytes: int
    ) -> AbstractAsyncContextManager[None]:
        """A place to run in: entering waits for one. Raises ApiError 403 if the key may not use the
        model, 429 or 503 if there is no place. Held until the turn is over, for pass-through
        requests too.
        """
        ...

    def watch(self, context: RequestContext, served: Served) -> TurnWatch:
        """An observer for a request's turns, which begin now."""
        ...

    def watch_passed(self, context: RequestContext, served: Served) -> PassedWatch:
        """An observer for a request that is passed through. Raises ApiError for a raw transcript,
        which there is none of.
        """
        ...


_W = TypeVar("_W", bound=Watch)


@contextmanager
def watched(watch: _W) -> Generator[_W, None, None]:
    """Close the watch with what ended the block."""
    try:
        yield watch
    except BaseException as error:
        watch.closed(error)
        raise
    watch.closed(None)


def with_transcript(body: bytes, watch: TurnWatch) -> bytes:
    """An answer's JSON, with the raw transcript as ``antiphon_raw`` if it was asked for."""
    raw = watch.transcript()
    return body if raw is None else body[:-1] + b',"antiphon_raw":' + raw + b"}"


def transcript_comment(watch: TurnWatch) -> bytes:
    """The raw transcript as a comment between events, which clients skip."""
    raw = watch.transcript()
    return b"" if raw is None else b": antiphon-raw " + raw + b"\n\n"
