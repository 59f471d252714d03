"""The seam between the routes and what governs them: admission, modes, metrics.

The routes call these and know nothing else of policy. `OpenPolicy` lets everything through.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal, Protocol

from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Scope

from antiphon.api.turn import TurnEvent
from antiphon.engines.served import Served
from antiphon.gateway.context import RequestContext
from antiphon.turn.observe import TurnObserver

__all__ = ["OpenPolicy", "Policy", "TurnWatch"]


class TurnWatch(TurnObserver, Protocol):
    """Sees the choices of one request, from the engine's side and from the client's."""

    def events(self, index: int, events: Sequence[TurnEvent]) -> None:
        """What choice ``index`` gave; not called for an engine that is merely alive."""
        ...

    def closed(self, error: BaseException | None) -> None:
        """The request is over; ``error`` is what ended it before its time, a cancellation too."""
        ...


class Policy(Protocol):
    """What the routes ask before and after a turn."""

    def layers(self) -> Sequence[Middleware]:
        """What every request passes, from the outside in: guards, keys, limits, logs."""
        ...

    def routes(self) -> Sequence[BaseRoute]:
        """Routes of its own: ``/metrics``."""
        ...

    def mode(self, scope: Scope, served: Served, conversation: str) -> Literal["harmony", "standard"]:
        """How to serve this request. ``conversation`` is the same for all requests of one
        conversation. Raises ApiError.
        """
        ...

    def admit(
        self, context: RequestContext, served: Served, body_bytes: int
    ) -> AbstractAsyncContextManager[None]:
        """A place to run in: entering waits for one. Raises ApiError 429 or 503 if there is none.
        Held until the turn is over, for pass-through requests too.
        """
        ...

    def watch(self, context: RequestContext, served: Served) -> TurnWatch | None:
        """An observer for a turn that begins now."""
        ...


class OpenPolicy:
    """No limits, no metrics: mode ``auto``."""

    def layers(self) -> Sequence[Middleware]:
        return ()

    def routes(self) -> Sequence[BaseRoute]:
        return ()

    def mode(self, scope: Scope, served: Served, conversation: str) -> Literal["harmony", "standard"]:
        return "harmony" if served.gpt_oss else "standard"

    def admit(
        self, context: RequestContext, served: Served, body_bytes: int
    ) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def watch(self, context: RequestContext, served: Served) -> TurnWatch | None:
        return None
