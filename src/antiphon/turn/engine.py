"""One model turn, the path every API takes: prompt, engine, parser, events; limits and recovery.

    TurnRequest ─► memory ─► prompt ids ─► engine ─► Intake ─► TurnFold ─► TurnEvents
                               ▲                                  │
                               └── continued, or asked again ─────┘

A turn is one completion; a second one follows if the model fell silent, or if what was bound to a
schema does not fit it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from antiphon.api.errors import as_api_error
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.engines.protocol import Chunk, Engine, Finish
from antiphon.errors import AntiphonError, EngineError
from antiphon.settings.model import ModelSettings, Settings
from antiphon.store.protocol import StateStore
from antiphon.turn.memory import ReasoningMemory
from antiphon.turn.observe import TurnObserver
from antiphon.turn.one import OneTurn
from antiphon.turn.pushing import EventSink, Pushing
from antiphon.turn.watchdog import Watchdog

__all__ = ["TurnRunner"]

_NO_EVENTS: Final[tuple[TurnEvent, ...]] = ()


class TurnRunner:
    """Runs turns on one engine. ``new_id`` makes the ids of tool calls.

    ``model`` is what holds for the engine's model; None: what the settings say of the name that a
    request has. ``checked``: every request has passed `check_request` before.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        settings: Settings,
        store: StateStore,
        new_id: Callable[[], str],
        observer: TurnObserver | None = None,
        model: ModelSettings | None = None,
        checked: bool = False,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._new_id = new_id
        self._observer = observer
        self._model = model
        self._checked = checked
        self._memory = ReasoningMemory(store, settings.memory)
        self._grammar_holds = True

    async def run(
        self,
        request: TurnRequest,
        *,
        observer: TurnObserver | None = None,
        sink: EventSink | None = None,
    ) -> AsyncGenerator[Sequence[TurnEvent], None]:
        """The turn's events, as they come; an empty sequence says that the engine is alive.

        ``sink`` takes events at once that would be given next, where the engine can push them.

        Raises ApiError: before the first event for what is wrong with the request, later if the
        engine breaks off, falls silent, or does not keep to what it is bound to. Closing the
        generator stops the engine's work.
        """
        limits = self._settings.turn
        watch = Watchdog(idle=limits.idle_seconds, total=limits.seconds)
        observer = observer or self._observer
        pushing: Pushing | None = None
        try:
            turn = OneTurn(
                request,
                self._engine.capabilities,
                self._settings,
                self._new_id,
                self._memory,
                model=self._model,
                grammar_holds=self._grammar_holds,
                checked=self._checked,
            )
            begin = await turn.begin()
            if observer is not None:
                for what, why in turn.decisions():
                    observer.decided(what, why)
            if begin:
                yield begin
            while turn.attempt is not None:
                completion = turn.completion()
                if observer is not None:
                    reading = self._engine.capabilities.reading
                    grammar = completion.grammar is not None
                    observer.prompted(completion.prompt, reading, grammar=grammar)
                out = turn.prefilled()
                if out:
                    yield out
                if sink is not None:
                    pushing = Pushing(turn.intake, turn.fold, watch, observer, sink)
                    completion = msgspec.structs.replace(completion, push=pushing)
                finish: Finish | None = None
                watch.reading(len(completion.prompt) / limits.prompt_tokens_per_second)
                async with aclosing(self._engine.complete(completion)) as engine:
                    while True:
                        watch.waits()
                        try:
                            chunks = await engine.__anext__()
                        except StopAsyncIteration:
                            watch.heard(None)
                            break
                        except asyncio.CancelledError:
                            if not watch.expired():
                                raise
                            if finish is not None:
                                break
                            assert watch.error is not None
                            raise watch.error from None
                        watch.heard(chunks)
                        if pushing is not None:
                            pushing.tell()
                            if pushing.fault is not None:
                                raise pushing.fault
                        if observer is not None:
                            observer.received(chunks)
                        if finish is not None:
                            continue
                        over = turn.fold.over is not None
                        out = []
                        finish = turn.intake.take(chunks, out)
                        yield out or _NO_EVENTS
                        if finish is None and _enough(turn.fold.over, over, chunks):
                            break
                if finish is None and turn.fold.over is None:
                    raise EngineError(f"{self._engine.name} broke off without saying that it ended")
                try:
                    out = await turn.ended(finish)
                finally:
                    self._grammar_holds = self._grammar_holds and turn.grammar_holds
                if observer is not None and turn.attempt is not None:
                    observer.decided(turn.attempt.code or "continued", turn.attempt.detail)
                if out:
                    yield out
            yield await turn.end()
        except AntiphonError as error:
            raise as_api_error(error) from error
        finally:
            watch.cancel()
            if pushing is not None:
                pushing.tell()


def _enough(over: str | None, before: bool, chunks: Sequence[Chunk]) -> bool:
    """Whether the engine should be told to stop: it does so by itself after a stop token."""
    if over is None:
        return False
    if over != "stop":
        return True
    return before and any(chunk.tokens or chunk.text for chunk in chunks)
