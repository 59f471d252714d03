"""A conversation with a model: what it is asked with, what was said, and where that is kept.

It is whole whenever no run is at work on it: every call has its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from antiphon.agent.journal import Journal, Setup
from antiphon.agent.model import AgentModel
from antiphon.agent.toolset import AgentTools
from antiphon.agent.transcript import Entry, past_calls, settled
from antiphon.api.turn import FinishReason, TurnRequest, TurnUsage
from antiphon.codec.grammar.plan import NONE, ToolChoice
from antiphon.model.content import DeveloperContent, ReasoningEffort, SystemContent
from antiphon.model.message import Conversation, Message
from antiphon.tools.protocol import Tool, ToolOutput

__all__ = ["Dialogue"]


class Dialogue:
    """One conversation. ``model``, ``tools``, ``effort`` and ``instructions`` may be changed
    between runs.

    ``date`` is today's, ISO, for the system message; None leaves it out. ``entries`` is what was
    said before; what broke off there is settled, and the journal told.
    """

    def __init__(
        self,
        model: AgentModel,
        tools: Sequence[Tool] = (),
        *,
        effort: str = "medium",
        instructions: str | None = None,
        identity: str | None = None,
        date: str | None = None,
        entries: Sequence[Entry] = (),
        journal: Journal | None = None,
    ) -> None:
        self.journal = journal
        self.part = 1
        """The number of the next part."""
        self._model = model
        self._toolset = AgentTools(tools, built_ins=model.harmony)
        self._effort = ReasoningEffort(effort)
        self._instructions = instructions
        self._identity = identity
        self._date = date
        self._head: tuple[Message, ...] | None = None
        self._noted: Setup | None = None
        self._entries = list(entries)
        self.settle(())

    # What the model is asked with.

    @property
    def model(self) -> AgentModel:
        return self._model

    @model.setter
    def model(self, model: AgentModel) -> None:
        if model.harmony is not self._model.harmony:
            self._toolset = AgentTools(self._toolset.tools, built_ins=model.harmony)
        self._model, self._head = model, None

    @property
    def tools(self) -> tuple[Tool, ...]:
        return self._toolset.tools

    @tools.setter
    def tools(self, tools: Sequence[Tool]) -> None:
        self._toolset, self._head = AgentTools(tools, built_ins=self._model.harmony), None

    @property
    def toolset(self) -> AgentTools:
        return self._toolset

    @property
    def effort(self) -> str:
        """``low``, ``medium`` or ``high``; anything else raises ValueError."""
        return self._effort.value

    @effort.setter
    def effort(self, effort: str) -> None:
        self._effort, self._head = ReasoningEffort(effort), None

    @property
    def instructions(self) -> str | None:
        return self._instructions

    @instructions.setter
    def instructions(self, instructions: str | None) -> None:
        self._instructions, self._head = instructions, None

    @property
    def setup(self) -> Setup:
        """All of it as a value."""
        return Setup(
            model=self._model.name,
            engine=self._model.engine,
            effort=self._effort.value,
            instructions=self._instructions,
            tools=tuple([tool.name for tool in self._toolset.tools]),
            date=self._date,
        )

    # What was said.

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every message with the ids of calls, without the system's and the developer's."""
        return tuple(self._entries)

    @property
    def conversation(self) -> Conversation:
        """The whole conversation, as it is rendered."""
        return Conversation((*self._opening(), *[entry.message for entry in self._entries]))

    async def prepare(self) -> None:
        """Make ready what the first question would wait for: the prompt's beginning, and what
        checks arguments. Raises SchemaError for a tool whose parameters cannot be rendered.
        """
        if not self._model.harmony:
            return
        opening = self._opening()

        def work() -> None:
            from antiphon.turn.prompt import renderer

            renderer().conversation(opening, history="keep")
            if self._toolset.tools:
                with suppress(ModuleNotFoundError):  # said where it is missed
                    import jsonschema_rs  # noqa: F401

        await asyncio.to_thread(work)

    def request(self, choice: ToolChoice, max_tokens: int | None) -> TurnRequest:
        """What the next turn is asked for. Without a choice of tools, only an answer is left."""
        tools = self._toolset
        return TurnRequest(
            conversation=self.conversation,
            model=self._model.name,
            names=tools.names,
            past_calls=past_calls(self._entries, len(self._opening())),
            tools=tools.namespaces,
            custom_tools=tools.custom,
            choice=choice,
            think=choice is not NONE,
            sampling=self._model.sampling,
            max_tokens=max_tokens,
            truncate=True,
        )

    # Saying more. All of these raise StoreError if the journal cannot be written.

    def note_setup(self) -> None:
        """Write down what the model is asked with, if that is news."""
        if self.journal is not None and self._noted != self.setup:
            self.journal.setup(self.setup)
            self._noted = self.setup

    def say(self, entry: Entry) -> None:
        """The user's words."""
        self._entries.append(entry)
        if self.journal is not None:
            self.journal.said(entry)

    def add_turn(
        self, entries: Sequence[Entry], finish: FinishReason | None, usage: TurnUsage
    ) -> None:
        """A turn of the model; ``finish`` is None if it was broken off."""
        self._entries += entries
        if self.journal is not None:
            self.journal.turn(entries, finish, usage)

    def note_result(self, entry: Entry) -> None:
        """Write down the result of a call, which `settle` will put in its place."""
        if self.journal is not None:
            self.journal.said(entry)

    def note_made(self, call_id: str | None, output: ToolOutput) -> None:
        """Write down what a call made beside its text."""
        if self.journal is not None and (output.files or output.shown is not None):
            self.journal.made(call_id, output)

    def settle(self, results: Iterable[Entry]) -> None:
        """Give every call its result: one of these, or the word that there is none."""
        known = [*self._entries, *results]
        self._entries = settled(known)
        answered = {entry.call_id for entry in known if entry.is_result}
        for entry in self._entries:
            if entry.is_result and entry.call_id not in answered:
                self.note_result(entry)

    def _opening(self) -> tuple[Message, ...]:
        if self._head is None:
            content = SystemContent.default(
                self._effort, date=self._date, tools=self._toolset.built_ins or None
            )
            if self._identity is not None:
                content = msgspec.structs.replace(content, model_identity=self._identity)
            head = [Message.system(content)]
            if self._instructions or self._toolset.functions:
                offered = self._toolset.functions or None
                head.append(Message.developer(DeveloperContent(self._instructions, offered)))
            self._head = tuple(head)
        return self._head
