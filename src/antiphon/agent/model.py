"""The model that an agent asks: a runner of turns, and what is known of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

from antiphon.api.turn import Sampling, TurnEvent, TurnRequest
from antiphon.turn.observe import TurnObserver

__all__ = ["AgentModel", "Turns"]


class Turns(Protocol):
    """Runs turns: `antiphon.turn.engine.TurnRunner`, or `antiphon.turn.ordinary.OrdinaryRunner`."""

    def run(
        self, request: TurnRequest, *, observer: TurnObserver | None = None
    ) -> AsyncGenerator[Sequence[TurnEvent], None]: ...


class AgentModel(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A model, ready to be asked."""

    name: str
    engine: str
    """For people: which engine, and where."""
    runner: Turns
    harmony: bool = True
    """Whether we render and parse; else the model is reached through a chat route."""
    sampling: Sampling = Sampling()
    continues: bool = True
    """Whether a turn that was silent is continued once, with the header of an answer."""
    tiny: bool = False
    """Whether it is the tiny model, which can call the tools that it was trained on and no other.
    """
    context_length: int | None = None
