"""What the agent does → blocks of the transcript. Pieces of a part that came together are joined.

A frame of the screen takes what came since the last one, so that its cost does not depend on how
fast a model writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from antiphon.agent.citing import Footnotes
from antiphon.agent.events import (
    AgentEvent,
    Answer,
    ApprovalAsked,
    ApprovalGiven,
    CallInput,
    CallMade,
    CallStarted,
    PartEnded,
    Preamble,
    RunEnded,
    RunStarted,
    Thinking,
    ToolEnded,
    ToolPiece,
    ToolStarted,
    TurnStarted,
)
from antiphon.agent.transcript import INTERRUPTED, Entry
from antiphon.api.citations import Sources
from antiphon.cli.blocks import counted
from antiphon.cli.chat import blocks
from antiphon.cli.chat.blocks import Block, Signs
from antiphon.model.message import Role
from antiphon.tools.protocol import ToolFile

__all__ = ["Feed"]

MAX_REPLAYED: Final = 200
"""Messages of a session that are shown when it goes on."""


class Feed:
    """``add`` puts a block at the end; ``keep`` keeps a tool's file and says where; ``sources`` is
    what can be cited now.
    """

    def __init__(
        self,
        add: Callable[[Block], None],
        signs: Signs,
        *,
        keep: Callable[[ToolFile], str],
        sources: Callable[[], Sources],
        clock: Callable[[], float],
    ) -> None:
        self._add = add
        self._signs = signs
        self._keep = keep
        self._sources = sources
        self._footnotes = Footnotes(sources())
        self._clock = clock
        self._parts: dict[int, blocks.Thinking | blocks.Answer] = {}
        self._calls: dict[str, blocks.Call] = {}
        self._began = 0.0
        self.doing = ""
        """What goes on, in a word."""
        self.thoughts_opened: bool | None = None
        """Whether thoughts are open; None: while they are being thought."""
        self.calls_opened = False

    def take(self, events: Iterable[AgentEvent]) -> None:
        """Show what happened."""
        part, call, pieces = 0, "", list[str]()
        kind: type[AgentEvent] | None = None
        for event in events:
            if isinstance(event, Thinking | Preamble | Answer):
                if kind is not type(event) or part != event.part:
                    self._words(kind, part, call, pieces)
                    kind, part, pieces = type(event), event.part, []
                pieces.append(event.text)
            elif isinstance(event, CallInput | ToolPiece):
                if kind is not type(event) or call != event.call_id:
                    self._words(kind, part, call, pieces)
                    kind, call, pieces = type(event), event.call_id, []
                pieces.append(event.text)
            else:
                self._words(kind, part, call, pieces)
                kind, pieces = None, []
                self._event(event)
        self._words(kind, part, call, pieces)

    def _words(
        self, kind: type[AgentEvent] | None, part: int, call: str, pieces: Sequence[str]
    ) -> None:
        if kind is None or not pieces:
            return
        text = "".join(pieces)
        if kind is CallInput:
            if call in self._calls:
                self._calls[call].feed(text)
        elif kind is ToolPiece:
            if call in self._calls:
                self._calls[call].output(text)
        else:
            block = self._part(part, thinking=kind is Thinking)
            block.feed(self._footnotes.feed(text) if kind is Answer else text)

    def _part(self, number: int, *, thinking: bool) -> blocks.Thinking | blocks.Answer:
        block = self._parts.get(number)
        if block is None:
            if thinking:
                self._began = self._clock()
                opened = self.thoughts_opened is not False
                block = blocks.Thinking(
                    self._signs, opened=opened, keep=self.thoughts_opened is not None
                )
                self.doing = "thinking"
            else:
                block = blocks.Answer(self._signs)
                self.doing = "answering"
            self._parts[number] = block
            self._add(block)
        return block

    def _event(self, event: AgentEvent) -> None:
        if isinstance(event, RunStarted):
            self._footnotes = Footnotes(self._sources())
        elif isinstance(event, TurnStarted):
            self.doing = "waiting for the model"
        elif isinstance(event, PartEnded):
            self._part_ended(event)
        elif isinstance(event, CallStarted):
            self.doing = f"calling {event.tool}"
            self._call(event.call_id, event.tool)
        elif isinstance(event, CallMade):
            self._call(event.call_id, event.tool).made_with(event.arguments)
        elif isinstance(event, ApprovalAsked):
            self._call(event.call_id, event.tool).state("asks to be allowed")
        elif isinstance(event, ApprovalGiven):
            block = self._calls.get(event.call_id)
            if block is not None and not event.allowed:
                block.state("refused")
        elif isinstance(event, ToolStarted):
            self.doing = f"running {event.tool}"
            self._call(event.call_id, event.tool).state("running")
        elif isinstance(event, ToolEnded):
            self._tool_ended(event)
        elif isinstance(event, RunEnded):
            self._run_ended(event)

    def _call(self, call_id: str, tool: str) -> blocks.Call:
        block = self._calls.get(call_id)
        if block is None:
            block = self._calls[call_id] = blocks.Call(self._signs, tool)
            block.opened = self.calls_opened
            self._add(block)
        return block

    def _part_ended(self, event: PartEnded) -> None:
        block = self._parts.pop(event.part, None)
        if isinstance(block, blocks.Thinking):
            block.end(seconds=self._clock() - self._began, complete=event.complete)
        elif block is not None:
            if event.kind == "answer":
                block.feed(self._footnotes.end())
            block.end()

    def _tool_ended(self, event: ToolEnded) -> None:
        block = self._call(event.call_id, event.tool)
        block.ended(event.text, failed=event.failed, refused=event.refused, seconds=event.seconds)
        for file in event.files:
            try:
                block.file(f"{file.name}: kept as {self._keep(file)}")
            except OSError as error:
                block.file(f"{file.name}: cannot be kept: {error.strerror or error}")

    def _run_ended(self, end: RunEnded) -> None:
        self.doing = ""
        for block in self._parts.values():
            if isinstance(block, blocks.Thinking):
                block.end(seconds=self._clock() - self._began, complete=False)
            else:
                block.end()
        for call in self._calls.values():
            call.left()
        self._parts.clear()
        self._calls.clear()
        cited = [f"[{n}] {title} {url}" for n, title, url in self._footnotes.notes()]
        if cited:
            self.note("\n".join(cited), "text")
        if end.reason == "cancelled":
            self.note("stopped")
        elif end.reason == "answer":
            usage = end.usage
            self.note(
                f"{counted(end.turns, 'turn')}, {counted(end.calls, 'call')},"
                f" {counted(usage.prompt_tokens, 'token')} read,"
                f" {usage.completion_tokens:,} written, {end.seconds:.1f} s"
            )
        else:
            self.note(end.detail or end.reason, "error")

    def note(self, text: str, kind: str = "note") -> None:
        self._add(blocks.Note(self._signs, text, kind))  # type: ignore[arg-type]

    def question(self, text: str) -> None:
        self._add(blocks.Question(self._signs, text))

    def replay(self, entries: Sequence[Entry]) -> None:
        """Show what was said before."""
        if len(entries) > MAX_REPLAYED:
            self.note(f"{len(entries) - MAX_REPLAYED} earlier messages are not shown")
        calls: dict[str | None, blocks.Call] = {}
        for entry in entries[-MAX_REPLAYED:]:
            message = entry.message
            text = message.text
            if message.role is Role.TOOL:
                block = calls.get(entry.call_id)
                if block is not None and text == INTERRUPTED:
                    block.left()
                elif block is not None:
                    block.ended(text, failed=False, refused=False, seconds=0)
            elif message.role is not Role.ASSISTANT:
                self.question(text)
            elif entry.is_call:
                name = (message.recipient or "").removeprefix("functions.")
                calls[entry.call_id] = made = blocks.Call(self._signs, name)
                made.made_with(text)
                self._add(made)
            elif message.channel == "analysis":
                thought = blocks.Thinking(self._signs)
                thought.feed(text)
                thought.end()
                self._add(thought)
            else:
                answer = blocks.Answer(self._signs)
                answer.feed(text)
                answer.end()
                self._add(answer)
