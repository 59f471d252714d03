"""The chat without its screen: the agent, and what commands do to it between turns."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from antiphon.agent.agent import Agent
from antiphon.agent.approval import ANY_TOOL
from antiphon.agent.connect import Models
from antiphon.agent.journal import Setup
from antiphon.agent.sessions.export import Format, export
from antiphon.agent.sessions.files import keep_file
from antiphon.agent.sessions.folder import Saved, SessionFolder, sessions_folder
from antiphon.agent.sessions.log import FILES, SessionLog
from antiphon.agent.tiny import NOTE
from antiphon.agent.transcript import Entry
from antiphon.api.turn import TurnUsage
from antiphon.cli.agent_options import Given
from antiphon.cli.errors import CommandLineError
from antiphon.cli.run_view import Notes
from antiphon.cli.running import assemble, every_tool, folder_of
from antiphon.model.message import Message, Role
from antiphon.settings.paths import state_directory
from antiphon.tools.protocol import Tool, ToolFile

if TYPE_CHECKING:
    from antiphon.agent.model import AgentModel
    from antiphon.tools.browser.session import BrowserSession

__all__ = ["Talk", "ToolLine", "open_talk"]

_FORMATS: Final[dict[str, Format]] = {
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".json": "json",
    ".txt": "text",
}
"""Suffix of a file → how a session is written into it."""


class ToolLine(NamedTuple):
    """A tool as ``/tools`` lists it."""

    name: str
    asked: str
    """What happens when it is called."""
    description: str


class Talk:
    """One conversation, and what it is had with."""

    def __init__(
        self,
        agent: Agent,
        models: Models,
        given: Given,
        stack: AsyncExitStack,
        notes: Notes,
        saved: Saved | None,
    ) -> None:
        self.agent = agent
        self.saved = saved
        """The session that goes on."""
        self._models = models
        self._given = given
        self._stack = stack
        self._notes = notes
        self._folder: SessionFolder = folder_of(given.settings.agent)
        self._keeps = given.save
        self._pages: BrowserSession | None = None
        """What the browser showed, while it is not offered."""
        self._stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")

    @property
    def model(self) -> AgentModel:
        return self.agent.dialogue.model

    @property
    def session(self) -> str | None:
        """The id under which it is kept."""
        journal = self.agent.dialogue.journal
        return None if journal is None else journal.id

    # Before a question.

    def begin(self) -> None:
        """Begin to keep the session, if that is wanted: the first question is there. Raises
        StoreError.
        """
        if self._keeps and self.agent.dialogue.journal is None:
            log = self._folder.begin(str(self._place))
            self._stack.callback(log.close)
            self.agent.dialogue.journal = log

    @property
    def _place(self) -> Path:
        return self._given.workspace or Path.cwd().resolve()

    # Commands.

    async def models(self) -> Sequence[str]:
        """What can be chosen from. Raises EngineError."""
        return await self._models.names()

    async def choose_model(self, name: str) -> None:
        """Go on with another model. Raises ApiError, EngineError, SettingsError."""
        model = await self._models.pick(name)
        dialogue = self.agent.dialogue
        if model.tiny is not dialogue.model.tiny:
            given = self._given._replace(tools=None)
            tools = await every_tool(given, self._place, model, self._notes, self._stack)
            dialogue.tools = ()
            dialogue.model = model
            dialogue.tools = tools
        else:
            dialogue.model = model
        await dialogue.prepare()

    async def choose_effort(self, effort: str) -> None:
        """Raises ValueError for what is no effort."""
        self.agent.dialogue.effort = effort
        await self.agent.dialogue.prepare()

    async def choose_tools(self, names: Sequence[str]) -> None:
        """Offer these tools from now on. Raises CommandLineError, SettingsError."""
        given = self._given._replace(tools=tuple(names))
        own = AsyncExitStack()
        before = self.agent.dialogue.tools
        self._pages = _pages(before) or self._pages
        try:
            tools = await every_tool(
                given, self._place, self.model, self._notes, own, self.saved, before
            )
        except BaseException:
            await own.aclose()
            raise
        self._stack.push_async_callback(own.aclose)
        if self._pages is not None:
            _pages(tools, self._pages)
        self.agent.dialogue.tools = tools
        await self.agent.dialogue.prepare()

    def tools(self) -> list[ToolLine]:
        policy = self.agent.policy
        said = {"always": "runs", "ask": "asks", "never": "refused", None: "asks where it matters"}
        return [
            ToolLine(tool.name, said[policy.of_tool(tool.name)], _first_line(tool))
            for tool in self.agent.dialogue.tools
        ]

    def never_asks(self) -> bool:
        return self.agent.policy.of_tool(ANY_TOOL) == "always"

    async def instruct(self, text: str | None) -> None:
        """What the developer message says; None for nothing."""
        self.agent.dialogue.instructions = text
        await self.agent.dialogue.prepare()

    def raw(self, *, everything: bool = False) -> str:
        """The Harmony transcript of this turn, from the last question on; with ``everything``, the
        whole prompt, what the system and developer messages say included.
        """
        from antiphon.turn.prompt import renderer
        from antiphon.vocab.table import token_bytes

        messages: Sequence[Message] = self.agent.dialogue.conversation.messages
        if not everything:
            asked = [n for n, m in enumerate(messages) if m.role is Role.USER]
            messages = messages[asked[-1] :] if asked else ()
        if not messages:
            return ""
        tokens = renderer().conversation(messages, history="keep")
        return b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace")

    def save(self, path: Path | None) -> str:
        """Keep the session, or write it into a new file. Returns what was done. Raises StoreError,
        CommandLineError.
        """
        if path is not None:
            return self._export(path.expanduser())
        dialogue = self.agent.dialogue
        if dialogue.journal is None:
            if not dialogue.entries:
                self._keeps = True
                return "the session will be kept"
            self._keeps = True
            self.begin()
            dialogue.note_setup()
            _write_down(dialogue.journal, dialogue.entries)
        return f"kept as {self.session}; go on with: antiphon chat --resume {self.session}"

    def _export(self, path: Path) -> str:
        form = _FORMATS.get(path.suffix.lower())
        if form is None:
            raise CommandLineError(f"{path}: name it .md, .html, .json or .txt")
        dialogue = self.agent.dialogue
        saved = Saved(
            id=self.session or self._stamp,
            folder=str(self._place),
            setup=dialogue.setup if dialogue.entries else Setup(),
            entries=dialogue.entries,
        )
        try:
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(export(saved, form))
        except FileExistsError:
            raise CommandLineError(f"{path}: is there already") from None
        except OSError as error:
            raise CommandLineError(f"{path}: {error.strerror or error}") from error
        return f"written to {path}"

    def keep_file(self, file: ToolFile) -> Path:
        """Keep a file that a tool made. Raises OSError."""
        folder = self._given.files
        if folder is None:
            journal = self.agent.dialogue.journal
            if isinstance(journal, SessionLog):
                kept = _same(journal.path.with_suffix(FILES), file)
                if kept is not None:
                    return kept
            state = sessions_folder(self._given.settings.agent, os.environ).parent
            folder = state / "files" / self._stamp
        folder.mkdir(parents=True, exist_ok=True)
        return keep_file(folder, file)


def _same(folder: Path, file: ToolFile) -> Path | None:
    """Where the session has kept the file, under whatever name."""
    try:
        for path in folder.iterdir():
            if path.stat().st_size == len(file.data) and path.read_bytes() == file.data:
                return path
    except OSError:
        pass
    return None


@asynccontextmanager
async def open_talk(given: Given, notes: Notes) -> AsyncGenerator[Talk, None]:
    """Model, tools and session, ready. Raises what the command line reports."""
    async with AsyncExitStack() as stack:
        agent, saved, found = await assemble(given, notes, stack)
        yield Talk(agent, found, given, stack, notes, saved)


def history_file() -> Path:
    """Where what was typed is kept."""
    return state_directory(os.environ) / "chat-history.jsonl"


def model_note(model: AgentModel) -> str | None:
    """What has to be said of a model."""
    return f"{model.name}: {NOTE}" if model.tiny else None


def _pages(tools: Sequence[Tool], instead: BrowserSession | None = None) -> BrowserSession | None:
    """What the browser among these showed; ``instead``: what it is to go on with."""
    found = None
    if any(tool.name.startswith("browser.") for tool in tools):
        from antiphon.tools.browser.tool import BrowserTool

        for tool in tools:
            if isinstance(tool, BrowserTool):
                if instead is not None:
                    tool.browser.session = instead
                found = tool.browser.session
    return found


def _first_line(tool: Tool) -> str:
    return tool.description.strip().partition("\n")[0]


def _write_down(journal: object, entries: Sequence[Entry]) -> None:
    """What was said before it was decided to keep it."""
    assert isinstance(journal, SessionLog)
    turn: list[Entry] = []
    for entry in entries:
        if entry.message.role is Role.ASSISTANT:
            turn.append(entry)
            continue
        if turn:
            journal.turn(turn, "stop", TurnUsage(completions=0))
            turn = []
        journal.said(entry)
    if turn:
        journal.turn(turn, "stop", TurnUsage(completions=0))
