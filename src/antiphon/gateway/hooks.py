"""The seam between the routes and what governs them: admission, modes, metrics.

The routes call these and know nothing else of policy. `OpenPolicy` lets everything through.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Literal, Protocol

from antiphon.api.turn import TurnEvent
from antiphon.gateway.context import RequestContext

__all__ = ["OpenPolicy", "Policy", "TurnWatch"]


class TurnWatch(Protocol):
    """Sees one choice of one turn: tokens by channel, time to first token, recoveries."""

    def events(self, events: Sequence[TurnEvent]) -> None:
        """What the turn gave; not called for an engine that is merely alive."""
        ...

    def failed(self, error: Exception) -> None:
        """The turn ended with this error instead of a TurnEnd."""
        ...


class Policy(Protocol):
    """What the routes ask before and after a turn."""

    def mode(
        self, context: RequestContext, served: Any, conversation: str, wanted: str | None
    ) -> Literal["harmony", "standard"]:
        """How to serve this request. ``conversation`` is the same for all requests of one
        conversation; ``wanted`` is the request's ``antiphon-mode`` header. Raises ApiError.
        """
        ...

    def admit(self, context: RequestContext, served: Any) -> AbstractAsyncContextManager[None]:
        """A place to run in: entering waits for one. Raises ApiError 429 or 503 if there is none.
        Held until the turn is over, for pass-through requests too.
        """
        ...

    def watch(self, context: RequestContext, served: Any) -> TurnWatch | None:
        """An observer for a turn that begins now."""
        ...


class OpenPolicy:
    """No limits, no metrics: mode ``auto``."""

    def mode(
        self, context: RequestContext, served: Any, conversation: str, wanted: str | None
    ) -> Literal["harmony", "standard"]:
        return "harmony" if served.gpt_oss else "standard"

    def admit(self, context: RequestContext, served: Any) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def watch(self, context: RequestContext, served: Any) -> TurnWatch | None:
        return None
