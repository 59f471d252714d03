"""Custom tools' calls of an ordinary model: held until their input was checked against its grammar.

The engine renders the prompt itself, so there is no second try: what does not match is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.api.errors import ApiError
from antiphon.api.turn import PartEnd, PartStart, TurnEvent, TurnRequest
from antiphon.turn.call_check import call_misfit
from antiphon.turn.offer import OfferedTool
from antiphon.turn.record import BoundCall

__all__ = ["CheckedCalls"]


class CheckedCalls:
    """Passes events on; those of a call that must match a grammar all at once, when it is whole."""

    def __init__(self, request: TurnRequest) -> None:
        self._tools: dict[str, OfferedTool] = {}
        for recipient, grammar in request.input_grammars.items():
            name = request.names.client(recipient)
            self._tools[name] = OfferedTool(recipient, name, custom=True, grammar=grammar)
        self._tool: OfferedTool | None = None
        self._held: list[TurnEvent] = []

    async def passed(self, events: Sequence[TurnEvent]) -> Sequence[TurnEvent]:
        """What may be shown now. Raises ApiError 502 for a call that does not match."""
        if not self._tools:
            return events
        out: list[TurnEvent] = []
        for event in events:
            if isinstance(event, PartStart) and event.custom:
                self._tool = self._tools.get(event.name or "")
            if self._tool is None:
                out.append(event)
                continue
            self._held.append(event)
            if isinstance(event, PartEnd):
                if event.complete:
                    await _check(self._tool, event.text)
                out += self._held
                self._held.clear()
                self._tool = None
        return out


async def _check(tool: OfferedTool, text: str) -> None:
    why = await call_misfit(BoundCall(tool, None, text, None))
    if why is not None:
        raise ApiError(
            f"the input of {tool.name} does not match its grammar: {why}",
            status=502,
            type="engine_error",
            code="structured_output_failed",
        )
