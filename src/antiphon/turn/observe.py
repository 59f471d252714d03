"""What a turn tells whoever watches it: the raw side, for traces, logs and metrics.

``TurnRunner.run(request, observer=…)`` calls an observer; the client's side of a turn is in the
events that it gives. Calls are made on the event loop, once a batch and never once a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from antiphon.engines.protocol import Chunk, Reading

__all__ = ["TurnObserver"]


class TurnObserver(Protocol):
    """Sees one turn from the engine's side."""

    def prompted(self, prompt: Sequence[int], reading: Reading, *, grammar: bool) -> None:
        """A completion begins. A turn has several if it is continued or asked for again."""
        ...

    def received(self, chunks: Sequence[Chunk]) -> None:
        """What arrived, as it came."""
        ...

    def decided(self, what: str, why: str) -> None:
        """A decision worth a line in the log; never content. ``what`` is stable and for programs,
        such as ``continued``, ``retried``, ``remembered``.
        """
        ...
