"""The loop: the model speaks, its calls are made, it reads the results, until it answers.

question ─► turn ─► calls? ── no ──► answer
             ▲        │ yes
             │        ▼
             └── results (refused, failed or made: the model reads them all)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from antiphon.agent.approval import Ask, Policy
from antiphon.agent.budget import Budget
from antiphon.agent.calls import CallRunner, Done, whole
from antiphon.agent.citing import sources_of
from antiphon.agent.dialogue import Dialogue
from antiphon.agent.events import (
    AgentEvent,
    Answer,
    ApprovalGiven,
    CallMade,
    EndReason,
    Mended,
    Preamble,
    RunEnded,
    RunStarted,
    Thinking,
    TurnEnded,
    TurnStarted,
)
from antiphon.agent.reading import TurnReading
from antiphon.agent.transcript import Entry, result_of
from antiphon.api.citations import marks
from antiphon.codec.grammar.plan import AUTO, NONE, ToolChoice
from antiphon.errors import AntiphonError, EngineError
from antiphon.model.message import Message
from antiphon.settings.model import AgentSettings
from antiphon.turn.codes import mended
from antiphon.turn.observe import TurnObserver

__all__ = ["Agent", "Emit"]

Emit = Callable[[AgentEvent], None]
"""Takes each event as it happens, on the event loop. It should return soon, and raise nothing."""

_LENGTH: Final[tuple[EndReason, str]] = (
    "length",
    "the model wrote as much as it may (turn.output_tokens, or its context)",
)


class Agent:
    """Works on one dialogue. ``policy``, ``ask`` and ``settings`` may be changed between runs.

    ``clock`` gives seconds that only grow; ``new_id`` makes ids of calls where no turn made one.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        *,
        settings: AgentSettings,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        policy: Policy | None = None,
        ask: Ask | None = None,
        observer: TurnObserver | None = None,
    ) -> None:
        self.dialogue = dialogue
        self.settings = settings
        self.policy = Policy.of(settings) if policy is None else policy
        self.ask = ask
        self.observer = observer
        self.clock = clock
        self.new_id = new_id
        self._running = False

    async def run(self, text: str | None, emit: Emit) -> RunEnded:
        """Work on a question until there is an answer or a reason to stop; None goes on with the
        last one.

        May be cancelled at any point: the last event says so, and the dialogue is whole. Raises
        RuntimeError for a second run at the same time, and nothing else but for a bug.
        """
        if self._running:
            raise RuntimeError("the agent is at work already")
        self._running = True
        try:
            return await _Run(self, emit).run(text)
        finally:
            self._running = False


class _Run:
    """One run."""

    def __init__(self, agent: Agent, emit: Emit) -> None:
        self._agent = agent
        self._dialogue = agent.dialogue
        self._out = emit
        self._budget = Budget(agent.settings)
        self._answer = ""
        self._reading: TurnReading | None = None
        """The turn that is not over."""
        self._results: list[Entry] = []
        """What calls came to that are not all over."""
        self._tool_of: dict[str, str] = {}
        self._deadline: asyncio.Timeout | None = None
        self._left = 0.0
        """Seconds until the deadline when a person was asked."""
        self._began = agent.clock()

    async def run(self, text: str | None) -> RunEnded:
        seconds = self._agent.settings.seconds
        try:
            self._begin(text)
            async with asyncio.timeout(seconds or None) as self._deadline:
                end = self._end(*await self._loop())
        except AntiphonError as error:
            end = self._end("error", str(error))
        except BaseException as error:
            if isinstance(error, TimeoutError) and self._timed_out:
                end = self._end("time", f"{seconds:g} s were not enough (agent.seconds)")
            elif isinstance(error, asyncio.CancelledError):
                self._finish(self._end("cancelled", "interrupted"))
                raise
            else:
                self._finish(self._end("error", f"{type(error).__name__}: {error}"))
                raise
        return self._finish(end)

    @property
    def _timed_out(self) -> bool:
        return self._deadline is not None and self._deadline.expired()

    def _begin(self, text: str | None) -> None:
        dialogue, text = self._dialogue, text if text is None else whole(text)
        dialogue.note_setup()
        if text is not None:
            dialogue.say(Entry(Message.user(text)))
        setup, journal = dialogue.setup, dialogue.journal
        self._emit(
            RunStarted(
                text=text,
                model=setup.model,
                engine=setup.engine,
                effort=setup.effort,
                tools=setup.tools,
                session=None if journal is None else journal.id,
            )
        )

    def _emit(self, event: AgentEvent) -> None:
        """Keep what belongs to the session, and show the event."""
        journal = self._dialogue.journal
        if journal is not None:
            if isinstance(event, Thinking):
                journal.piece(event.part, "thinking", event.text)
            elif isinstance(event, Answer):
                journal.piece(event.part, "answer", event.text)
            elif isinstance(event, Preamble):
                journal.piece(event.part, "preamble", event.text)
            elif isinstance(event, CallMade):
                self._tool_of[event.call_id] = event.tool
            elif isinstance(event, ApprovalGiven):
                journal.decided(self._tool_of.get(event.call_id, ""), event)
        self._out(event)

    # The loop.

    async def _loop(self) -> tuple[EndReason, str]:
        budget = self._budget
        answer_now = False
        while True:
            over = budget.spent()
            if over is not None:
                return over
            reading = await self._turn(NONE if answer_now else AUTO)
            self._answer = reading.answer
            if reading.finish == "length":
                over = budget.spent()
                return over if over is not None and over[0] == "tokens" else _LENGTH
            if reading.calls:
                answer_now = False
                stuck = budget.made(await self._calls(reading))
                if stuck is not None:
                    return "repeated", stuck
            elif reading.answer.strip():
                return "answer", ""
            elif answer_now or not self._dialogue.model.continues:
                return "silent", "the model ended its turn with neither an answer nor a call"
            else:
                answer_now = True
                note = mended("silent-turn")
                self._emit(Mended(note.code, note.rule, note.detail))

    async def _turn(self, choice: ToolChoice) -> TurnReading:
        """One turn of the model. Raises ApiError, EngineError, StoreError."""
        agent, dialogue, budget = self._agent, self._dialogue, self._budget
        budget.turns += 1
        self._emit(TurnStarted(budget.turns))
        reading = self._reading = TurnReading(dialogue.toolset, dialogue.part, agent.new_id)
        request = dialogue.request(choice, budget.tokens_left)
        out: list[AgentEvent] = []
        turn = dialogue.model.runner.run(request, observer=agent.observer)
        async with aclosing(turn) as batches:
            async for events in batches:
                reading.feed(events, out)
                for event in out:
                    self._emit(event)
                out.clear()
        if reading.finish is None:
            raise EngineError(f"{dialogue.model.engine} broke off without saying that it ended")
        budget.count(reading.usage)
        self._keep_turn()
        self._emit(
            TurnEnded(
                turn=budget.turns,
                finish_reason=reading.finish,
                usage=reading.usage,
                total=budget.usage,
            )
        )
        return reading

    def _keep_turn(self) -> None:
        """What the turn said, as far as it came, becomes part of the dialogue."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self._dialogue.part = reading.next_part
            self._dialogue.add_turn(reading.broken_off(), reading.finish, reading.usage)

    async def _calls(self, reading: TurnReading) -> list[Done]:
        """Make the calls of a turn; their results become part of the dialogue."""
        agent = self._agent
        runner = CallRunner(
            self._dialogue.toolset,
            agent.policy,
            agent.ask,
            agent.settings,
            emit=self._emit,
            clock=agent.clock,
            pause=self._pause,
        )
        done = await runner.run(reading.calls, self._result)
        self._settle()
        return done

    def _result(self, done: Done) -> None:
        entry = result_of(done.call.entry, done.output.text)
        self._results.append(entry)
        self._dialogue.note_result(entry)
        self._dialogue.note_made(entry.call_id, done.output)

    def _settle(self) -> None:
        results, self._results = self._results, []
        self._dialogue.settle(results)

    def _pause(self, waiting: bool) -> None:
        """A person thinks: their time does not count."""
        limit = self._deadline
        if limit is None or not self._agent.settings.seconds or limit.expired():
            return
        now = asyncio.get_running_loop().time()
        if waiting:
            self._left = (limit.when() or now) - now
            limit.reschedule(None)
        else:
            limit.reschedule(now + self._left)

    # The end.

    def _end(self, reason: EndReason, detail: str) -> RunEnded:
        budget = self._budget
        if self._reading is not None:
            self._answer = self._reading.answer
        return RunEnded(
            reason=reason,
            answer=self._answer,
            citations=marks(self._answer, sources_of(self._dialogue.tools)),
            detail=detail,
            turns=budget.turns,
            calls=budget.calls,
            refused=budget.refused,
            usage=budget.usage,
            seconds=round(self._agent.clock() - self._began, 3),
        )

    def _finish(self, end: RunEnded) -> RunEnded:
        """Leave the dialogue whole, whatever happened, and tell that it is over."""
        try:
            self._keep_turn()
            self._settle()
            if self._dialogue.journal is not None:
                self._dialogue.journal.ended(end)
        except AntiphonError as error:
            # It could not be written down. What is in memory is whole all the same.
            if end.reason not in ("error", "cancelled"):
                end = self._end("error", str(error))
        self._out(end)
        return end
