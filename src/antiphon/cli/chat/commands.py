"""The commands of the chat: what begins with a slash."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from antiphon.cli.agent_options import instructions_of, tool_names
from antiphon.cli.chat.talk import Talk, model_note
from antiphon.cli.errors import CommandLineError
from antiphon.errors import AntiphonError

__all__ = ["COMMANDS", "KEYS", "Command", "Commands", "Screen"]

EFFORTS: Final = ("low", "medium", "high")


class Command(NamedTuple):
    """A command: what stands behind its name, and what it does."""

    arguments: str
    summary: str
    settles: bool = False
    """Whether it has to wait until no turn is at work."""


COMMANDS: Final = {
    "model": Command("[NAME]", "list the models, or go on with another", settles=True),
    "effort": Command("[low|medium|high]", "how much the model thinks", settles=True),
    "tools": Command("[NAMES|all|none]", "show the tools, or choose them", settles=True),
    "system": Command("[TEXT|@FILE|none]", "show or set the instructions", settles=True),
    "raw": Command("[all]", "the Harmony text of this turn, or of all"),
    "save": Command("[FILE]", "keep the session; write a .md .html .json .txt"),
    "copy": Command("", "put the last answer on the clipboard"),
    "help": Command("", "keys and commands"),
    "quit": Command("", "leave; so does Ctrl+D"),
}
"""In the order in which they are listed."""

KEYS: Final = (
    ("Enter", "send; during a turn: when it is over"),
    ("Ctrl+J", "begin a line; so does a backslash before Enter"),
    ("Up, Down", "what you wrote before"),
    ("Ctrl+C", "stop the turn; clear the prompt; twice: leave"),
    ("Page Up/Down", "look back; Ctrl+End goes to the end"),
    ("Ctrl+T", "open or close what the model thinks"),
    ("Ctrl+O", "open or close calls and their results"),
    ("Tab", "complete a command"),
)


class Screen(Protocol):
    """What commands do to the screen."""

    @property
    def busy(self) -> bool: ...

    def note(self, text: str) -> None: ...

    def error(self, text: str) -> None: ...

    def show(self, text: str) -> None: ...

    def copy(self) -> None: ...

    def leave(self) -> None: ...


class Commands:
    """Carries them out."""

    def __init__(self, talk: Talk, screen: Screen) -> None:
        self._talk = talk
        self._screen = screen

    async def run(self, line: str) -> bool:
        """Do what the line says. False if it cannot be done now, and is better kept."""
        name, _, rest = line[1:].partition(" ")
        name, rest = name.strip().lower(), rest.strip()
        found = [known for known in COMMANDS if known == name] or [
            known for known in COMMANDS if name and known.startswith(name)
        ]
        if len(found) != 1:
            self._screen.error(f"there is no command /{name}; /help lists them")
            return True
        command = COMMANDS[found[0]]
        if command.settles and rest and self._screen.busy:
            self._screen.note(f"/{found[0]} has to wait until the turn is over (Ctrl+C stops it)")
            return False
        do: Callable[[str], Awaitable[None]] = getattr(self, f"_{found[0]}")
        try:
            await do(rest)
        except (AntiphonError, CommandLineError, ValueError) as error:
            self._screen.error(str(error))
        return True

    async def _model(self, name: str) -> None:
        talk = self._talk
        if not name:
            names = await talk.models()
            shown = [f"{'*' if name == talk.model.name else ' '} {name}" for name in names]
            self._screen.show("\n".join(shown) or "no models are listed")
            return
        await talk.choose_model(name)
        self._screen.note(f"{talk.model.name}, {talk.model.engine}")
        if note := model_note(talk.model):
            self._screen.note(note)

    async def _effort(self, effort: str) -> None:
        if effort and effort not in EFFORTS:
            raise ValueError(f"/effort {effort}: low, medium or high")
        if effort:
            await self._talk.choose_effort(effort)
        self._screen.note(f"effort: {self._talk.agent.dialogue.effort}")

    async def _tools(self, names: str) -> None:
        if names:
            await self._talk.choose_tools(tool_names(names.replace(" ", ",")))
        lines = self._talk.tools()
        if not lines:
            self._screen.note("no tools")
            return
        width = max(len(line.name) for line in lines)
        self._screen.show(
            "\n".join([f"{t.name:{width}}  {t.asked}: {t.description}" for t in lines])
        )

    async def _system(self, text: str) -> None:
        talk = self._talk
        if text:
            await talk.instruct(None if text == "none" else instructions_of(text))
        self._screen.show(talk.agent.dialogue.instructions or "no instructions")

    async def _raw(self, rest: str) -> None:
        if rest not in ("", "all"):
            raise ValueError("/raw, or /raw all")
        self._screen.show(self._talk.raw(everything=rest == "all") or "nothing was said yet")

    async def _save(self, path: str) -> None:
        self._screen.note(self._talk.save(Path(path) if path else None))

    async def _copy(self, rest: str) -> None:
        self._screen.copy()

    async def _help(self, rest: str) -> None:
        commands = [(f"/{name} {c.arguments}".rstrip(), c.summary) for name, c in COMMANDS.items()]
        width = max(len(name) for name, _ in (*commands, *KEYS))
        lines = [f"{name:{width}}  {says}" for name, says in (*commands, *KEYS)]
        self._screen.show("\n".join(lines))

    async def _quit(self, rest: str) -> None:
        self._screen.leave()
