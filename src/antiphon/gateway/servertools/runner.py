"""Turn after turn of one response: the server makes its own tools' calls until there is an answer.

    turn ─► calls of the server's tools ─► their results in the conversation ─► turn ─► … ─► answer

To those who read the events it is one turn: one `TurnEnd`, with all messages and the sum of the
tokens. Each turn's prompt begins with the one before and what the model said to it. A client's own
call ends it, once the server's calls beside it are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol

import msgspec

from antiphon.api.turn import (
    CallRan,
    FinishReason,
    PartEnd,
    PartKind,
    PartStart,
    TurnEnd,
    TurnEvent,
    TurnRequest,
    TurnUsage,
)
from antiphon.codec.grammar.plan import NONE, ToolChoice, ToolMode
from antiphon.codec.tooltable import tool_names
from antiphon.gateway.servertools.protocol import Outcome, ServerCall, ServerTool
from antiphon.model.message import Conversation, Message
from antiphon.settings.tools import ServerToolSettings
from antiphon.turn.observe import TurnObserver

__all__ = ["Report", "ToolTurns", "Turns", "shortened"]

_OVER_LIMIT: Final = "The call was not made: no more calls of tools are possible. Answer now."
_NO_TIME: Final = "The call was ended: the time for tools is used up. Answer with what you have."

Report = Callable[[str, str, float], None]
"""Told of each call: the tool's name, how it ended (ok, failed, timeout, refused), seconds."""


class Turns(Protocol):
    """What runs one turn."""

    def run(
        self, request: TurnRequest, *, observer: TurnObserver | None = None
    ) -> AsyncGenerator[Sequence[TurnEvent], None]: ...


class _Made(msgspec.Struct, frozen=True):
    """A call, and what it came to; None: it is not shown."""

    call: ServerCall
    outcome: Outcome


class ToolTurns:
    """Runs the turns of one response. ``tools`` stay their maker's."""

    def __init__(
        self,
        runner: Turns,
        tools: Sequence[ServerTool],
        settings: ServerToolSettings,
        *,
        clock: Callable[[], float],
        max_calls: int | None = None,
        report: Report = lambda name, ended, seconds: None,
    ) -> None:
        self._runner = runner
        self._tools = tools
        self._by_name: Mapping[str, ServerTool] = {n: tool for tool in tools for n in tool.names}
        self._settings = settings
        self._clock = clock
        limit = settings.calls
        self._left = limit if max_calls is None else min(limit, max_calls)
        self._seconds: float = settings.seconds
        self._report = report
        self._places = asyncio.Semaphore(settings.parallel)

    async def run(
        self, request: TurnRequest, *, observer: TurnObserver | None = None
    ) -> AsyncGenerator[Sequence[TurnEvent], None]:
        """The response's events. Raises what a turn raises. Closing it ends what runs."""
        said: list[Message] = []
        began = self._clock()
        for tool in self._tools:
            async with aclosing(tool.opening(request, self._limited)) as opening:
                async for batch in opening:
                    said += [m for m in batch if isinstance(m, Message)]
                    yield [e for e in batch if not isinstance(e, Message)]
        self._seconds -= self._clock() - began
        begun = request.conversation.messages
        usage = TurnUsage(completions=0)
        asked = self._allowed(request)
        while True:
            turn = msgspec.structs.replace(asked, conversation=Conversation((*begun, *said)))
            reading = _Reading(turn)
            async with aclosing(self._runner.run(turn, observer=observer)) as batches:
                async for batch in batches:
                    yield reading.take(batch)
            end = reading.end
            assert end is not None
            usage = _sum(usage, end.usage)
            said += end.messages
            stopped = False
            if reading.calls and end.finish_reason != "length":
                async with aclosing(self._make(reading)) as making:
                    async for events, message, stops in making:
                        stopped = stopped or stops
                        if message is not None:
                            said.append(message)
                        yield events
            else:
                yield reading.rest()
            room = None
            if request.max_tokens is not None:
                room = request.max_tokens - usage.completion_tokens
            reason = self._over(reading, end, stopped=stopped, room=room)
            if reason is not None:
                yield (
                    msgspec.structs.replace(
                        end, finish_reason=reason, usage=usage, messages=tuple(said)
                    ),
                )
                return
            asked = self._allowed(
                msgspec.structs.replace(request, choice=_later(request.choice), max_tokens=room)
            )

    def _over(
        self, reading: _Reading, end: TurnEnd, *, stopped: bool, room: int | None
    ) -> FinishReason | None:
        """Why the response ends here; None: another turn follows."""
        if end.finish_reason == "length" or not reading.calls:
            return end.finish_reason
        if reading.foreign or stopped:
            return "tool_calls"
        return "length" if room is not None and room <= 0 else None

    # Calls.

    async def _make(
        self, reading: _Reading
    ) -> AsyncGenerator[tuple[Sequence[TurnEvent], Message | None, bool], None]:
        """Make the calls side by side; in their order, the events of each and its result."""
        tasks = [
            asyncio.ensure_future(self._limited(call.name, partial(self._call, call)))
            for call in reading.calls
        ]
        began = self._clock()
        try:
            for at, (call, task) in enumerate(zip(reading.calls, tasks, strict=True)):
                outcome = await task
                if at == len(tasks) - 1:
                    self._seconds -= self._clock() - began
                message = None
                if not outcome.stop:
                    channel = call.message.channel or "commentary"
                    message = Message.tool(
                        call.message.recipient or call.name, outcome.text, channel=channel
                    )
                    ran = CallRan(
                        call_id=call.call_id,
                        text=outcome.text,
                        message=call.message,
                        failed=outcome.failed,
                        details=outcome.details,
                    )
                    yield (ran, *reading.after(at)), message, False
                else:
                    yield reading.after(at), None, True
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, call: ServerCall) -> Outcome:
        return await self._by_name[call.name].call(call)

    async def _limited(self, name: str, call: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Make it if one more may be made, as long as there is time."""
        if self._left <= 0 or self._seconds <= 0:
            self._report(name, "refused", 0.0)
            return Outcome(text=_OVER_LIMIT, failed=True)
        self._left -= 1
        outcome = await self._timed(name, call)
        text = shortened(outcome.text, self._settings.result_chars)
        return msgspec.structs.replace(outcome, text=text)

    async def _timed(self, name: str, call: Callable[[], Awaitable[Outcome]]) -> Outcome:
        async with self._places:
            began = self._clock()
            ended = "failed"
            try:
                async with asyncio.timeout(self._seconds):
                    outcome = await call()
            except TimeoutError:
                ended = "timeout"
                self._seconds = 0.0
                return Outcome(text=_NO_TIME, failed=True)
            except asyncio.CancelledError:
                ended = "cancelled"
                raise
            except Exception as error:  # noqa: BLE001 - a tool at fault ends no response
                why = f"{type(error).__name__}"
                return Outcome(text=f"The tool failed: {why}", failed=True)
            else:
                ended = "failed" if outcome.failed else "ok"
                return outcome
            finally:
                self._report(name, ended, self._clock() - began)

    def _allowed(self, request: TurnRequest) -> TurnRequest:
        """The request, without the server's tools where no more calls may be made. They stay in
        the prompt, whose beginning must not change.
        """
        if self._left > 0 and self._seconds > 0:
            return request
        names = [name for name in tool_names(request.tools) if name not in request.served]
        chosen = request.choice.names
        if chosen is not None:
            names = [name for name in names if name in chosen]
        choice = NONE if not names else ToolChoice(request.choice.mode, tuple(names))
        return msgspec.structs.replace(request, choice=choice)


class _Reading:
    """What one turn said: its events are handed on, but for the end, and what follows a call of
    the server's, which waits until that was made.
    """

    def __init__(self, turn: TurnRequest) -> None:
        self._turn = turn
        self._messages: list[tuple[PartStart, PartEnd]] = []
        self._open: PartStart | None = None
        self._held: list[list[TurnEvent]] = []
        self.end: TurnEnd | None = None
        self.foreign = False
        """Whether a client's tool was called."""

    def take(self, batch: Sequence[TurnEvent]) -> Sequence[TurnEvent]:
        out: list[TurnEvent] = []
        for event in batch:
            if isinstance(event, TurnEnd):
                self.end = event
                continue
            (self._held[-1] if self._held else out).append(event)
            if isinstance(event, PartStart):
                self._open = event
                if event.kind is PartKind.CALL and event.served is None:
                    self.foreign = True
            elif isinstance(event, PartEnd):
                begun, self._open = self._open, None
                if begun is not None and begun.served is not None and event.complete:
                    self._messages.append((begun, event))
                    self._held.append([])
        return out

    @property
    def calls(self) -> list[ServerCall]:
        """The server's calls, in order."""
        assert self.end is not None
        written = [m for m in self.end.messages if m.recipient in self._turn.served]
        made = []
        for (start, end), message in zip(self._messages, written, strict=False):
            assert start.served is not None
            names = self._turn.names
            own = start.served.startswith("functions.")
            made.append(
                ServerCall(
                    call_id=start.call_id or "",
                    name=names.client(start.served) if own else start.served,
                    text=end.text,
                    arguments=end.arguments,
                    message=message,
                )
            )
        return made

    def after(self, at: int) -> Sequence[TurnEvent]:
        """What followed that call, up to the next."""
        return self._held[at]

    def rest(self) -> Sequence[TurnEvent]:
        """All that waits."""
        return [event for held in self._held for event in held]


def _later(choice: ToolChoice) -> ToolChoice:
    """What is required is required once; what is not allowed stays so."""
    if choice.mode is not ToolMode.REQUIRED:
        return choice
    return ToolChoice(ToolMode.AUTO, choice.names)


def _sum(one: TurnUsage, other: TurnUsage) -> TurnUsage:
    return TurnUsage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        completions=one.completions + other.completions,
    )


def shortened(text: str, limit: int) -> str:
    """The text without its middle, if it is too long; only what can be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    left_out = len(text) - limit
    return f"{text[:head]}\n[… {left_out} characters are left out …]\n{text[-tail:]}"
